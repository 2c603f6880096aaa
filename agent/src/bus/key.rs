//! The file with the cluster's reporting key.
//!
//! Knows where the seed is and how one is made. Must not know what is signed with it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use towline_proto::{KeyError, ReportingKey};

/// In the storage directory, where no file is configured.
const FILE: &str = "report.key";

/// A seed in base64 with a line break has 45 bytes.
const FILE_BYTES_MAX: u64 = 1024;

/// Why there is no key to sign with.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error("read the reporting key in {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("use the reporting key in {}", path.display())]
    Content { path: PathBuf, source: KeyError },
    #[error("create the reporting key in {}", path.display())]
    Create { path: PathBuf, source: io::Error },
    #[error("draw a seed for the reporting key: the system has no randomness")]
    Random,
}

/// The key in a configured file, or the one in the storage directory, which is made if it is not there.
///
/// The hub has to be told the public half; it is logged.
pub fn load(configured: Option<&Path>, storage: &Path) -> Result<ReportingKey, KeyFileError> {
    let own = storage.join(FILE);
    let path = configured.unwrap_or(&own);
    let key = match read(path) {
        Err(KeyFileError::Read { source, .. }) if configured.is_none() && source.kind() == io::ErrorKind::NotFound => {
            create(storage, path)?;
            // Another process may have been faster: what is in the file counts.
            read(path)?
        }
        other => other?,
    };
    tracing::info!(file = %path.display(), public_key = key.verifying_key_text(), "reports are signed with this key");
    Ok(key)
}

fn read(path: &Path) -> Result<ReportingKey, KeyFileError> {
    let failed = |source| KeyFileError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let text = io::read_to_string(io::Read::take(file, FILE_BYTES_MAX)).map_err(failed)?;
    ReportingKey::parse(&text).map_err(|source| KeyFileError::Content { path: path.to_owned(), source })
}

/// Leaves a whole file or none: it is written beside, and linked to its name, which fails where the name is taken.
fn create(storage: &Path, path: &Path) -> Result<(), KeyFileError> {
    let failed = |source| KeyFileError::Create { path: path.to_owned(), source };
    let mut seed = [0; 32];
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.secure_random.fill(&mut seed).map_err(|_| KeyFileError::Random)?;
    let text = BASE64.encode(&seed);

    DirBuilder::new().recursive(true).mode(0o700).create(storage).map_err(failed)?;
    let beside = storage.join(format!("{FILE}.{}.new", std::process::id()));
    let written = write(&beside, &text).and_then(|()| match fs::hard_link(&beside, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    });
    fs::remove_file(&beside).ok();
    written.and_then(|()| File::open(storage)?.sync_all()).map_err(failed)
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    // One that a process with our id left behind is not to be written into.
    fs::remove_file(path).ok();
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn made_once_and_for_nobody_else_to_read() {
        let dir = tempfile::tempdir().unwrap();
        let storage = dir.path().join("storage");
        let first = load(None, &storage).unwrap().verifying_key_text();
        assert_eq!(load(None, &storage).unwrap().verifying_key_text(), first);
        let mode = fs::metadata(storage.join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(&storage).unwrap().count(), 1, "nothing else is left");
        create(&storage, &storage.join(FILE)).unwrap();
        assert_eq!(load(None, &storage).unwrap().verifying_key_text(), first, "never overwritten");
    }

    #[test]
    fn a_configured_file_is_never_made_and_never_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seed");
        assert!(matches!(load(Some(&path), dir.path()), Err(KeyFileError::Read { .. })));
        fs::write(&path, "not a seed").unwrap();
        let error = towline_daemon::error::chain(&load(Some(&path), dir.path()).err().unwrap());
        assert!(!error.contains("not a seed"), "{error}");
        fs::write(&path, format!("{}\n", BASE64.encode(&[7; 32]))).unwrap();
        let expected = ReportingKey::from_seed(&[7; 32]).verifying_key_text();
        assert_eq!(load(Some(&path), dir.path()).unwrap().verifying_key_text(), expected);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no key of our own beside a configured one");
    }
}
