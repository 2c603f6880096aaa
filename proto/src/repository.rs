//! The identity of a repository: one text for it on the receiver's side and on the agent's.
//!
//! Knows that an identity is a host and a path in lower case, and how it becomes a subject token. Must not know how a payload
//! names a repository, and never takes a clone URL from one.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{hosts, location, token};

/// Twice the longest path GitLab allows (255), so that no real repository is refused and an event stays small.
pub const IDENTITY_BYTES_MAX: usize = 512;

/// 16 bytes of SHA-256: nobody finds a second repository with the same token, and a permission line stays short.
const TOKEN_BYTES: usize = 16;

/// A repository's canonical identity, such as `github.com/org/fleet`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepositoryId(String);

/// What stands for a repository in a subject: base32 of the first 16 bytes of the identity's SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepositoryToken(String);

/// Why a text names no repository. The text itself is never repeated: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RepositoryError {
    #[error("identify the repository: the URL is not https, http, ssh, git or user@host:path")]
    Scheme,
    #[error("identify the repository: the host is missing or not a valid host name")]
    Host,
    #[error("identify the repository: the path is missing or has parts that no Git host uses")]
    Path,
    #[error("identify the repository: a URL with a query or a fragment names none")]
    Query,
    #[error("identify the repository: write the identity without scheme and user, such as github.com/org/fleet")]
    NotAnIdentity,
    #[error("identify the repository: the identity is longer than {IDENTITY_BYTES_MAX} bytes")]
    TooLong,
}

impl RepositoryId {
    /// From the URL of a source. Scheme, user, port, `.git`, case and a trailing slash make no difference.
    pub fn from_url(url: &str) -> Result<Self, RepositoryError> {
        Self::from_location(location::from_url(url)?)
    }

    /// From a hook's configured host and prefix (Azure organisation, context path) and the full name in a verified payload.
    pub fn from_hook(host: &str, prefix: Option<&str>, full_name: &str) -> Result<Self, RepositoryError> {
        if full_name.split('/').all(str::is_empty) {
            return Err(RepositoryError::Path);
        }
        Self::from_location(location::from_parts(host, &[prefix.unwrap_or_default(), full_name])?)
    }

    /// From an identity, as in `GitSource.spec.eventRepository`. Known forms are mapped here too, so that an identity stored
    /// before the table learnt a form still means the same repository.
    pub fn parse(identity: &str) -> Result<Self, RepositoryError> {
        let identity = identity.trim();
        let (host, path) = identity.split_once('/').ok_or(RepositoryError::Path)?;
        if identity.contains("://") || host.contains('@') {
            return Err(RepositoryError::NotAnIdentity);
        }
        Self::from_location(location::from_parts(host, &[path])?)
    }

    fn from_location(location: location::Location) -> Result<Self, RepositoryError> {
        let (host, segments) = hosts::canonical(location);
        let identity = format!("{host}/{}", segments.join("/"));
        if identity.len() > IDENTITY_BYTES_MAX {
            return Err(RepositoryError::TooLong);
        }
        Ok(Self(identity))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn token(&self) -> RepositoryToken {
        let digest = Sha256::digest(self.0.as_bytes());
        RepositoryToken(token::encode(&digest[..TOKEN_BYTES]))
    }
}

impl RepositoryToken {
    /// `None` where the text is not a token [`RepositoryId::token`] could have made.
    pub fn parse(text: &str) -> Option<Self> {
        (token::decode(text)?.len() == TOKEN_BYTES).then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RepositoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for RepositoryToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for RepositoryId {
    type Err = RepositoryError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl TryFrom<String> for RepositoryId {
    type Error = RepositoryError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<RepositoryId> for String {
    fn from(id: RepositoryId) -> Self {
        id.0
    }
}
