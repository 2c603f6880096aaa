//! Opening a mirror: the URL is checked, the directory found in order or put in order.
//!
//! Knows which URLs are supported and when a directory cannot be trusted. Must not know the network.

use std::io;
use std::path::{Path, PathBuf};

use towline_proto::{RepositoryId, repository::RepositoryError};

use super::Mirror;
use super::lock::Lock;

/// Why there is no mirror. None of them heals by itself, except that a full or read-only disk may.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("open the mirror: {scheme} URLs are not supported yet, use https")]
    NotSupported { scheme: String },
    #[error("open the mirror: the URL is not one Git understands")]
    Url,
    #[error(
        "open the mirror: the URL has a password in it, which all who may read the source can see: put it into a Secret, and name that in spec.secretRef"
    )]
    Password,
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    #[error("open the mirror of {url} in {}", directory.display())]
    Storage { url: String, directory: PathBuf, source: io::Error },
}

impl Mirror {
    /// The mirror of the repository at `url` below `storage`, made where it is missing. What is there but is not a repository, or
    /// somebody else's, is replaced: a mirror is a copy, and losing it costs one fetch.
    pub fn open(storage: &Path, url: &str) -> Result<Self, OpenError> {
        let parsed = gix::url::parse(url.trim()).map_err(|_| OpenError::Url)?;
        if !matches!(parsed.scheme, gix::url::Scheme::Http | gix::url::Scheme::Https) {
            // What `parse` takes for a local path may be anything; a scheme is a word.
            return Err(OpenError::NotSupported { scheme: parsed.scheme.as_str().chars().take(16).collect() });
        }
        if parsed.password().is_some() {
            return Err(OpenError::Password);
        }
        let identity = RepositoryId::from_url(url)?;
        let directory = storage.join("mirrors").join(identity.token().as_str());
        let mirror = Self {
            directory,
            identity,
            url: without_account(&parsed),
            traffic: Default::default(),
            limits: Default::default(),
        };
        mirror.put_in_order().map_err(|source| OpenError::Storage {
            url: mirror.url.clone(),
            directory: mirror.directory.clone(),
            source,
        })?;
        Ok(mirror)
    }

    fn put_in_order(&self) -> io::Result<()> {
        if self.is_sound()? {
            return Ok(());
        }
        std::fs::create_dir_all(self.directory.parent().unwrap_or(&self.directory))?;
        // Whoever holds the lock is putting it in order at this moment; a fetch looks again anyway.
        match Lock::try_take(&self.lock_file())? {
            Some(lock) => self.put_in_order_locked(&lock),
            None => Ok(()),
        }
    }

    /// Rebuilds the directory unless it is sound. The lock is asked for as a proof.
    pub(super) fn put_in_order_locked(&self, _lock: &Lock) -> io::Result<()> {
        if self.is_sound()? {
            return Ok(());
        }
        if self.directory.exists() {
            tracing::warn!(mirror = %self.directory.display(), url = %self.url, "mirror is corrupt or not ours: rebuilt empty");
        }
        self.create(&self.directory)
    }
}

fn without_account(url: &gix::Url) -> String {
    let mut plain = url.clone();
    plain.set_user(None);
    plain.set_password(None);
    plain.to_bstring().to_string()
}
