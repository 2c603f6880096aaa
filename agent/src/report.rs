//! Outcome to what is said of it: status, Kubernetes Events and signed reports.
//!
//! Pure: everything said is derived from what was done. Nothing here claims more than the outcome does, and a failed pass is
//! announced everywhere.

mod standing;

pub use standing::{standing, suspension};

use crate::api::ResourceExt as _;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use towline_plan::check::Held;
use towline_plan::letting::ANNOTATION_PRUNE_CONFIRMED;
use towline_plan::object::{GroupKind, ObjectId};
use towline_plan::schedule::sync::Trigger;
use towline_plan::wait::Wait;
use towline_proto::report::{ChangeEvent, EventKind, ObjectChange};

use crate::api::{self, ConditionStatus, Conditions, HistoryEntry, InventoryReference, Sync, SyncStatus, Verdict};
use crate::cluster;
use crate::pass::{Action, Deed, End, Failure, Outcome, Pass};

/// History entries kept in a status, as Flux keeps them.
const HISTORY_MAX: usize = 10;
/// Objects named one by one in a message; the rest is counted.
const NAMED_MAX: usize = 10;

/// A Kubernetes Event to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub kind: cluster::EventKind,
    pub reason: String,
    pub text: String,
}

/// The reason and message of the Ready condition.
#[must_use]
pub fn ready(pass: &Pass, outcome: &Outcome) -> Verdict {
    let revision = &pass.revision.name;
    let (status, reason, message) = match &outcome.end {
        End::Untouched => (
            ConditionStatus::True,
            "ReconciliationSucceeded",
            format!("Applied revision: {revision}{}", still_so(pass)),
        ),
        End::Succeeded => {
            let left = left("not applied", &outcome.left_alone) + &left("left in place", &outcome.kept);
            let unwatched = unwatched(&outcome.unwatched);
            (ConditionStatus::True, "ReconciliationSucceeded", format!("Applied revision: {revision}{left}{unwatched}"))
        }
        End::Held(held, objects) => (ConditionStatus::False, "PruneHeld", held_text(pass, held, objects)),
        End::Failed(failure) => (ConditionStatus::False, failure.reason.as_str(), failure.message.clone()),
        End::Waiting(waits) => {
            (ConditionStatus::Unknown, waiting_reason(waits), format!("{revision}: {}", self::waits(waits)))
        }
        End::Left(why) => (ConditionStatus::Unknown, "Terminating", left_text(pass, outcome, why.as_deref())),
        End::Superseded => {
            (ConditionStatus::Unknown, "Progressing", format!("{revision} was superseded while it was applied"))
        }
    };
    Verdict { status, reason: reason.to_owned(), message }
}

/// What a pass waits for, in words.
#[must_use]
pub fn waits(waits: &[Wait]) -> String {
    waits.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// In Flux's words: a Sync that only waits for others says so.
fn waiting_reason(waits: &[Wait]) -> &'static str {
    match waits.iter().all(|wait| matches!(wait, Wait::Dependencies(_))) {
        true => "DependencyNotReady",
        false => "Progressing",
    }
}

/// Objects that are not as Git says, and why.
fn left(how: &str, objects: &[(ObjectId, String)]) -> String {
    match objects {
        [] => String::new(),
        objects => format!("; {how}: {}", list(objects.iter().map(|(id, why)| format!("{id} ({why})")))),
    }
}

/// What the last pass said beside the revision: nothing was looked at since, so it is as it was.
fn still_so(pass: &Pass) -> String {
    let conditions = pass.sync.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let said = conditions.iter().find(|c| c.type_ == api::READY && c.status == "True");
    said.and_then(|c| c.message.split_once("; ")).map(|(_, rest)| format!("; {rest}")).unwrap_or_default()
}

fn unwatched(kinds: &[(GroupKind, String)]) -> String {
    match kinds {
        [] => String::new(),
        kinds => format!(
            "; cannot be watched: {}: drift of these is found at the interval only",
            list(kinds.iter().map(|(kind, why)| format!("{kind} ({why})")))
        ),
    }
}

