//! Names of objects, and the objects Git wants.
//!
//! Knows how objects are told apart and compared. Must not know which API server they go to.

use std::fmt;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// The Sync an object belongs to, by label; its value is the Sync's name.
pub const LABEL_SYNC_NAME: &str = "towline.dev/sync-name";
/// The namespace of the Sync an object belongs to, by label.
pub const LABEL_SYNC_NAMESPACE: &str = "towline.dev/sync-namespace";

/// A Sync by namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SyncKey {
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for SyncKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A kind within its group, whatever the version: versions of a kind are views of the same objects.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKind {
    /// Empty for the core group.
    pub group: String,
    pub kind: String,
}

impl GroupKind {
    #[must_use]
    pub fn new(group: &str, kind: &str) -> Self {
        Self { group: group.to_owned(), kind: kind.to_owned() }
    }

    #[must_use]
    pub fn is(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }
}

impl fmt::Display for GroupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.group.as_str() {
            "" => f.write_str(&self.kind),
            group => write!(f, "{}.{group}", self.kind),
        }
    }
}

/// One object of a cluster, whatever its version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    pub kind: GroupKind,
    /// `None` for a cluster-scoped object.
    pub namespace: Option<String>,
    pub name: String,
}

impl ObjectId {
    /// The Sync it is, if it is one.
    #[must_use]
    pub fn as_sync(&self) -> Option<SyncKey> {
        let namespace = self.namespace.clone().filter(|_| self.kind.is("towline.dev", "Sync"))?;
        Some(SyncKey { namespace, name: self.name.clone() })
    }
}

impl fmt::Display for ObjectId {
    /// `Deployment/apps/web`, `Namespace/apps`: kind, namespace, name, as Flux prints them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{}/{namespace}/{}", self.kind.kind, self.name),
            None => write!(f, "{}/{}", self.kind.kind, self.name),
        }
    }
}

/// Where in the repository an object stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    pub path: String,
    /// Counted from 1.
    pub line: u64,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path, self.line)
    }
}

/// Group and version of an `apiVersion`.
#[must_use]
pub fn group_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// The digest by which two desired states of an object are told apart: 96 bits of SHA-256 over its canonical JSON
/// (object keys sorted), base32 lower case. Not a security boundary; 96 bits make a chance collision in a fleet of
/// a million objects less likely than a bit flip.
#[must_use]
pub fn digest(value: &Value) -> String {
    let mut hasher = Sha256::new();
    absorb(&mut hasher, value);
    data_encoding::BASE32_NOPAD.encode(&hasher.finalize()[..12]).to_ascii_lowercase()
}

/// Feeds a value to a hash with its shape: every string and collection is preceded by its kind and length.
fn absorb(hasher: &mut Sha256, value: &Value) {
    match value {
        Value::Null => hasher.update(b"n"),
        Value::Bool(b) => hasher.update(if *b { b"t" } else { b"f" }),
        Value::Number(n) => text(hasher, b'd', &n.to_string()),
        Value::String(s) => text(hasher, b's', s),
        Value::Array(items) => {
            length(hasher, b'a', items.len());
            items.iter().for_each(|item| absorb(hasher, item));
        }
        Value::Object(map) => {
            length(hasher, b'o', map.len());
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            for (key, value) in entries {
                text(hasher, b'k', key);
                absorb(hasher, value);
            }
        }
    }
}

fn text(hasher: &mut Sha256, tag: u8, text: &str) {
    length(hasher, tag, text.len());
    hasher.update(text.as_bytes());
}

fn length(hasher: &mut Sha256, tag: u8, length: usize) {
    hasher.update([tag]);
    hasher.update((length as u64).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_digest_sees_content_and_shape_only() {
        assert_eq!(digest(&json!({"a": 1, "b": [true]})), digest(&json!({"b": [true], "a": 1})));
        assert_ne!(digest(&json!({"a": "1"})), digest(&json!({"a": 1})));
        assert_ne!(digest(&json!(["ab", "c"])), digest(&json!(["a", "bc"])));
        assert_eq!(digest(&json!({})).len(), 20);
    }

    #[test]
    fn names_read_as_kubectl_users_expect() {
        let web =
            ObjectId { kind: GroupKind::new("apps", "Deployment"), namespace: Some("shop".into()), name: "web".into() };
        assert_eq!(web.to_string(), "Deployment/shop/web");
        assert_eq!(web.kind.to_string(), "Deployment.apps");
        assert_eq!(group_version("apps/v1"), ("apps", "v1"));
        assert_eq!(group_version("v1"), ("", "v1"));
    }
}
