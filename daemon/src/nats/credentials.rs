//! What proves to a NATS server who we are: read from its file at every connection, so that it can be rotated without a
//! restart. A file that became bad is said once, and what it held before is used. Knows no client and no connection.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use nkeys::{KeyPair, KeyPairType};
use secrecy::{ExposeSecret, SecretString};

use super::Settings;
use crate::watched::{self, ReadError};

/// A user JWT with the permissions of a thousand repositories, and its seed.
const FILE_BYTES_MAX: usize = 256 * 1024;

/// Why a file proves nothing. Never says what was in it.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("it is not text")]
    NotText,
    #[error("it is empty")]
    Empty,
    #[error("it does not hold a user JWT and an NKey seed, each between BEGIN and END lines")]
    NoCredentials,
    #[error("it does not hold an NKey seed (SU…)")]
    NoSeed,
    #[error("its NKey seed is not a user's (SU…)")]
    NotUser,
}

/// The file that is configured, and how it is to be read.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Credentials(PathBuf),
    Nkey(PathBuf),
    Password { user: String, path: PathBuf },
}

/// What was read from it.
pub(super) enum Credentials {
    Jwt { jwt: SecretString, key: KeyPair },
    Nkey(KeyPair),
    Password { user: String, password: SecretString },
}

/// What a client says when it connects.
#[derive(Default)]
pub(super) struct Proof {
    pub(super) jwt: Option<String>,
    pub(super) nkey: Option<String>,
    pub(super) signature: Option<Vec<u8>>,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
}

impl Source {
    pub(super) fn of(settings: &Settings) -> Option<Self> {
        if let Some(path) = &settings.credentials {
            return Some(Self::Credentials(path.clone()));
        }
        if let Some(path) = &settings.nkey {
            return Some(Self::Nkey(path.clone()));
        }
        let (user, path) = (settings.user.clone()?, settings.password.clone()?);
        Some(Self::Password { user, path })
    }

    /// The key of the setting.
    pub(super) fn key(&self) -> &'static str {
        match self {
            Self::Credentials(_) => "credentials",
            Self::Nkey(_) => "nkey",
            Self::Password { .. } => "password",
        }
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Credentials(path) | Self::Nkey(path) | Self::Password { path, .. } => path,
        }
    }

    pub(super) fn read(&self) -> Result<Credentials, CredentialsError> {
        let bytes = watched::read(self.path(), FILE_BYTES_MAX)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| CredentialsError::NotText)?;
        if text.trim().is_empty() {
            return Err(CredentialsError::Empty);
        }
        match self {
            Self::Credentials(_) => {
                let mut blocks = blocks(text);
                let (jwt, seed) = blocks.next().zip(blocks.next()).ok_or(CredentialsError::NoCredentials)?;
                Ok(Credentials::Jwt { jwt: jwt.into(), key: user_key(seed)? })
            }
            Self::Nkey(_) => Ok(Credentials::Nkey(user_key(text.trim())?)),
            Self::Password { user, .. } => {
                let password = text.trim_end_matches(['\r', '\n']).into();
                Ok(Credentials::Password { user: user.clone(), password })
            }
        }
    }
}

/// The line after each BEGIN line.
fn blocks(text: &str) -> impl Iterator<Item = &str> {
    let mut lines = text.lines().map(str::trim);
    std::iter::from_fn(move || {
        lines.find(|line| line.starts_with("---") && line.contains("BEGIN"))?;
        lines.next().filter(|line| !line.is_empty() && !line.starts_with("---"))
    })
}

fn user_key(seed: &str) -> Result<KeyPair, CredentialsError> {
    let key = KeyPair::from_seed(seed).map_err(|_| CredentialsError::NoSeed)?;
    if matches!(key.key_pair_type(), KeyPairType::User) { Ok(key) } else { Err(CredentialsError::NotUser) }
}