fn held_text(pass: &Pass, held: &Held, objects: &[ObjectId]) -> String {
    let names = list(objects.iter().map(ToString::to_string));
    let revision = &pass.revision.name;
    let allow = format!("to delete them, annotate the Sync with {}={revision}", api::ALLOW_DELETIONS);
    match held {
        Held::Ceiling { allowed, entries, deletions } => format!(
            "{revision} is applied, but would delete {deletions} of {entries} objects, and prunePolicy.maxDeletions allows \
             {allowed}: {names}; {allow}"
        ),
        Held::Emptied { entries } => format!(
            "{revision} has none of the {entries} objects any more, which looks like a mistake: {names} stay; {allow}"
        ),
        Held::Rebuilt { digest } => format!(
            "{revision} is applied; the inventory was lost and rebuilt, so {names} are not deleted until the Sync is \
             annotated with {}={digest}",
            api::ACCEPT_INVENTORY
        ),
        Held::Unapplied => format!("{names} are deleted when everything else is applied"),
        Held::Unconfirmed => format!(
            "{revision} is applied; {names} ask for a confirmation before they are deleted: annotate them with \
             {ANNOTATION_PRUNE_CONFIRMED}=true"
        ),
    }
}

/// What becomes of the objects of a Sync that is being deleted.
fn left_text(pass: &Pass, outcome: &Outcome, why: Option<&str>) -> String {
    let entries = pass.sync.status.as_ref().and_then(|status| status.inventory.as_ref()).map_or(0, |i| i.entries);
    match why {
        Some(why) => format!("the Sync is being deleted; its {entries} objects stay, because {why}"),
        None => format!("the Sync is being deleted{}", left("left in place", &outcome.kept)),
    }
}

