//! Secrets and tokens in files: read, or made from the system's randomness and written where only their owner reads. They
//! leave this file as a type without Debug. Knows no host.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use data_encoding::{BASE64, HEXLOWER};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use towline_receiver::{Provider, Secret, SecretError};

use super::api::SIGNING_PREFIX;
use crate::exit::{Exit, Fails};

/// As many bytes as the code that is made with it; GitLab's signing tokens have to have just these.
const SECRET_BYTES: usize = 32;

/// Enough for a name that no other run has in the same moment.
const NAME_BYTES: usize = 8;

/// The longest token known is a JSON Web Token of some kilobytes; a larger file is a mistake.
const TOKEN_BYTES_MAX: u64 = 16 << 10;

/// What a receiver reads of a secret's file.
const SECRET_FILE_BYTES_MAX: u64 = 4 << 10;

/// How a new secret is written down.
#[derive(Clone, Copy)]
pub(crate) enum Form {
    /// 64 digits: text that every form and API takes.
    Text,
    /// `whsec_` and base64.
    SigningToken,
}

/// A secret, and how it came.
pub(crate) struct SecretFile {
    pub(crate) path: PathBuf,
    pub(crate) text: SecretString,
    pub(crate) made_now: bool,
}

/// Why there is no secret or token. Never says what is in a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretFileError {
    #[error("read the file {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("use the file {}: it has more than {bytes_max} bytes", path.display())]
    TooLong { path: PathBuf, bytes_max: u64 },
    #[error("use the secret of {}", path.display())]
    Unfit { path: PathBuf, source: SecretError },
    #[error("use the secret of {}: it is not text, which is all that an API takes", path.display())]
    NoText { path: PathBuf },
    #[error("use the token of {}: it has to be one line of printable characters", path.display())]
    Token { path: PathBuf },
    #[error("get randomness from the system")]
    Random,
    #[error("write the new secret to {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl Fails for SecretFileError {
    fn exit(&self) -> Exit {
        Exit::Failed
    }
}

/// The secret in the file. A file that is not there is made, with a new secret in it.
pub(crate) fn read_or_make(provider: Provider, path: &Path, form: Form) -> Result<SecretFile, SecretFileError> {
    if let Some(found) = read_if_there(provider, path)? {
        return Ok(found);
    }
    let text = random(form)?;
    match write_new(path, &text) {
        Ok(()) => Ok(SecretFile { path: path.to_owned(), text, made_now: true }),
        // Somebody was faster: what they made counts.
        Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {
            read_if_there(provider, path)?.ok_or(SecretFileError::Write { path: path.to_owned(), source })
        }
        Err(source) => Err(SecretFileError::Write { path: path.to_owned(), source }),
    }
}

