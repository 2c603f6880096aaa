//! "This live object is what this digest wants", and when that ends.

use crate::object::SyncKey;
use crate::observed::{Judgement, Live};

/// What was found of one object.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) sync: SyncKey,
    pub(super) digest: String,
    pub(super) uid: String,
    pub(super) fingerprint: u64,
    pub(super) resource_version: String,
    /// What was found is not what the digest wants, and stays so: how it differs, or that it is not there.
    pub(super) left: Option<Box<Judgement>>,
    pub(super) drifted: bool,
    /// Recorded since the list under way began: that list may not know the object yet.
    pub(super) newer_than_list: bool,
}

impl Verdict {
    pub(super) fn of(sync: &SyncKey, digest: &str, live: &Live) -> Self {
        Self {
            sync: sync.clone(),
            digest: digest.to_owned(),
            uid: live.uid.clone(),
            fingerprint: live.fingerprint,
            resource_version: live.resource_version.clone(),
            left: None,
            drifted: false,
            newer_than_list: true,
        }
    }

    /// Whether `live` is still what was found, whatever became of its status.
    pub(super) fn is_of(&self, live: &Live) -> bool {
        self.uid == live.uid && self.fingerprint == live.fingerprint
    }

    /// The object has moved away. Answers with the Sync to be told, once.
    pub(super) fn mark(&mut self) -> Option<SyncKey> {
        (!std::mem::replace(&mut self.drifted, true)).then(|| self.sync.clone())
    }
}

/// Resource versions are decimal numbers that grow (KEP-5504); one that is not counts as newer, which costs a dry-run.
pub(super) fn is_newer(a: &str, b: &str) -> bool {
    match (a.parse::<u128>(), b.parse::<u128>()) {
        (Ok(a), Ok(b)) => a > b,
        _ => a != b,
    }
}
