//! The files of one commit below one path, as values.
//!
//! Knows names, contents and bounds. Must not know where they were read from: the mirror builds a [`Tree`], tests build one
//! from literals.

use serde::{Deserialize, Serialize};

/// Bounds on what one Sync may read from a commit. Each is far above what a hand-written repository holds and far below
/// what would hurt a 256 MiB agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Files below the path. 20,000 is the largest fleet repository we know of, and one Sync reads a part of it.
    pub files_max: usize,
    /// Bytes of one file. The API server takes objects of about 1.5 MiB (etcd's request limit); a file holds several.
    pub file_bytes_max: u64,
    /// Bytes of all files together.
    pub total_bytes_max: u64,
    /// Folders below folders. Git itself has no limit, recursion does.
    pub depth_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { files_max: 20_000, file_bytes_max: 16 << 20, total_bytes_max: 128 << 20, depth_max: 64 }
    }
}

/// One file of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// From the repository's root, with `/` between names.
    pub path: String,
    pub contents: Vec<u8>,
}

/// What was read at a path, by Git's own object id: the same id is the same content, so a Sync whose read set is
/// unchanged at a newer commit is current there without being rendered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// From the repository's root; empty for the root itself.
    pub path: String,
    /// The tree's or blob's id in hex; `None` where the path did not exist.
    pub id: Option<String>,
}

/// The files below a path at one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// What was read, and which content it had.
    pub read: Vec<Read>,
    /// Sorted by path.
    pub files: Vec<File>,
}

/// `./clusters/prod/` and `clusters/prod` are one path, the root is the empty string.
///
/// # Errors
/// A path that leaves the repository or is absolute.
pub fn normalise(path: &str) -> Result<String, PathError> {
    let mut parts = Vec::new();
    if path.starts_with('/') {
        return Err(PathError::Absolute(path.to_owned()));
    }
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err(PathError::Leaves(path.to_owned())),
            name => parts.push(name),
        }
    }
    Ok(parts.join("/"))
}

/// Why a path cannot be one in a repository.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PathError {
    #[error("path {0:?} is absolute: name it from the repository's root, as in ./clusters/prod")]
    Absolute(String),
    #[error("path {0:?} leaves the repository: \"..\" is not allowed")]
    Leaves(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_folder_has_one_name() {
        for path in ["clusters/prod", "./clusters/prod", "clusters//prod/", "./clusters/./prod"] {
            assert_eq!(normalise(path).unwrap(), "clusters/prod", "{path}");
        }
        for root in ["", ".", "./"] {
            assert_eq!(normalise(root).unwrap(), "", "{root}");
        }
    }

    #[test]
    fn no_way_out_of_the_repository() {
        assert_eq!(normalise("/etc"), Err(PathError::Absolute("/etc".into())));
        assert_eq!(normalise("a/../../b"), Err(PathError::Leaves("a/../../b".into())));
    }
}
