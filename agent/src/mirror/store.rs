//! The bare repository on disk: how it is made, recognised and laid out.
//!
//! Knows paths, marks and the names of our refs. Must not know the network.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use gix::bstr::ByteSlice;
use sha2::{Digest, Sha256};
use towline_proto::{CommitId, RefName};

use super::Mirror;

/// All our refs, and so everything that is kept: tips, the tips before them, pins.
pub(super) const REFS: &str = "refs/towline/";

/// Says whose mirror a directory is. Missing in a foreign one.
const IDENTITY_FILE: &str = "towline-identity";

/// Says that an object could not be read although its commit was complete: the next fetch starts afresh.
const DAMAGED_FILE: &str = "towline-damaged";

/// Which tree was found within which limits, so that a poll that finds nothing new need not look again.
const JUDGED_FILE: &str = "towline-within";

/// A folder or a commit may be as large as this, however small files have to be.
const OBJECT_BYTES_MIN: u64 = 16 << 20;

impl Mirror {
    pub(super) fn lock_file(&self) -> PathBuf {
        self.directory.with_extension("lock")
    }

    pub(super) fn repository_at(&self, directory: &Path) -> gix::Result<gix::Repository> {
        Ok(self.options().open(directory)?.to_thread_local())
    }

    pub(super) fn repository_now(&self) -> gix::Result<gix::Repository> {
        self.repository_at(&self.directory)
    }

    /// Whether the directory holds a repository of ours that opens. Not being able to tell (no permission, no file descriptors
    /// left) is an error, not a reason to throw a good mirror away.
    pub(super) fn is_sound(&self) -> io::Result<bool> {
        match fs::read(self.directory.join(IDENTITY_FILE)) {
            Ok(text) if text.lines().next() == Some(self.identity.as_str().as_bytes()) => {}
            Ok(_) => return Ok(false),
            Err(error) if is_absence(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
        let opened = self.repository_now().map(|repository| repository.is_bare() && references(&repository).is_ok());
        match opened {
            Ok(opened) => Ok(opened && self.directory.join("objects/pack").is_dir()),
            Err(error) => match error.downcast_any_ref::<io::Error>() {
                Some(cause) if !is_absence(cause) => Err(io::Error::new(cause.kind(), explain(&error))),
                _ => Ok(false),
            },
        }
    }

    /// Makes an empty repository; what was at `directory` is gone.
    pub(super) fn create(&self, directory: &Path) -> io::Result<()> {
        remove(directory)?;
        fs::create_dir_all(directory)?;
        let create = gix::create::Options::default();
        gix::ThreadSafeRepository::init_opts(directory, gix::create::Kind::Bare, create, self.options())
            .map_err(|error| io::Error::other(explain(&error)))?;
        fs::create_dir_all(directory.join("objects/pack"))?;
        // Last, because it is what makes the directory count.
        fs::write(directory.join(IDENTITY_FILE), format!("{}\n{}\n", self.identity, self.url))
    }

    /// Nothing but the repository's own configuration counts: no user's or system's Git configuration, no environment. No object
    /// is loaded, nor received, that is larger than a file may be.
    fn options(&self) -> gix::open::Options {
        let bytes_max = self.limits.file_bytes.max(OBJECT_BYTES_MIN);
        gix::open::Options::isolated()
            .with(gix::sec::Trust::Full)
            .open_path_as_is(true)
            .config_overrides([format!("gitoxide.objects.allocLimit={bytes_max}")])
    }

    /// Whether a tree of `directory` is within the limits.
    pub(super) fn judge(
        &self,
        directory: &Path,
        repository: &gix::Repository,
        tree: gix::ObjectId,
    ) -> Result<(), super::limits::Objection> {
        let (file, verdict) = (directory.join(JUDGED_FILE), format!("{tree} {:?}", self.limits));
        if fs::read_to_string(&file).is_ok_and(|known| known == verdict) {
            return Ok(());
        }
        super::limits::judge(repository, tree, &self.limits)?;
        // Where it cannot be written, the next poll looks again.
        let _ = fs::write(file, verdict);
        Ok(())
    }

    pub(super) fn mark_damaged(&self, cause: &str) {
        tracing::warn!(mirror = %self.directory.display(), url = %self.url, cause, "mirror is damaged: the next fetch rebuilds it");
        // Where even this cannot be written, the read fails again and says so again.
        let _ = fs::write(self.directory.join(DAMAGED_FILE), cause);
    }

    pub(super) fn is_damaged(&self) -> bool {
        self.directory.join(DAMAGED_FILE).exists()
    }
}

/// Removes what a process left behind that was killed in the middle of a fetch. Only under the lock.
pub(super) fn sweep(directory: &Path) {
    let places = [
        "",
        "objects/pack",
        "refs/towline/tips",
        "refs/towline/previous",
        "refs/towline/pins",
        "refs/towline/pins-before",
    ];
    for entry in places.iter().filter_map(|place| fs::read_dir(directory.join(place)).ok()).flatten().flatten() {
        let name = entry.file_name();
        let stale = name.as_encoded_bytes().ends_with(b".lock") || name.as_encoded_bytes().starts_with(b".tmp");
        if stale && let Err(error) = fs::remove_file(entry.path()) {
            tracing::warn!(file = %entry.path().display(), %error, "failed to remove what an earlier fetch left behind");
        }
    }
}

/// What is said of a file that is not there or not what it should be, as against one that cannot be reached.
fn is_absence(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, IsADirectory, NotADirectory, NotFound, UnexpectedEof};
    matches!(error.kind(), NotFound | NotADirectory | IsADirectory | InvalidData | UnexpectedEof)
}

/// A directory that is not there is removed already.
pub(super) fn remove(directory: &Path) -> io::Result<()> {
    match fs::symlink_metadata(directory) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(directory),
        Ok(_) => fs::remove_file(directory),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// `tips`, `previous`, `pins` or `pins-before` of something: flat, because `heads/a` and `heads/a/b` may follow each other on the server, and
/// hashed, because a ref may be longer than a file name.
pub(super) fn ref_name(kind: &str, of: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let readable: String = of.trim_start_matches("refs/").chars().take(60).map(plain).collect();
    let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(of.as_bytes())[..8]);
    format!("{REFS}{kind}/{readable}-{digest}")
}

pub(super) fn tip_ref(reference: &RefName) -> String {
    ref_name("tips", reference.as_str())
}

/// Every object our refs name.
pub(super) fn references(repository: &gix::Repository) -> gix::Result<Vec<gix::ObjectId>> {
    let mut ids = Vec::new();
    for reference in repository.references()?.prefixed(REFS.as_bytes().as_bstr())? {
        ids.extend(reference?.try_id().map(gix::Id::detach));
    }
    Ok(ids)
}

pub(super) fn set_ref(repository: &gix::Repository, name: &str, id: gix::ObjectId) -> gix::Result<()> {
    repository.reference(name, id, gix::refs::transaction::PreviousValue::Any, "towline").map(drop)
}

/// `None` for a commit of a SHA-256 repository, which no mirror holds.
pub(super) fn object_id(commit: &CommitId) -> Option<gix::ObjectId> {
    gix::ObjectId::from_hex(commit.as_str().as_bytes()).ok()
}

/// An error with its causes on one line.
pub(super) fn explain(error: &gix::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.iter_errors().map(ToString::to_string) {
        if parts.last().is_none_or(|last| !last.contains(&cause)) {
            parts.push(cause);
        }
    }
    parts.join(": ").replace('\n', " ")
}
