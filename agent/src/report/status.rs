//! Outcome to the status of a Sync, and whether that is worth a write.
//!
//! Pure. Must not know how it is written.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::ready::{ready, waiting_reason};
use super::standing;
use crate::api::{
    self, ConditionStatus, Conditions, DriftMode, HistoryEntry, InventoryReference, ResourceExt as _, SyncStatus,
    Verdict,
};
use crate::pass::{Action, End, Failure, Outcome, Pass, drift};

/// History entries kept in a status, as Flux keeps them.
const HISTORY_MAX: usize = 10;

/// The status after a pass.
#[must_use]
pub fn status(pass: &Pass, outcome: &Outcome, now: Timestamp) -> SyncStatus {
    let mut status = pass.sync.status.clone().unwrap_or_default();
    let generation = pass.sync.metadata.generation;
    let verdict = ready(pass, outcome);
    let mut conditions = Conditions(std::mem::take(&mut status.conditions));
    let follow_up = |reason: &str| Verdict {
        status: ConditionStatus::True,
        reason: reason.to_owned(),
        message: verdict.message.clone(),
    };
    match &outcome.end {
        End::Failed(Failure { retryable: true, .. }) => {
            conditions.clear(api::STALLED);
            conditions.set(api::RECONCILING, follow_up("ProgressingWithRetry"), generation, now);
        }
        End::Waiting(waits) => {
            conditions.clear(api::STALLED);
            conditions.set(api::RECONCILING, follow_up(waiting_reason(waits)), generation, now);
        }
        End::Failed(_) | End::Held(..) => {
            conditions.clear(api::RECONCILING);
            conditions.set(api::STALLED, follow_up(&verdict.reason), generation, now);
        }
        End::Untouched | End::Succeeded | End::Drifted | End::Superseded | End::Left(_) => {
            conditions.clear(api::RECONCILING);
            conditions.clear(api::STALLED);
        }
    }
    let reason = verdict.reason.clone();
    conditions.set(api::READY, verdict, generation, now);
    drifted(&mut conditions, pass, outcome, now);
    standing::stand(&mut conditions, &pass.sync, pass.fights.as_deref(), outcome.healthy.clone(), now);
    let is_as_git_says = conditions.get(api::DRIFTED).is_none();
    status.conditions = conditions.0;
    status.observed_generation = generation;
    let revision = Some(pass.revision.name.clone());
    if matches!(outcome.end, End::Untouched | End::Succeeded) && is_as_git_says {
        status.last_applied_revision.clone_from(&revision);
    }
    if let Some(inventory) = &outcome.inventory {
        let entries = u32::try_from(inventory.spec.entries.len()).unwrap_or(u32::MAX);
        status.inventory = Some(InventoryReference { name: inventory.name_any(), entries });
        if let Some(read) = &inventory.spec.read {
            status.last_changed_revision = Some(read.revision.clone());
        }
    }
    if let Some(requested) = pass.sync.annotations().get(api::REQUESTED_AT) {
        status.last_handled_reconcile_at = Some(requested.clone());
    }
    status.last_attempted_revision.clone_from(&revision);
    status.last_attempted_sequence = Some(pass.revision.sequence);
    if !outcome.actions.is_empty() || matches!(outcome.end, End::Failed(_) | End::Held(..)) {
        remember(
            &mut status.history,
            HistoryEntry { revision, at: Time(now), reason, times: 1, summary: summary(&outcome.actions) },
        );
    }
    status
}

/// What stays as others changed it. A pass that did not look leaves standing what was found.
fn drifted(conditions: &mut Conditions, pass: &Pass, outcome: &Outcome, now: Timestamp) {
    match outcome.drifted.as_deref() {
        Some([]) => conditions.clear(api::DRIFTED),
        _ if pass.sync.spec.drift_mode() != DriftMode::Warn => conditions.clear(api::DRIFTED),
        None => {}
        Some(drifted) => {
            let (reason, message) = (api::DRIFT_DETECTED.to_owned(), drift::in_words(drifted));
            let verdict = Verdict { status: ConditionStatus::True, reason, message };
            conditions.set(api::DRIFTED, verdict, pass.sync.metadata.generation, now);
        }
    }
}

/// The same again counts up and moves the time; anything else is a new line.
fn remember(history: &mut Vec<HistoryEntry>, entry: HistoryEntry) {
    let same =
        |a: &HistoryEntry| (&a.revision, &a.reason, &a.summary) == (&entry.revision, &entry.reason, &entry.summary);
    match history.first_mut().filter(|newest| same(newest)) {
        Some(newest) => {
            newest.times = newest.times.saturating_add(1);
            newest.at = entry.at;
        }
        None => {
            history.insert(0, entry);
            history.truncate(HISTORY_MAX);
        }
    }
}

/// `2 created, 1 configured`.
#[must_use]
pub fn summary(actions: &[Action]) -> String {
    let count = |word: &str| actions.iter().filter(|a| a.deed.word() == word).count();
    let words = ["created", "configured", "recreated", "reverted", "drifted", "deleted", "skipped"];
    let counted: Vec<_> = words.iter().map(|w| (count(w), w)).filter(|(n, _)| *n > 0).collect();
    match counted.is_empty() {
        true => "nothing changed".to_owned(),
        false => counted.iter().map(|(n, w)| format!("{n} {w}")).collect::<Vec<_>>().join(", "),
    }
}

/// What a new status says that the old one did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// Nothing but times: it is not written.
    None,
    /// The same once more: it is counted, and written when a write is due anyway. A Sync that fails with every drift of an
    /// object would press the API server to say so.
    Repetition,
    Some,
}

/// What a new status says that the old one did not.
#[must_use]
pub fn news(old: Option<&SyncStatus>, new: &SyncStatus) -> News {
    let Some(old) = old else { return News::Some };
    let plain = |status: &SyncStatus| {
        let conditions: Vec<_> = status
            .conditions
            .iter()
            .map(|c| (c.type_.clone(), c.status.clone(), c.reason.clone(), c.message.clone(), c.observed_generation))
            .collect();
        (
            conditions,
            status.observed_generation,
            status.last_applied_revision.clone(),
            status.last_changed_revision.clone(),
            status.last_attempted_revision.clone(),
            status.last_handled_reconcile_at.clone(),
            status.inventory.clone(),
            status
                .history
                .iter()
                .map(|h| (h.revision.clone(), h.reason.clone(), h.summary.clone()))
                .collect::<Vec<_>>(),
        )
    };
    let times = |status: &SyncStatus| status.history.iter().map(|h| h.times).collect::<Vec<_>>();
    match (plain(old) == plain(new), times(old) == times(new)) {
        (true, true) => News::None,
        (true, false) => News::Repetition,
        (false, _) => News::Some,
    }
}
