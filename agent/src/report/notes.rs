//! Outcome to Kubernetes Events, and the words for what was done that these share with the reports.
//!
//! Pure. Must not know how an Event is published.

use towline_plan::naming::list;

use super::ready::{left_text, ready};
use super::standing::suspension;
use crate::api;
use crate::api::Verdict;
use crate::cluster;
use crate::pass::{Action, Deed, End, Outcome, Pass};

/// A Kubernetes Event to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub kind: cluster::EventKind,
    pub reason: String,
    pub text: String,
}

/// The Events to publish about a pass: none for a pass that had nothing to do.
#[must_use]
pub fn notes(pass: &Pass, outcome: &Outcome) -> Vec<Note> {
    let mut notes: Vec<Note> = suspension(&pass.sync).into_iter().collect();
    let verdict = ready(pass, outcome);
    let revision = &pass.revision.name;
    if let Some(problem) = &outcome.rebuilt {
        let (reason, text) = ("InventoryRebuilt".to_owned(), rebuilt_text(problem));
        notes.push(Note { kind: cluster::EventKind::Warning, reason, text });
    }
    let (drifted, done): (Vec<&Action>, Vec<&Action>) =
        outcome.actions.iter().partition(|action| matches!(action.deed, Deed::Drifted(_)));
    if !drifted.is_empty() {
        let text = format!("{revision}: {}", list(drifted.iter().map(|action| describe(action))));
        notes.push(Note { kind: cluster::EventKind::Warning, reason: api::DRIFT_DETECTED.to_owned(), text });
    }
    if !done.is_empty() {
        let deeds = list(done.iter().map(|action| describe(action)));
        let only_drift = done.iter().all(|a| matches!(a.deed, Deed::Reverted(_)));
        let reason = if only_drift { "DriftReverted" } else { "ReconciliationSucceeded" };
        let (reason, text) = match &outcome.end {
            End::Untouched | End::Succeeded | End::Drifted | End::Left(_) => (reason, format!("{revision}: {deeds}")),
            End::Waiting(_) | End::Held(..) | End::Failed(_) | End::Superseded => {
                ("Progressing", format!("{revision}, in part: {deeds}"))
            }
        };
        notes.push(Note { kind: cluster::EventKind::Normal, reason: reason.to_owned(), text });
    }
    if let End::Left(why) = &outcome.end
        && (why.is_some() || !outcome.kept.is_empty())
    {
        let (reason, text) = ("ObjectsOrphaned".to_owned(), left_text(pass, outcome, why.as_deref()));
        notes.push(Note { kind: cluster::EventKind::Warning, reason, text });
    }
    if matches!(outcome.end, End::Failed(_) | End::Held(..)) {
        notes.push(Note { kind: cluster::EventKind::Warning, reason: verdict.reason, text: verdict.message });
    } else if matches!(outcome.end, End::Waiting(_)) && !is_said(pass, &verdict) {
        notes.push(Note { kind: cluster::EventKind::Normal, reason: verdict.reason, text: verdict.message });
    }
    notes
}

/// Whether the Sync says so already: a wait is told of once, not with every look at it.
pub(super) fn is_said(pass: &Pass, verdict: &Verdict) -> bool {
    let conditions = pass.sync.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    conditions.iter().any(|c| c.type_ == api::READY && (&c.reason, &c.message) == (&verdict.reason, &verdict.message))
}

pub(super) fn rebuilt_text(problem: &str) -> String {
    format!(
        "The inventory could not be believed ({problem}) and was rebuilt; nothing is deleted until that is accepted"
    )
}

fn describe(action: &Action) -> String {
    match &action.deed {
        Deed::Reverted(drift) => format!("{} reverted: {drift}", action.id),
        Deed::Drifted(drift) => format!("{} drifted and is left so: {drift}", action.id),
        _ => describe_briefly(action),
    }
}

/// Without the values of fields: for what leaves the cluster.
pub(super) fn describe_briefly(action: &Action) -> String {
    match &action.deed {
        Deed::Reverted(drift) => format!("{} reverted: {}", action.id, drift.brief),
        Deed::Drifted(drift) => format!("{} drifted and is left so: {}", action.id, drift.brief),
        Deed::Recreated(why) => format!("{} recreated: {why}", action.id),
        Deed::Skipped(why) => format!("{} skipped: {why}", action.id),
        deed => format!("{} {}", action.id, deed.word()),
    }
}
