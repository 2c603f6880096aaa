//! Outcome to what goes over NATS: the reports of changes, and the status of a Sync.
//!
//! Pure. Must not know how it is signed and sent.

use jiff::Timestamp;
use towline_plan::naming::list;
use towline_plan::schedule::sync::Trigger;
use towline_proto::report::{ChangeEvent, EventKind, ObjectChange};

use super::notes::{describe_briefly, is_said, rebuilt_text};
use super::ready::ready;
use crate::api::{self, ResourceExt as _, Sync};
use crate::pass::{Action, Deed, End, Outcome, Pass};

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
        (EventKind::DriftDetected, of(|d| matches!(d, Deed::Drifted(_)))),
        (EventKind::Pruned, of(|d| matches!(d, Deed::Deleted | Deed::Skipped(_)))),
    ];
    kinds.retain(|(_, actions)| !actions.is_empty());
    let verdict = ready(pass, outcome);
    // What repeats itself is counted where Events are; of a history of changes it is none.
    let attempted = pass.sync.status.as_ref().and_then(|status| status.last_attempted_revision.as_ref());
    let is_repeated = is_said(pass, &verdict) && attempted == Some(&pass.revision.name);
    match &outcome.end {
        End::Failed(_) | End::Held(..) if is_repeated => {}
        End::Failed(_) => kinds.push((EventKind::Failed, Vec::new())),
        End::Held(..) => kinds.push((EventKind::PruneHeld, Vec::new())),
        // That objects stay is worth a report: somebody may have meant otherwise.
        End::Left(why) if why.is_some() || !outcome.kept.is_empty() => kinds.push((EventKind::PruneHeld, Vec::new())),
        End::Untouched | End::Succeeded | End::Drifted | End::Waiting(_) | End::Superseded | End::Left(_) => {}
    }
    if outcome.rebuilt.is_some() {
        kinds.push((EventKind::InventoryRebuilt, Vec::new()));
    }
    let message = verdict.message;
    let event = |(kind, actions): (EventKind, Vec<&Action>)| ChangeEvent {
        version: ChangeEvent::VERSION,
        cluster: cluster.clone(),
        kind,
        namespace: pass.key.namespace.clone(),
        name: pass.key.name.clone(),
        revision: Some(pass.revision.name.clone()),
        sequence: Some(pass.revision.sequence),
        commit: pass.revision.about.as_deref().cloned(),
        trigger: pass.trigger.as_str().to_owned(),
        delivery: pass.revision.delivery.clone(),
        message: match (&outcome.rebuilt, actions.is_empty()) {
            (Some(problem), true) if kind == EventKind::InventoryRebuilt => rebuilt_text(problem),
            (_, true) => message.clone(),
            (_, false) => list(actions.iter().map(|a| describe_briefly(a))),
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
        commit: None,
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

/// Names of the fields that drifted; no values.
fn fields(action: &Action) -> Vec<String> {
    match &action.deed {
        Deed::Reverted(drift) | Deed::Drifted(drift) => drift.fields.clone(),
        Deed::Created | Deed::Configured | Deed::Recreated(_) | Deed::Deleted | Deed::Skipped(_) => Vec::new(),
    }
}
