//! A local folder as a tree of files, by the rules an agent reads a commit by: all `*.yaml`, `*.yml` and `*.json` files,
//! recursively, also in folders whose name begins with a dot (except `.git`); a link that is called like a manifest is
//! refused, others are passed over; a path that names one file is that file, whatever it is called. The only file here
//! that reads the disk, or stdin, for manifests; must not know what is in them.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use towline_plan::tree::{File, Limits, Tree};

use crate::exit::{Exit, Fails};

/// Why a folder was not read. As for an agent, what cannot be read is an error and never an empty folder.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    #[error("read {}: there is no such file or folder", .0.display())]
    Missing(PathBuf),
    #[error("read {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("read {}: it is a symbolic link, and links are not followed", .0.display())]
    Symlink(PathBuf),
    #[error("read {}: it is neither a file nor a folder", .0.display())]
    Special(PathBuf),
    #[error("read {}: the name is not UTF-8", .0.display())]
    NotUtf8(PathBuf),
    #[error("read {}: more than {max} files", path.display())]
    TooManyFiles { path: PathBuf, max: usize },
    #[error("read {}: more than {max} bytes for one file", path.display())]
    FileTooLarge { path: PathBuf, max: u64 },
    #[error("read {}: more than {max} bytes in all files", path.display())]
    TotalTooLarge { path: PathBuf, max: u64 },
    #[error("read {}: more than {max} folders deep", path.display())]
    TooDeep { path: PathBuf, max: usize },
}

impl Fails for FolderError {
    fn exit(&self) -> Exit {
        match self {
            Self::Io { .. } => Exit::Failed,
            Self::Missing(_)
            | Self::Symlink(_)
            | Self::Special(_)
            | Self::NotUtf8(_)
            | Self::TooManyFiles { .. }
            | Self::FileTooLarge { .. }
            | Self::TotalTooLarge { .. }
            | Self::TooDeep { .. } => Exit::No,
        }
    }
}

/// The manifests at a path. File paths begin with the path as it was given, so that messages can be clicked on.
pub(crate) fn read(path: &Path, limits: Limits) -> Result<Tree, FolderError> {
    let metadata = fs::metadata(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => FolderError::Missing(path.to_owned()),
        _ => FolderError::Io { path: path.to_owned(), source },
    })?;
    let mut walk = Walk { limits, files: Vec::new(), bytes: 0 };
    // The path itself may be a link: it is the caller's word, not the repository's.
    if metadata.is_dir() {
        walk.folder(path, 0)?;
    } else {
        walk.file(path)?;
    }
    let mut files = walk.files;
    files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(Tree { read: Vec::new(), files })
}

/// What stdin holds, as one file.
pub(crate) fn stdin(limits: Limits) -> Result<Tree, FolderError> {
    let path = PathBuf::from("stdin");
    let mut contents = Vec::new();
    let read = io::stdin().lock().take(limits.file_bytes_max + 1).read_to_end(&mut contents);
    read.map_err(|source| FolderError::Io { path: path.clone(), source })?;
    if contents.len() as u64 > limits.file_bytes_max {
        return Err(FolderError::FileTooLarge { path, max: limits.file_bytes_max });
    }
    Ok(Tree { read: Vec::new(), files: vec![File { path: "stdin".to_owned(), contents }] })
}

struct Walk {
    limits: Limits,
    files: Vec<File>,
    bytes: u64,
}

impl Walk {
    fn folder(&mut self, path: &Path, depth: usize) -> Result<(), FolderError> {
        let failed = |source| FolderError::Io { path: path.to_owned(), source };
        if depth > self.limits.depth_max {
            return Err(FolderError::TooDeep { path: path.to_owned(), max: self.limits.depth_max });
        }
        for entry in fs::read_dir(path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let (kind, path) = (entry.file_type().map_err(failed)?, entry.path());
            let manifest = is_manifest(&path);
            if kind.is_dir() && entry.file_name() != ".git" {
                self.folder(&path, depth + 1)?;
            } else if kind.is_symlink() && manifest {
                return Err(FolderError::Symlink(path));
            } else if kind.is_file() && manifest {
                self.file(&path)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path) -> Result<(), FolderError> {
        let Limits { files_max, file_bytes_max, total_bytes_max, .. } = self.limits;
        let failed = |source| FolderError::Io { path: path.to_owned(), source };
        let name = path.to_str().ok_or_else(|| FolderError::NotUtf8(path.to_owned()))?.to_owned();
        if self.files.len() >= files_max {
            return Err(FolderError::TooManyFiles { path: path.to_owned(), max: files_max });
        }
        // A pipe would be waited for.
        if !fs::metadata(path).map_err(failed)?.is_file() {
            return Err(FolderError::Special(path.to_owned()));
        }
        let mut contents = Vec::new();
        let file = fs::File::open(path).map_err(failed)?;
        file.take(file_bytes_max + 1).read_to_end(&mut contents).map_err(failed)?;
        let bytes = contents.len() as u64;
        if bytes > file_bytes_max {
            return Err(FolderError::FileTooLarge { path: path.to_owned(), max: file_bytes_max });
        }
        self.bytes += bytes;
        if self.bytes > total_bytes_max {
            return Err(FolderError::TotalTooLarge { path: path.to_owned(), max: total_bytes_max });
        }
        self.files.push(File { path: name, contents });
        Ok(())
    }
}

fn is_manifest(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    [".yaml", ".yml", ".json"].iter().any(|end| name.ends_with(end))
}