fn list(names: impl ExactSizeIterator<Item = String>) -> String {
    let more = names.len().saturating_sub(NAMED_MAX);
    let mut text = names.take(NAMED_MAX).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

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
        End::Untouched | End::Succeeded | End::Superseded | End::Left(_) => {
            conditions.clear(api::RECONCILING);
            conditions.clear(api::STALLED);
        }
    }
    let reason = verdict.reason.clone();
    conditions.set(api::READY, verdict, generation, now);
    standing::stand(&mut conditions, &pass.sync, pass.fights.as_deref(), outcome.healthy.clone(), now);
    status.conditions = conditions.0;
    status.observed_generation = generation;
    let revision = Some(pass.revision.name.clone());
    if matches!(outcome.end, End::Untouched | End::Succeeded) {
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
    let words = ["created", "configured", "recreated", "reverted", "deleted", "skipped"];
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
    if !outcome.actions.is_empty() {
        let deeds = list(outcome.actions.iter().map(describe));
        let only_drift = outcome.actions.iter().all(|a| matches!(a.deed, Deed::Reverted(_)));
        let reason = if only_drift { "DriftReverted" } else { "ReconciliationSucceeded" };
        let (reason, text) = match &outcome.end {
            End::Untouched | End::Succeeded | End::Left(_) => (reason, format!("{revision}: {deeds}")),
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
fn is_said(pass: &Pass, verdict: &Verdict) -> bool {
    let conditions = pass.sync.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    conditions.iter().any(|c| c.type_ == api::READY && (&c.reason, &c.message) == (&verdict.reason, &verdict.message))
}

fn rebuilt_text(problem: &str) -> String {
    format!(
        "The inventory could not be believed ({problem}) and was rebuilt; nothing is deleted until that is accepted"
    )
}

/// Names of the fields that drifted; no values.
fn fields(action: &Action) -> Vec<String> {
    match &action.deed {
        Deed::Reverted(drift) => drift.fields.clone(),
        Deed::Created | Deed::Configured | Deed::Recreated(_) | Deed::Deleted | Deed::Skipped(_) => Vec::new(),
    }
}

fn describe(action: &Action) -> String {
    match &action.deed {
        Deed::Reverted(drift) => format!("{} reverted: {drift}", action.id),
        Deed::Recreated(why) => format!("{} recreated: {why}", action.id),
        Deed::Skipped(why) => format!("{} skipped: {why}", action.id),
        deed => format!("{} {}", action.id, deed.word()),
    }
}

/// The signed reports of a pass, one per kind of change.
#[must_use]
pub fn changes(
    pass: &Pass,
    outcome: &Outcome,
    cluster: &towline_proto::ClusterName,
    now: Timestamp,
) -> Vec<ChangeEvent> {
    let of = |pick: fn(&Deed) -> bool| -> Vec<&Action> { outcome.actions.iter().filter(|a| pick(&a.deed)).collect() };
    let mut kinds = vec![
        (EventKind::Applied, of(|d| matches!(d, Deed::Created | Deed::Configured | Deed::Recreated(_)))),
        (EventKind::DriftReverted, of(|d| matches!(d, Deed::Reverted(_)))),
        (EventKind::Pruned, of(|d| matches!(d, Deed::Deleted | Deed::Skipped(_)))),
    ];
    kinds.retain(|(_, actions)| !actions.is_empty());
    match &outcome.end {
        End::Failed(_) => kinds.push((EventKind::Failed, Vec::new())),
        End::Held(..) => kinds.push((EventKind::PruneHeld, Vec::new())),
        // That objects stay is worth a report: somebody may have meant otherwise.
        End::Left(why) if why.is_some() || !outcome.kept.is_empty() => kinds.push((EventKind::PruneHeld, Vec::new())),
        End::Untouched | End::Succeeded | End::Waiting(_) | End::Superseded | End::Left(_) => {}
    }
    if outcome.rebuilt.is_some() {
        kinds.push((EventKind::InventoryRebuilt, Vec::new()));
    }
    let message = ready(pass, outcome).message;
    let event = |(kind, actions): (EventKind, Vec<&Action>)| ChangeEvent {
        version: ChangeEvent::VERSION,
        cluster: cluster.clone(),
        kind,
        namespace: pass.key.namespace.clone(),
        name: pass.key.name.clone(),
        revision: Some(pass.revision.name.clone()),
        sequence: Some(pass.revision.sequence),
        trigger: pass.trigger.as_str().to_owned(),
        delivery: pass.revision.delivery.clone(),
        message: match (&outcome.rebuilt, actions.is_empty()) {
            (Some(problem), true) if kind == EventKind::InventoryRebuilt => rebuilt_text(problem),
            (_, true) => message.clone(),
            (_, false) => list(actions.iter().map(|a| describe(a))),
        },
        changes: actions.iter().map(|a| ObjectChange::new(a.id.to_string(), a.deed.word(), fields(a))).collect(),
        changes_omitted: 0,
        started_at: pass.started_at,
        finished_at: now,
    };
    kinds.into_iter().map(event).collect()
}

/// The signed report of what went wrong with a Sync outside its passes.
#[must_use]
pub fn told(
    sync: &Sync,
    trigger: Trigger,
    message: &str,
    cluster: &towline_proto::ClusterName,
    now: Timestamp,
) -> ChangeEvent {
    ChangeEvent {
        version: ChangeEvent::VERSION,
        cluster: cluster.clone(),
        kind: EventKind::Failed,
        namespace: sync.namespace().unwrap_or_default(),
        name: sync.name_any(),
        revision: None,
        sequence: None,
        trigger: trigger.as_str().to_owned(),
        delivery: None,
        message: message.to_owned(),
        changes: Vec::new(),
        changes_omitted: 0,
        started_at: now,
        finished_at: now,
    }
}

/// The signed status of a Sync.
#[must_use]
pub fn sync_status(
    sync: &Sync,
    cluster: &towline_proto::ClusterName,
    deleted: bool,
    now: Timestamp,
) -> towline_proto::report::SyncStatus {
    use towline_proto::report::{Readiness, ReadyStatus};
    let status = sync.status.clone().unwrap_or_default();
    let ready = status.conditions.iter().find(|c| c.type_ == api::READY);
    towline_proto::report::SyncStatus {
        version: towline_proto::report::SyncStatus::VERSION,
        cluster: cluster.clone(),
        namespace: sync.namespace().unwrap_or_default(),
        name: sync.name_any(),
        generation: sync.metadata.generation.unwrap_or_default(),
        ready: match ready {
            Some(c) => Readiness {
                status: match c.status.as_str() {
                    "True" => ReadyStatus::True,
                    "False" => ReadyStatus::False,
                    _ => ReadyStatus::Unknown,
                },
                reason: c.reason.clone(),
                message: c.message.clone(),
            },
            None => Readiness { status: ReadyStatus::Unknown, reason: String::new(), message: String::new() },
        },
        source: Some(sync.spec.source_ref.name.clone()),
        last_applied_revision: status.last_applied_revision,
        last_attempted_revision: status.last_attempted_revision,
        sequence: status.last_attempted_sequence,
        inventory_entries: status.inventory.map_or(0, |i| i.entries),
        at: now,
        deleted,
    }
}

#[cfg(test)]
pub(crate) mod tests;
