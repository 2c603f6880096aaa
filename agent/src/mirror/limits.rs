//! How large a repository may be, and whether one is.
//!
//! Knows folders, names and sizes. Must not know manifests, nor who asks. A folder that stands at many places is looked at once and
//! counts at each, so that a tree which unfolds into a billion files is found out at the price of its few objects.

use std::collections::HashMap;

use gix::ObjectId;
use gix::bstr::{BStr, ByteSlice};

use super::store::explain;

/// Bounds of one repository, as the agent's configuration has them. The defaults are ten times the largest repository we test with
/// (20,000 files, 200 MB), and more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// What a server may send for one fetch. It bounds what is put on the disk.
    pub received_bytes: u64,
    /// All files of a commit, unpacked.
    pub unpacked_bytes: u64,
    pub files: u64,
    /// One file. Git hosts refuse files above 100 MiB, and a manifest is a thousandth of that.
    pub file_bytes: u64,
    /// From the root. Linux takes 4,096.
    pub path_bytes: usize,
    /// Folders in folders.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            received_bytes: 2 << 30,
            unpacked_bytes: 8 << 30,
            files: 250_000,
            file_bytes: 256 << 20,
            path_bytes: 1_024,
            depth: 64,
        }
    }
}

/// What of a path is shown: it may be what is too long.
const SHOWN_BYTES_MAX: usize = 200;

/// Which limit a commit is above, or what else of its tree cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Exceeded {
    #[error("the folder {path:?} holds more than {max} files; git.files_max of the agent's configuration allows more")]
    Files { path: String, max: u64 },
    #[error(
        "the files in the folder {path:?} are more than {max} bytes; git.unpacked_bytes_max of the agent's configuration allows more"
    )]
    Bytes { path: String, max: u64 },
    #[error(
        "the file {path:?} has {bytes} bytes, more than {max}; git.file_bytes_max of the agent's configuration allows more"
    )]
    FileBytes { path: String, bytes: u64, max: u64 },
    #[error("an object has more than {max} bytes; git.file_bytes_max of the agent's configuration allows more")]
    ObjectBytes { max: u64 },
    #[error(
        "a path is longer than {max} bytes, in {path:?}; git.path_bytes_max of the agent's configuration allows more"
    )]
    PathBytes { path: String, max: usize },
    #[error("folders are more than {max} deep, in {path:?}; git.depth_max of the agent's configuration allows more")]
    Depth { path: String, max: usize },
    #[error("the name {name:?} in the folder {path:?} is none that a file can have")]
    Name { path: String, name: String },
}

/// Why a tree cannot be taken.
pub(super) enum Objection {
    Exceeded(Exceeded),
    /// It cannot be read.
    Unreadable(String),
}

/// What is below a folder.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    files: u64,
    bytes: u64,
    /// The longest path below it.
    longest: usize,
    /// Folders in folders below it.
    depth: usize,
}

/// Whether a tree is within the limits.
pub(super) fn judge(repository: &gix::Repository, tree: ObjectId, limits: &Limits) -> Result<(), Objection> {
    let mut walk = Walk { repository, limits, known: HashMap::new(), path: Vec::new() };
    walk.folder(tree, 0).map(drop)
}

struct Walk<'a> {
    repository: &'a gix::Repository,
    limits: &'a Limits,
    known: HashMap<ObjectId, Sum>,
    /// Where it is now.
    path: Vec<u8>,
}

impl Walk<'_> {
    /// Recursion ends at the limit of the depth.
    fn folder(&mut self, id: ObjectId, depth: usize) -> Result<Sum, Objection> {
        if let Some(sum) = self.known.get(&id).copied() {
            return self.within(sum, depth).map(|()| sum);
        }
        self.within(Sum::default(), depth)?;
        let unreadable = |error: gix::Error| Objection::Unreadable(explain(&error));
        let tree = self.repository.find_tree(id).map_err(unreadable)?;
        let mut sum = Sum::default();
        for entry in tree.iter() {
            let entry = entry.map_err(unreadable)?;
            let name = entry.filename();
            if matches!(name.as_bytes(), b"" | b"." | b"..") || name.contains(&b'/') || name.contains(&0) {
                let (path, name) = (self.shown(), name.to_str_lossy().into_owned());
                return Err(Objection::Exceeded(Exceeded::Name { path, name }));
            }
            let outer = self.enter(name);
            let below = match entry.mode() {
                mode if mode.is_tree() => {
                    let below = self.folder(entry.object_id(), depth + 1)?;
                    Sum { depth: below.depth + 1, ..below }
                }
                mode if mode.is_commit() => Sum::default(),
                _ => self.file(entry.object_id(), depth)?,
            };
            self.path.truncate(outer);
            let name_bytes = name.len() + usize::from(below.longest > 0);
            sum.files = sum.files.saturating_add(below.files);
            sum.bytes = sum.bytes.saturating_add(below.bytes);
            sum.longest = sum.longest.max(name_bytes.saturating_add(below.longest));
            sum.depth = sum.depth.max(below.depth);
            self.within(sum, depth)?;
        }
        self.known.insert(id, sum);
        Ok(sum)
    }

    fn file(&self, id: ObjectId, depth: usize) -> Result<Sum, Objection> {
        let bytes = self.repository.find_header(id).map_err(|error| Objection::Unreadable(explain(&error)))?.size();
        let max = self.limits.file_bytes;
        if bytes > max {
            return Err(Objection::Exceeded(Exceeded::FileBytes { path: self.shown(), bytes, max }));
        }
        self.within(Sum::default(), depth)?;
        Ok(Sum { files: 1, bytes, ..Sum::default() })
    }

    /// Whether what is below here, at this depth and path, is within the limits.
    fn within(&self, sum: Sum, depth: usize) -> Result<(), Objection> {
        let Limits { unpacked_bytes, files, path_bytes, depth: depth_max, .. } = *self.limits;
        let path = || self.shown();
        let here = self.path.len() + usize::from(!self.path.is_empty() && sum.longest > 0);
        let exceeded = if depth.saturating_add(sum.depth) > depth_max {
            Exceeded::Depth { path: path(), max: depth_max }
        } else if here.saturating_add(sum.longest) > path_bytes {
            Exceeded::PathBytes { path: path(), max: path_bytes }
        } else if sum.files > files {
            Exceeded::Files { path: path(), max: files }
        } else if sum.bytes > unpacked_bytes {
            Exceeded::Bytes { path: path(), max: unpacked_bytes }
        } else {
            return Ok(());
        };
        Err(Objection::Exceeded(exceeded))
    }

    /// Answers with how long the path was before.
    fn enter(&mut self, name: &BStr) -> usize {
        let outer = self.path.len();
        if outer > 0 {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
        outer
    }

    fn shown(&self) -> String {
        towline_proto::bounds::cut(&self.path.to_str_lossy(), SHOWN_BYTES_MAX)
    }
}
