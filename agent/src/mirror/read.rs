//! Reading the files of a commit from the object database.
//!
//! Knows paths, names and bounds. Must not know what the files mean. What cannot be read is an error: an empty answer would be
//! taken for an empty folder, and pruned.
//!
//! Of a folder all `*.yaml`, `*.yml` and `*.json` files are loaded, recursively, also from folders whose name begins with a dot
//! (except `.git`). Symbolic links are followed inside the repository where the path itself goes through one and where one is
//! called like a manifest; links to folders below the path are passed over, as `kubectl apply -R` does. A submodule below the path
//! is an error, as is a pointer of Git LFS that is called like a manifest: what they stand for is not here. Where the path names a
//! single file, that file is loaded whatever it is called. Names that differ by case only are two files: nothing is checked out.

use towline_plan::tree::{File, Limits, Read, Tree};
use towline_proto::CommitId;

use gix::bstr::{BStr, ByteSlice};
use gix::object::tree::EntryKind;

use super::Mirror;
use super::links::Followed;
use super::store::explain;

/// Names looked at per file that may be loaded: folders full of other things are fine, a tree that is a bomb is not.
const ENTRIES_PER_FILE: usize = 50;

/// Manifests that are links: each may add two lines to the Inventory's record of what was read.
const LINKS_MAX: usize = 256;

/// How a pointer of Git LFS begins, and how long one may be at the most, by its specification.
const LFS_BEGINS: &[u8] = b"version https://git-lfs.github.com/spec/";
const LFS_BYTES_MAX: usize = 1_024;

/// Why the files are not known.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("read commit {commit}: the mirror of {url} does not hold it")]
    CommitMissing { commit: CommitId, url: String },
    #[error("read {path:?}: commit {commit} has no such path")]
    PathMissing { path: String, commit: CommitId },
    #[error("read {path:?} of commit {commit}: it is a symbolic link to a folder; name that folder in the Sync's path")]
    LinkToFolder { path: String, commit: CommitId },
    #[error("read {path:?} of commit {commit}: it is a symbolic link that leads out of the repository")]
    LinkLeaves { path: String, commit: CommitId },
    #[error("read {path:?} of commit {commit}: it is a symbolic link to {target:?}, which does not exist")]
    LinkDangling { path: String, commit: CommitId, target: String },
    #[error("read {path:?} of commit {commit}: its symbolic links go round in circles")]
    LinkLoop { path: String, commit: CommitId },
    #[error("read {path:?} of commit {commit}: more than {max} symbolic links")]
    TooManyLinks { path: String, commit: CommitId, max: usize },
    #[error(
        "read {path:?} of commit {commit}: it is a submodule, and submodules are not fetched: keep it out of the Sync's path, or follow its repository with a GitSource of its own"
    )]
    Submodule { path: String, commit: CommitId },
    #[error(
        "read {path:?} of commit {commit}: it is a pointer of Git LFS, and the file it stands for is not fetched: keep manifests out of LFS"
    )]
    LfsPointer { path: String, commit: CommitId },
    #[error("read {path:?} of commit {commit}: the name is not UTF-8")]
    NotUtf8 { path: String, commit: CommitId },
    #[error("read {path:?} of commit {commit}: more than {max} files")]
    TooManyFiles { path: String, commit: CommitId, max: usize },
    #[error("read {path:?} of commit {commit}: more than {max} names below it")]
    TooManyEntries { path: String, commit: CommitId, max: usize },
    #[error("read {path:?} of commit {commit}: {bytes} bytes, more than {max} for one file")]
    FileTooLarge { path: String, commit: CommitId, bytes: u64, max: u64 },
    #[error("read {path:?} of commit {commit}: more than {max} bytes in all files")]
    TotalTooLarge { path: String, commit: CommitId, max: u64 },
    #[error("read {path:?} of commit {commit}: more than {max} folders deep")]
    TooDeep { path: String, commit: CommitId, max: usize },
    #[error("read commit {commit}: the mirror of {url} is damaged, and the next fetch rebuilds it: {cause}")]
    Damaged { commit: CommitId, url: String, cause: String },
}

