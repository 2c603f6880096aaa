//! Names that are checked once, where they enter: clusters, refs and commits.
//!
//! Knows their spelling. Must not know whether they exist.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest DNS label.
pub const CLUSTER_BYTES_MAX: usize = 63;

/// Four times what GitHub and GitLab allow (255), and base32 of it (1,639 bytes) is far below a server's control line.
pub const REF_BYTES_MAX: usize = 1024;

/// Why a text is no such name. The text is not repeated: who logs the error knows what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("read the cluster's name: it must be a DNS label: 1 to 63 of a-z, 0-9 and -, neither first nor last a -")]
    Cluster,
    #[error("read the ref: it must be HEAD or begin with refs/, without control characters, and be at most 1024 bytes")]
    Ref,
    #[error("read the commit id: it must be 40 or 64 lower-case hexadecimal digits")]
    Commit,
    #[error("read the commit id: all zeros name no commit")]
    ZeroCommit,
}

/// A cluster's name: a DNS label, so that it is one subject token as it stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterName(String);

/// A full ref name, such as `refs/heads/main`, or `HEAD`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RefName(String);

/// The id of a commit (SHA-1 or SHA-256); never all zeros.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CommitId(String);

impl ClusterName {
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let label = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let edges_ok = !text.starts_with('-') && !text.ends_with('-');
        if text.is_empty() || text.len() > CLUSTER_BYTES_MAX || !edges_ok || !text.bytes().all(label) {
            return Err(NameError::Cluster);
        }
        Ok(Self(text.to_owned()))
    }
}

impl RefName {
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let full = text == "HEAD" || text.strip_prefix("refs/").is_some_and(|rest| !rest.is_empty());
        if !full || text.len() > REF_BYTES_MAX || text.contains(char::is_control) {
            return Err(NameError::Ref);
        }
        Ok(Self(text.to_owned()))
    }

    /// What people call it: `main`, `v1.2.0`, `pull/7/head`.
    pub fn short(&self) -> &str {
        let text = self.as_str();
        ["refs/heads/", "refs/tags/", "refs/"].iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(text)
    }

    pub fn is_branch(&self) -> bool {
        self.0.starts_with("refs/heads/")
    }

    pub fn is_tag(&self) -> bool {
        self.0.starts_with("refs/tags/")
    }
}

impl CommitId {
    pub fn parse(text: &str) -> Result<Self, NameError> {
        Self::parse_optional(text)?.ok_or(NameError::ZeroCommit)
    }

    /// Git hosts write all zeros where there is no commit: before a branch existed and after it was deleted. How many is
    /// not always how many an id has: some abbreviate.
    pub fn parse_optional(text: &str) -> Result<Option<Self>, NameError> {
        if !text.is_empty() && text.bytes().all(|b| b == b'0') {
            return Ok(None);
        }
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if !matches!(text.len(), 40 | 64) || !text.bytes().all(hex) {
            return Err(NameError::Commit);
        }
        Ok(Some(Self(text.to_owned())))
    }

    /// The first 12 digits, for people to read.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

macro_rules! text_name {
    ($name:ident) => {
        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    };
}

text_name!(ClusterName);
text_name!(RefName);
text_name!(CommitId);