impl Credentials {
    /// The answer to the server's nonce.
    pub(super) fn proof(&self, nonce: &[u8]) -> Result<Proof, nkeys::error::Error> {
        Ok(match self {
            Self::Jwt { jwt, key } => Proof {
                jwt: Some(jwt.expose_secret().to_owned()),
                signature: Some(key.sign(nonce)?),
                ..Proof::default()
            },
            Self::Nkey(key) => {
                Proof { nkey: Some(key.public_key()), signature: Some(key.sign(nonce)?), ..Proof::default() }
            }
            Self::Password { user, password } => Proof {
                user: Some(user.clone()),
                password: Some(password.expose_secret().to_owned()),
                ..Proof::default()
            },
        })
    }
}

/// The newest good content of a file.
pub(super) struct Kept {
    source: Source,
    last: Mutex<Last>,
}

struct Last {
    good: Arc<Credentials>,
    /// What is wrong with the file now.
    problem: Option<String>,
}

impl Kept {
    /// Fails if the file is bad from the start.
    pub(super) fn read(source: Source) -> Result<Self, CredentialsError> {
        let good = Arc::new(source.read()?);
        Ok(Self { source, last: Mutex::new(Last { good, problem: None }) })
    }

    /// Reads the file again. Blocks for as long as that takes.
    pub(super) fn newest(&self) -> Arc<Credentials> {
        let read = self.source.read();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(credentials) => {
                last.good = Arc::new(credentials);
                last.problem = None;
            }
            Err(error) => {
                let error = crate::error::chain(&error);
                if last.problem.as_ref() != Some(&error) {
                    let file = self.source.path().display();
                    tracing::warn!(%file, error, "NATS credentials cannot be read, those before are used");
                    last.problem = Some(error);
                }
            }
        }
        Arc::clone(&last.good)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(source: impl Fn(PathBuf) -> Source, text: &str) -> Result<Credentials, CredentialsError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), text).unwrap();
        source(folder.path().join("file")).read()
    }

    #[test]
    fn a_credentials_file_is_a_jwt_and_a_seed() {
        let key = KeyPair::new_user();
        let text = format!(
            "-----BEGIN NATS USER JWT-----\r\na.jwt-_\r\n------END NATS USER JWT------\r\n\n*** IMPORTANT ***\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            key.seed().unwrap()
        );
        let proof = read(Source::Credentials, &text).unwrap().proof(b"nonce").unwrap();
        assert_eq!((proof.jwt.as_deref(), proof.nkey, proof.user), (Some("a.jwt-_"), None, None));
        assert!(key.verify(b"nonce", &proof.signature.unwrap()).is_ok());
        for cut in [&text[..40], &text[..100], "no credentials"] {
            assert!(matches!(read(Source::Credentials, cut), Err(CredentialsError::NoCredentials)), "{cut}");
        }
    }

    #[test]
    fn a_seed_is_a_users() {
        let key = KeyPair::new_user();
        let proof = read(Source::Nkey, &format!("{}\n", key.seed().unwrap())).unwrap().proof(b"nonce").unwrap();
        assert_eq!(proof.nkey, Some(key.public_key()));
        assert!(matches!(read(Source::Nkey, "SUAB"), Err(CredentialsError::NoSeed)));
        let account = KeyPair::new_account().seed().unwrap();
        assert!(matches!(read(Source::Nkey, &account), Err(CredentialsError::NotUser)));
        assert!(matches!(read(Source::Nkey, "\n"), Err(CredentialsError::Empty)));
    }

    #[test]
    fn the_newest_good_content_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        let password = |kept: &Kept| kept.newest().proof(b"").unwrap().password.unwrap();
        std::fs::write(&path, "one\n").unwrap();
        let kept = Kept::read(Source::Password { user: "me".to_owned(), path: path.clone() }).unwrap();
        assert_eq!(password(&kept), "one");
        std::fs::write(&path, "two").unwrap();
        assert_eq!(password(&kept), "two");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(password(&kept), "two");
        std::fs::write(&path, "three").unwrap();
        assert_eq!(password(&kept), "three");
    }
}