impl ReadError {
    /// Whether the mirror is at fault and not the commit: a fetch repairs it.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::CommitMissing { .. } | Self::Damaged { .. })
    }
}

impl Mirror {
    /// The manifests below a path (normalised by [`towline_plan::tree::normalise`]; empty for the root), sorted.
    pub fn read(&self, commit: &CommitId, path: &str, limits: &Limits) -> Result<Tree, ReadError> {
        let at = At { mirror: self, commit, limits };
        let repository = at.repository()?;
        let missing = || ReadError::PathMissing { path: path.to_owned(), commit: commit.clone() };
        let Followed { found, path: real, links } = at.follow(&repository, path)?.ok_or_else(missing)?;
        let read = [links, vec![Read { path: real.clone(), id: Some(found.id.to_string()) }]].concat();
        let mut walk = Walk {
            at: &at,
            repository: &repository,
            asked: path.to_owned(),
            real,
            read,
            files: Vec::new(),
            bytes: 0,
            entries: 0,
            links: 0,
        };
        match found.mode.kind() {
            EntryKind::Tree => walk.folder(found.id, path, 0)?,
            EntryKind::Commit => return Err(at.submodule(path.to_owned())),
            EntryKind::Blob | EntryKind::BlobExecutable | EntryKind::Link => walk.file(found.id, path.to_owned())?,
        }
        let Walk { mut files, mut read, .. } = walk;
        if !read.iter().any(|read| read.path == path) {
            // By itself it is nothing, as long as it goes through a link.
            read.push(Read { path: path.to_owned(), id: None });
        }
        files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        read.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        read.dedup();
        Ok(Tree { read, files })
    }

    /// The id of the tree or blob at a path, `None` where there is nothing: the same id is the same content.
    pub fn object_id(&self, commit: &CommitId, path: &str) -> Result<Option<String>, ReadError> {
        let at = At { mirror: self, commit, limits: &Limits::default() };
        let repository = at.repository()?;
        Ok(at.look_up(&repository, path)?.map(|found| found.id.to_string()))
    }
}

/// Where one reads.
pub(super) struct At<'a> {
    mirror: &'a Mirror,
    pub(super) commit: &'a CommitId,
    limits: &'a Limits,
}

impl At<'_> {
    fn repository(&self) -> Result<gix::Repository, ReadError> {
        self.mirror.repository_now().map_err(|_| self.commit_missing())
    }

    pub(super) fn commit_missing(&self) -> ReadError {
        ReadError::CommitMissing { commit: self.commit.clone(), url: self.mirror.url.clone() }
    }

    /// Leaves a mark for the next fetch: an object of a complete commit that cannot be read would otherwise stay that way.
    pub(super) fn damaged(&self, error: &gix::Error) -> ReadError {
        let cause = explain(error);
        self.mirror.mark_damaged(&cause);
        ReadError::Damaged { commit: self.commit.clone(), url: self.mirror.url.clone(), cause }
    }
}

/// What was loaded so far.
struct Walk<'a> {
    at: &'a At<'a>,
    repository: &'a gix::Repository,
    /// The path that was asked for, and where it really is.
    asked: String,
    real: String,
    read: Vec<Read>,
    files: Vec<File>,
    bytes: u64,
    entries: usize,
    links: usize,
}

