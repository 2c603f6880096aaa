//! Why a Sync does not run: found out, and said once per reason.
//!
//! Knows what a Sync works from. What goes wrong in a pass is said by the pass.

use std::sync::Arc;

use jiff::SignedDuration;
use towline_plan::object::SyncKey;

use super::sync::SyncEntry;
use super::{Action, Engine, Moment, passing};
use crate::api::{self, ResourceExt as _, Sync};

/// How long after a failed write it is said again why a Sync does not run: long enough not to press an API server that is down.
const EXPLAIN_AGAIN: SignedDuration = SignedDuration::from_secs(5);

/// Why a Sync does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    pub reason: &'static str,
    pub message: String,
    /// Only a change of the Sync, its source or the agent's configuration helps.
    pub stalled: bool,
}

impl Engine {
    /// Why a Sync has nothing to work from; `None`: it is on its way.
    pub(super) fn unoffered(&self, entry: &SyncEntry) -> Option<Why> {
        if let Some(denied) = self.denied(&entry.object) {
            return Some(Why { reason: "AccessDenied", message: denied, stalled: true });
        }
        let key = entry.source();
        let not_ready = |message| Some(Why { reason: "SourceNotReady", message, stalled: false });
        let Some(source) = self.sources.get(&key) else { return not_ready(format!("GitSource {key} does not exist")) };
        if let Some(trouble) = &source.trouble {
            return not_ready(format!("GitSource {key}: {trouble}"));
        }
        let status = source.object.status.as_ref();
        let conditions = status.map(|s| s.conditions.as_slice()).unwrap_or_default();
        let named = status.and_then(|status| status.sequence);
        if let Some(revision) = source.revision.as_ref().filter(|revision| named <= Some(revision.sequence)) {
            let (counts, attempted) = (revision.sequence, entry.schedule.attempted());
            let message = format!(
                "GitSource {key} counts its revisions from behind: {counts} is older than {attempted}, which was attempted, \
                 and nothing older is applied"
            );
            return Some(Why { reason: "SourceNotReady", message, stalled: true });
        }
        // Else its first fetch is under way: nothing is wrong yet.
        let ready = conditions.iter().find(|c| c.type_ == api::READY && c.status == "False")?;
        match &source.revision {
            None => not_ready(format!("GitSource {key} has no revision: {}", ready.message)),
            Some(_) => not_ready(format!("GitSource {key} has no revision as new as was attempted: {}", ready.message)),
        }
    }

    pub(super) fn explained(
        &mut self,
        key: &SyncKey,
        uid: Option<String>,
        written: Option<Box<Sync>>,
        at: Moment,
        actions: &mut Vec<Action>,
    ) {
        let Some(entry) = self.syncs.get_mut(key).filter(|entry| entry.object.uid() == uid) else { return };
        match written.filter(|written| written.uid() == uid) {
            Some(written) => {
                entry.explain_after = None;
                self.sync_applied(*written, at, actions);
            }
            None => {
                entry.explained = None;
                entry.explain_after = at.now.checked_add(EXPLAIN_AGAIN).ok();
            }
        }
    }
}

/// Says why a Sync does not run, once per reason.
pub(super) fn explain(entry: &mut SyncEntry, why: Why, at: Moment, actions: &mut Vec<Action>) {
    let said = entry.object.status.as_ref().and_then(|s| s.conditions.iter().find(|c| c.type_ == api::READY));
    let is_said = said.is_some_and(|ready| {
        let of_now = ready.observed_generation == entry.object.metadata.generation;
        of_now && (ready.reason.as_str(), &ready.message) == (why.reason, &why.message)
    });
    let requested = entry.object.annotations().get(api::REQUESTED_AT);
    let handled = entry.object.status.as_ref().and_then(|status| status.last_handled_reconcile_at.as_ref());
    let is_said = is_said && (requested.is_none() || requested == handled);
    let is_early = entry.explain_after.is_some_and(|after| after > at.now);
    let is_underway = entry.explained.as_ref() == Some(&why.message) || entry.schedule.is_running();
    if is_said || is_early || is_underway || entry.object.spec.suspend {
        return;
    }
    entry.explained = Some(why.message.clone());
    actions.push(Action::Explain(Box::new(passing::Explanation { sync: Arc::clone(&entry.object), why })));
}