fn read_if_there(provider: Provider, path: &Path) -> Result<Option<SecretFile>, SecretFileError> {
    let bytes = match read(path, SECRET_FILE_BYTES_MAX) {
        Err(SecretFileError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    // What a receiver would refuse is not set up at a host; the text is for the API.
    let fit = Secret::parse(provider, &bytes);
    let _fit = fit.map_err(|source| SecretFileError::Unfit { path: path.to_owned(), source })?;
    let text = std::str::from_utf8(&bytes).map_err(|_| SecretFileError::NoText { path: path.to_owned() })?;
    let text = SecretString::from(text.trim_end_matches(['\r', '\n']));
    Ok(Some(SecretFile { path: path.to_owned(), text, made_now: false }))
}

/// Another secret in place of one that was made a moment ago and is of no use. The file is never without a whole secret.
pub(crate) fn make_again(file: SecretFile, form: Form) -> Result<SecretFile, SecretFileError> {
    let text = random(form)?;
    // A name that nothing has: what an earlier run, or somebody else, has left beside the file is in nobody's way.
    let mut name = file.path.clone().into_os_string();
    name.push(format!(".{}.new", HEXLOWER.encode(&random_bytes::<NAME_BYTES>()?[..])));
    let new = PathBuf::from(name);
    let moved = write_new(&new, &text).and_then(|()| {
        fs::rename(&new, &file.path).inspect_err(|_| {
            let _gone = fs::remove_file(&new);
        })
    });
    moved.map_err(|source| SecretFileError::Write { path: file.path.clone(), source })?;
    Ok(SecretFile { text, ..file })
}

/// A token for an API: one line, which becomes a header.
pub(crate) fn token(path: &Path) -> Result<SecretString, SecretFileError> {
    let unfit = || SecretFileError::Token { path: path.to_owned() };
    let bytes = read(path, TOKEN_BYTES_MAX)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| unfit())?.trim();
    let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { Ok(SecretString::from(text)) } else { Err(unfit()) }
}

fn read(path: &Path, bytes_max: u64) -> Result<Zeroizing<Vec<u8>>, SecretFileError> {
    let failed = |source| SecretFileError::Read { path: path.to_owned(), source };
    let mut bytes = Zeroizing::new(Vec::new());
    let mut file = fs::File::open(path).map_err(failed)?.take(bytes_max + 1);
    file.read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > bytes_max {
        return Err(SecretFileError::TooLong { path: path.to_owned(), bytes_max });
    }
    Ok(bytes)
}

fn random(form: Form) -> Result<SecretString, SecretFileError> {
    let bytes = random_bytes::<SECRET_BYTES>()?;
    Ok(SecretString::from(match form {
        Form::Text => HEXLOWER.encode(&*bytes),
        Form::SigningToken => format!("{SIGNING_PREFIX}{}", BASE64.encode(&*bytes)),
    }))
}

fn random_bytes<const NUMBER: usize>() -> Result<Zeroizing<[u8; NUMBER]>, SecretFileError> {
    let mut bytes = Zeroizing::new([0; NUMBER]);
    let source = rustls::crypto::aws_lc_rs::default_provider().secure_random;
    source.fill(&mut *bytes).map_err(|_| SecretFileError::Random)?;
    Ok(bytes)
}

/// Only where nothing is, not even a link; for the owner only, from its first moment.
fn write_new(path: &Path, text: &SecretString) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = writeln!(file, "{}", text.expose_secret()).and_then(|()| file.sync_all());
    if written.is_err() {
        // Half a secret would be taken for one the next time.
        let _gone = fs::remove_file(path);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_new_secret_is_for_its_owner_and_is_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let made = read_or_make(Provider::Github, &path, Form::Text).unwrap();
        assert!(made.made_now);
        assert_eq!(made.text.expose_secret().len(), 64);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = read_or_make(Provider::Github, &path, Form::Text).unwrap();
        assert!(!again.made_now);
        assert_eq!(again.text.expose_secret(), made.text.expose_secret());
        // What a run that was killed has left.
        fs::write(dir.path().join("secret.new"), "left").unwrap();
        let other = make_again(made, Form::Text).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing more is left");
        assert_ne!(other.text.expose_secret(), again.text.expose_secret());
        assert_eq!(fs::read_to_string(&path).unwrap().trim(), other.text.expose_secret());
    }

    #[test]
    fn a_new_signing_token_is_one_that_a_receiver_takes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        assert!(read_or_make(Provider::Gitlab, &path, Form::SigningToken).is_ok());
        assert!(Secret::read(Provider::Gitlab, &path).is_ok());
    }

    #[test]
    fn a_link_into_nothing_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (link, target) = (dir.path().join("secret"), dir.path().join("elsewhere"));
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(read_or_make(Provider::Github, &link, Form::Text).is_err());
        assert!(!target.exists());
    }

    #[test]
    fn a_token_is_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, "ghp_abc\n").unwrap();
        assert_eq!(token(&path).unwrap().expose_secret(), "ghp_abc");
        for bad in ["", "\n", "a b", "a\nb", "ä"] {
            fs::write(&path, bad).unwrap();
            assert!(token(&path).is_err(), "{bad:?}");
        }
    }
}