impl Walk<'_> {
    fn folder(&mut self, id: gix::ObjectId, path: &str, depth: usize) -> Result<(), ReadError> {
        let max = self.at.limits.depth_max;
        if depth > max {
            return Err(ReadError::TooDeep { path: path.to_owned(), commit: self.at.commit.clone(), max });
        }
        // The path as it was asked for, its links resolved.
        let below = path.strip_prefix(self.asked.as_str()).unwrap_or(path).trim_start_matches('/');
        let real =
            [self.real.as_str(), below].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
        let tree = self.repository.find_tree(id).map_err(|error| self.at.damaged(&error))?;
        for entry in tree.iter() {
            let entry = entry.map_err(|error| self.at.damaged(&error))?;
            self.count_entry(path)?;
            let name = entry.filename();
            match entry.mode().kind() {
                EntryKind::Tree if name != ".git" => {
                    self.folder(entry.object_id(), &self.join(path, name)?, depth + 1)?;
                }
                EntryKind::Blob | EntryKind::BlobExecutable if is_manifest(name) => {
                    self.file(entry.object_id(), self.join(path, name)?)?;
                }
                EntryKind::Link if is_manifest(name) => {
                    self.link(self.join(&real, name)?, self.join(path, name)?)?;
                }
                // A folder that became one would be taken for an empty folder, and pruned.
                EntryKind::Commit => return Err(self.at.submodule(self.join(path, name)?)),
                EntryKind::Tree | EntryKind::Blob | EntryKind::BlobExecutable | EntryKind::Link => {}
            }
        }
        Ok(())
    }

    fn count_entry(&mut self, path: &str) -> Result<(), ReadError> {
        let max = self.at.limits.files_max.saturating_mul(ENTRIES_PER_FILE);
        self.entries += 1;
        if self.entries > max {
            return Err(ReadError::TooManyEntries { path: path.to_owned(), commit: self.at.commit.clone(), max });
        }
        Ok(())
    }

    fn join(&self, folder: &str, name: &BStr) -> Result<String, ReadError> {
        let full = if folder.is_empty() { name.to_str_lossy().into_owned() } else { format!("{folder}/{name}") };
        if name.to_str().is_err() {
            return Err(ReadError::NotUtf8 { path: full, commit: self.at.commit.clone() });
        }
        Ok(full)
    }

    /// A file by its link, under the link's name. What is outside of the path is recorded as read, too.
    fn link(&mut self, real: String, path: String) -> Result<(), ReadError> {
        let commit = || self.at.commit.clone();
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(ReadError::TooManyLinks { path, commit: commit(), max: LINKS_MAX });
        }
        let missing = || ReadError::PathMissing { path: path.clone(), commit: commit() };
        let Followed { found, path: target, links } = self.at.follow(self.repository, &real)?.ok_or_else(missing)?;
        match found.mode.kind() {
            EntryKind::Tree => return Err(ReadError::LinkToFolder { path, commit: commit() }),
            EntryKind::Commit => return Err(self.at.submodule(path)),
            EntryKind::Blob | EntryKind::BlobExecutable | EntryKind::Link => self.file(found.id, path)?,
        }
        let all = links.into_iter().chain([Read { path: target, id: Some(found.id.to_string()) }]);
        let base = self.real.clone();
        self.read.extend(all.filter(|read| !is_below(&read.path, &base)));
        Ok(())
    }

    /// Sizes are judged before the contents are loaded.
    fn file(&mut self, id: gix::ObjectId, path: String) -> Result<(), ReadError> {
        let Limits { files_max, file_bytes_max, total_bytes_max, .. } = *self.at.limits;
        let commit = self.at.commit.clone();
        if self.files.len() >= files_max {
            return Err(ReadError::TooManyFiles { path, commit, max: files_max });
        }
        let bytes = self.repository.find_header(id).map_err(|error| self.at.damaged(&error))?.size();
        if bytes > file_bytes_max {
            return Err(ReadError::FileTooLarge { path, commit, bytes, max: file_bytes_max });
        }
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > total_bytes_max {
            return Err(ReadError::TotalTooLarge { path, commit, max: total_bytes_max });
        }
        let contents = self.repository.find_blob(id).map_err(|error| self.at.damaged(&error))?.take_data();
        if contents.len() <= LFS_BYTES_MAX && contents.starts_with(LFS_BEGINS) {
            return Err(ReadError::LfsPointer { path, commit });
        }
        self.files.push(File { path, contents });
        Ok(())
    }
}

fn is_below(path: &str, folder: &str) -> bool {
    folder.is_empty() || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

fn is_manifest(name: &BStr) -> bool {
    [".yaml", ".yml", ".json"].iter().any(|end| name.ends_with(end.as_bytes()))
}
