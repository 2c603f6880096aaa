//! What a source's status is to say, and whether it says so.
//!
//! Pure: the time comes as an argument. Must not know when it is written.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use towline_proto::CommitId;

use crate::api::{self, Conditions, GitSource, GitSourceStatus, LastEvent, Verdict};

/// What a source's status is to say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    pub tip: Option<CommitId>,
    /// The tag that was found to name it, where a range is followed.
    pub tag: Option<String>,
    pub ready: Option<Verdict>,
    pub verified: Option<Verdict>,
    pub events: Option<Verdict>,
    pub last_event: Option<LastEvent>,
    pub handled: Option<String>,
}

/// The status a source is to have. The sequence counts on when the tip is another one than recorded.
pub(in crate::engine) fn status(object: &GitSource, wanted: &Wanted, now: Timestamp) -> GitSourceStatus {
    let mut status = object.status.clone().unwrap_or_default();
    let generation = object.metadata.generation;
    let mut conditions = Conditions(std::mem::take(&mut status.conditions));
    if object.spec.verify.is_none() {
        conditions.clear(api::SOURCE_VERIFIED);
    }
    let verified = wanted.verified.as_ref().filter(|_| object.spec.verify.is_some()).cloned();
    for (kind, verdict) in
        [(api::READY, &wanted.ready), (api::SOURCE_VERIFIED, &verified), (api::EVENTS_READY, &wanted.events)]
    {
        if let Some(verdict) = verdict {
            conditions.set(kind, verdict.clone(), generation, now);
        }
    }
    status.conditions = conditions.0;
    if let Some(tip) = &wanted.tip {
        let name = revision_name(object, tip, wanted.tag.as_deref());
        if status.revision.as_ref() != Some(&name) {
            status.revision = Some(name);
            // Counted from the time of the first revision: a source that was deleted and created again, or restored
            // without its status, never counts behind what its Syncs attempted already.
            let first = u64::try_from(now.as_second()).unwrap_or_default();
            status.sequence = Some(status.sequence.map_or(first, |sequence| sequence + 1));
        }
    }
    if wanted.ready.is_some() {
        status.observed_generation = generation;
        status.last_attempt = Some(Time(now));
    }
    if wanted.last_event.is_some() {
        status.last_event.clone_from(&wanted.last_event);
    }
    if wanted.handled.is_some() {
        status.last_handled_reconcile_at.clone_from(&wanted.handled);
    }
    status
}

/// `tag` is what a range was found to name; of anything else the ref's own name counts.
pub(super) fn revision_name(object: &GitSource, tip: &CommitId, tag: Option<&str>) -> String {
    let reference = &object.spec.reference;
    let tag = tag.filter(|_| reference.semver.is_some());
    format!("{}@sha1:{tip}", tag.unwrap_or_else(|| reference.short_name()))
}

/// Whether a source's status says what it is to say.
pub(super) fn is_said(object: &GitSource, wanted: &Wanted) -> bool {
    let old = object.status.clone().unwrap_or_default();
    says_the_same(&old, &status(object, wanted, Timestamp::UNIX_EPOCH))
}

/// Times of attempts and events aside: a poll that found nothing new is not worth a write.
fn says_the_same(old: &GitSourceStatus, new: &GitSourceStatus) -> bool {
    let plain = |status: &GitSourceStatus| {
        let conditions: BTreeMap<_, _> = status
            .conditions
            .iter()
            .map(|c| (c.type_.clone(), (c.status.clone(), c.reason.clone(), c.message.clone(), c.observed_generation)))
            .collect();
        (conditions, status.observed_generation, status.revision.clone(), status.last_handled_reconcile_at.clone())
    };
    plain(old) == plain(new)
}
