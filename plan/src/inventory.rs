//! What a Sync owns: entries, their compact form, and whether what was read can be believed.
//!
//! Knows entries as text and as values. Must not know where they are stored, or what is done with them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::object::{GroupKind, ObjectId};

/// How far an object has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Claimed before it was created; it may or may not exist.
    Claimed,
    /// Seen at the API server.
    Applied,
    /// A Job or a bare Pod that ran to its end: that it is gone then is how it should be.
    Finished,
}

/// One owned object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The version it was last applied in.
    pub version: String,
    /// Of the live object; absent until it was seen.
    pub uid: Option<String>,
    /// Of the desired state last applied; absent until one was.
    pub digest: Option<String>,
    /// When it was first claimed, in seconds since the Unix epoch: of two claims the older one holds.
    pub claimed_at: i64,
    pub state: State,
}

/// Everything one Sync owns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory(pub BTreeMap<ObjectId, Entry>);

impl Inventory {
    /// The lines as stored, sorted, with the digest that tells whether all of them are still there.
    #[must_use]
    pub fn to_lines(&self) -> (Vec<String>, String) {
        let lines: Vec<String> = self.0.iter().map(|(id, entry)| Line(id, entry).to_string()).collect();
        let digest = digest(&lines);
        (lines, digest)
    }

    /// Reads stored lines.
    ///
    /// # Errors
    /// A line that does not parse, or a digest that says lines were lost or edited. Neither is ever read as "nothing is
    /// owned" (invariant 12).
    pub fn from_lines(lines: &[String], stored_digest: &str) -> Result<Self, InventoryError> {
        if digest(lines) != stored_digest {
            return Err(InventoryError::Digest);
        }
        let mut entries = BTreeMap::new();
        for line in lines {
            let (id, entry) = parse(line).ok_or_else(|| InventoryError::Line(line.clone()))?;
            entries.insert(id, entry);
        }
        Ok(Self(entries))
    }
}

/// The namespaces that stored lines name, of those that can be read: where to look when the whole cannot be believed.
#[must_use]
pub fn namespaces(lines: &[String]) -> BTreeSet<String> {
    lines.iter().filter_map(|line| parse(line)?.0.namespace).collect()
}

/// Why an inventory cannot be believed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InventoryError {
    #[error("its entries do not add up to its digest: it was truncated or edited")]
    Digest,
    #[error("it holds an unreadable entry: {0:?}")]
    Line(String),
    #[error("it belongs to another Sync (uid {0})")]
    Foreign(String),
    #[error("it is gone")]
    Missing,
}

fn digest(lines: &[String]) -> String {
    let mut hasher = Sha256::new();
    for line in lines {
        hasher.update(line.as_bytes());
        hasher.update(b"\n");
    }
    data_encoding::BASE32_NOPAD.encode(&hasher.finalize()[..16]).to_ascii_lowercase()
}

struct Line<'a>(&'a ObjectId, &'a Entry);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(id, entry) = self;
        // Flux's inventory names objects so, and its users read ours.
        write!(f, "{}_{}_{}_{}", id.namespace.as_deref().unwrap_or(""), id.name, id.kind.group, id.kind.kind)?;
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let state = match entry.state {
            State::Claimed => "claimed",
            State::Applied => "applied",
            State::Finished => "finished",
        };
        write!(f, " {} {} {} {} {state}", entry.version, or_dash(&entry.uid), or_dash(&entry.digest), entry.claimed_at)
    }
}

/// From the right, because names of RBAC objects may hold `_` and even blanks; groups, kinds and namespaces cannot.
fn parse(line: &str) -> Option<(ObjectId, Entry)> {
    let mut fields = line.rsplitn(6, ' ');
    let mut next = || fields.next();
    let (state, claimed_at, digest, uid, version, id) = (next()?, next()?, next()?, next()?, next()?, next()?);
    let (namespace, rest) = id.split_once('_')?;
    let mut rest = rest.rsplitn(3, '_');
    let (kind, group, name) = (rest.next()?, rest.next()?, rest.next()?);
    if name.is_empty() || kind.is_empty() {
        return None;
    }
    let present = |text: &str| (text != "-").then(|| text.to_owned());
    let id = ObjectId {
        kind: GroupKind::new(group, kind),
        namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
        name: name.to_owned(),
    };
    let state = match state {
        "claimed" => State::Claimed,
        "applied" => State::Applied,
        "finished" => State::Finished,
        _ => return None,
    };
    let claimed_at = i64::from_str(claimed_at).ok()?;
    Some((id, Entry { version: version.to_owned(), uid: present(uid), digest: present(digest), claimed_at, state }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry() -> impl Strategy<Value = (ObjectId, Entry)> {
        let name = "[a-z0-9]([-a-z0-9.:_ ]{0,20}[a-z0-9])?";
        (
            ("([a-z]{1,8}(\\.[a-z]{1,5}){0,2})?", "[A-Z][A-Za-z]{0,12}", proptest::option::of("[a-z]{1,10}"), name),
            ("v[1-9](beta[1-9])?", proptest::option::of("[0-9a-f]{8}"), proptest::option::of("[a-z2-7]{20}")),
            (any::<i64>(), 0..3_usize),
        )
            .prop_map(|((group, kind, namespace, name), (version, uid, digest), (claimed_at, state))| {
                let state = [State::Claimed, State::Applied, State::Finished][state];
                let id = ObjectId { kind: GroupKind { group, kind }, namespace, name };
                (id, Entry { version, uid, digest, claimed_at, state })
            })
    }

    proptest! {
        #[test]
        fn stored_and_read_is_the_same(entries in proptest::collection::btree_map(entry().prop_map(|e| e.0), entry().prop_map(|e| e.1), 0..20)) {
            let inventory = Inventory(entries);
            let (lines, digest) = inventory.to_lines();
            prop_assert_eq!(Inventory::from_lines(&lines, &digest).unwrap(), inventory);
        }

        #[test]
        fn a_lost_line_is_noticed(entries in proptest::collection::btree_map(entry().prop_map(|e| e.0), entry().prop_map(|e| e.1), 1..20), at in any::<prop::sample::Index>()) {
            let (mut lines, digest) = Inventory(entries).to_lines();
            lines.remove(at.index(lines.len()));
            prop_assert_eq!(Inventory::from_lines(&lines, &digest), Err(InventoryError::Digest));
        }
    }

    #[test]
    fn nonsense_is_named() {
        for line in [
            "",
            "a_b",
            "ns_name_group_Kind v1 - -",
            "ns__g_K v1 - - 1 applied",
            "ns_n_g_K v1 - - 1 gone",
            "ns_n_g_K v1 - - x applied",
        ] {
            let lines = vec![line.to_owned()];
            let stored = digest(&lines);
            assert_eq!(Inventory::from_lines(&lines, &stored), Err(InventoryError::Line(line.into())));
        }
    }
}
