//! Reading the files of a commit from the object database.
//!
//! Knows paths, names and bounds. Must not know what the files mean. What cannot be read is an error: an empty answer would be
//! taken for an empty folder, and pruned.
//!
//! Of a folder all `*.yaml`, `*.yml` and `*.json` files are loaded, recursively, also from folders whose name begins with a dot
//! (except `.git`). Symlinks are not followed: one that is called like a manifest is an error, others are passed over, as are
//! submodules. Where the path names a single file, that file is loaded whatever it is called.

use towline_plan::tree::{File, Limits, Read, Tree};
use towline_proto::CommitId;

use gix::bstr::{BStr, ByteSlice};
use gix::object::tree::EntryKind;
use gix::objs::tree::EntryMode;

use super::Mirror;
use super::store::{explain, object_id};

/// Names looked at per file that may be loaded: folders full of other things are fine, a tree that is a bomb is not.
const ENTRIES_PER_FILE: usize = 50;

/// Why the files are not known.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("read commit {commit}: the mirror of {url} does not hold it")]
    CommitMissing { commit: CommitId, url: String },
    #[error("read {path:?}: commit {commit} has no such path")]
    PathMissing { path: String, commit: CommitId },
    #[error("read {path:?} of commit {commit}: it is a symbolic link, and links are not followed")]
    Symlink { path: String, commit: CommitId },
    #[error("read {path:?} of commit {commit}: it is a submodule, and submodules are not read")]
    Submodule { path: String, commit: CommitId },
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
        let Found { id, mode } = at.look_up(&repository, path)?.ok_or_else(missing)?;
        let mut walk = Walk { at: &at, repository: &repository, files: Vec::new(), bytes: 0, entries: 0 };
        match mode.kind() {
            EntryKind::Tree => walk.folder(id, path, 0)?,
            EntryKind::Link => return Err(ReadError::Symlink { path: path.to_owned(), commit: commit.clone() }),
            EntryKind::Commit => return Err(ReadError::Submodule { path: path.to_owned(), commit: commit.clone() }),
            EntryKind::Blob | EntryKind::BlobExecutable => walk.file(id, path.to_owned())?,
        }
        let mut files = walk.files;
        files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(Tree { read: vec![Read { path: path.to_owned(), id: Some(id.to_string()) }], files })
    }

    /// The id of the tree or blob at a path, `None` where there is nothing: the same id is the same content.
    pub fn object_id(&self, commit: &CommitId, path: &str) -> Result<Option<String>, ReadError> {
        let at = At { mirror: self, commit, limits: &Limits::default() };
        let repository = at.repository()?;
        Ok(at.look_up(&repository, path)?.map(|found| found.id.to_string()))
    }
}

/// Where one reads.
struct At<'a> {
    mirror: &'a Mirror,
    commit: &'a CommitId,
    limits: &'a Limits,
}

struct Found {
    id: gix::ObjectId,
    mode: EntryMode,
}

impl At<'_> {
    fn repository(&self) -> Result<gix::Repository, ReadError> {
        self.mirror.repository_now().map_err(|_| self.commit_missing())
    }

    fn commit_missing(&self) -> ReadError {
        ReadError::CommitMissing { commit: self.commit.clone(), url: self.mirror.url.clone() }
    }

    /// Leaves a mark for the next fetch: an object of a complete commit that cannot be read would otherwise stay that way.
    fn damaged(&self, error: &gix::Error) -> ReadError {
        let cause = explain(error);
        self.mirror.mark_damaged(&cause);
        ReadError::Damaged { commit: self.commit.clone(), url: self.mirror.url.clone(), cause }
    }

    fn look_up(&self, repository: &gix::Repository, path: &str) -> Result<Option<Found>, ReadError> {
        let id = object_id(self.commit).ok_or_else(|| self.commit_missing())?;
        let commit = repository.try_find_object(id).map_err(|error| self.damaged(&error))?;
        let commit =
            commit.ok_or_else(|| self.commit_missing())?.try_into_commit().map_err(|_| self.commit_missing())?;
        let root = commit.tree_id().map_err(|error| self.damaged(&error))?.detach();
        let mut found = Found { id: root, mode: EntryKind::Tree.into() };
        for name in path.split('/').filter(|name| !name.is_empty()) {
            if !found.mode.is_tree() {
                return Ok(None);
            }
            let tree = repository.find_tree(found.id).map_err(|error| self.damaged(&error))?;
            let entry = tree.iter().find(|entry| entry.as_ref().map_or(true, |entry| entry.filename() == name));
            match entry {
                None => return Ok(None),
                Some(entry) => {
                    let entry = entry.map_err(|error| self.damaged(&error))?;
                    found = Found { id: entry.object_id(), mode: entry.mode() };
                }
            }
        }
        Ok(Some(found))
    }
}

/// What was loaded so far.
struct Walk<'a> {
    at: &'a At<'a>,
    repository: &'a gix::Repository,
    files: Vec<File>,
    bytes: u64,
    entries: usize,
}

impl Walk<'_> {
    fn folder(&mut self, id: gix::ObjectId, path: &str, depth: usize) -> Result<(), ReadError> {
        let max = self.at.limits.depth_max;
        if depth > max {
            return Err(ReadError::TooDeep { path: path.to_owned(), commit: self.at.commit.clone(), max });
        }
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
                    let path = self.join(path, name)?;
                    return Err(ReadError::Symlink { path, commit: self.at.commit.clone() });
                }
                EntryKind::Tree | EntryKind::Blob | EntryKind::BlobExecutable | EntryKind::Link | EntryKind::Commit => {
                }
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
        self.files.push(File { path, contents });
        Ok(())
    }
}

fn is_manifest(name: &BStr) -> bool {
    [".yaml", ".yml", ".json"].iter().any(|end| name.ends_with(end.as_bytes()))
}
