//! Outcome to the Ready condition: its reason, and a message that claims no more than was done.
//!
//! Pure. Must not know where it is said.

use towline_plan::check::Held;
use towline_plan::letting::ANNOTATION_PRUNE_CONFIRMED;
use towline_plan::naming::list;
use towline_plan::object::{GroupKind, ObjectId};
use towline_plan::wait::Wait;

use crate::api::{self, ConditionStatus, DriftMode, Verdict};
use crate::pass::{End, Outcome, Pass, drift};

/// The reason and message of the Ready condition.
#[must_use]
pub fn ready(pass: &Pass, outcome: &Outcome) -> Verdict {
    let revision = &pass.revision.name;
    let (status, reason, message) = match &outcome.end {
        // Nothing was looked at, and nothing has become of what was found.
        End::Untouched if drift::said(&pass.sync).is_some() => {
            let said = drift::said(&pass.sync).unwrap_or_default();
            (ConditionStatus::False, api::DRIFT_DETECTED, format!("{revision} is applied; {said}"))
        }
        End::Drifted => {
            let drifted = drift::in_words(outcome.drifted.as_deref().unwrap_or_default());
            let left = left("not applied", &outcome.left_alone) + &left("left in place", &outcome.kept);
            let unwatched = unwatched(&outcome.unwatched);
            (ConditionStatus::False, api::DRIFT_DETECTED, format!("{revision} is applied; {drifted}{left}{unwatched}"))
        }
        End::Untouched => (
            ConditionStatus::True,
            "ReconciliationSucceeded",
            format!("Applied revision: {revision}{}", still_so(pass)),
        ),
        End::Succeeded => {
            let left = left("not applied", &outcome.left_alone) + &left("left in place", &outcome.kept);
            let unwatched = unwatched(&outcome.unwatched);
            (
                ConditionStatus::True,
                "ReconciliationSucceeded",
                format!("Applied revision: {revision}{left}{unwatched}{}", unsought(pass)),
            )
        }
        End::Held(held, objects) => {
            let left = left("not applied", &outcome.left_alone) + &left("left in place", &outcome.kept);
            (ConditionStatus::False, "PruneHeld", held_text(pass, held, objects) + &left)
        }
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

/// What was not looked for is not claimed to be as Git says.
fn unsought(pass: &Pass) -> &'static str {
    match pass.sync.spec.drift_mode() {
        DriftMode::Disabled => "; drift is not looked for (driftDetection.mode: disabled)",
        DriftMode::Enabled | DriftMode::Warn => "",
    }
}

/// What a pass waits for, in words.
#[must_use]
pub fn waits(waits: &[Wait]) -> String {
    waits.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// In Flux's words: a Sync that only waits for others says so.
pub(super) fn waiting_reason(waits: &[Wait]) -> &'static str {
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
pub(super) fn left_text(pass: &Pass, outcome: &Outcome, why: Option<&str>) -> String {
    let entries = pass.sync.status.as_ref().and_then(|status| status.inventory.as_ref()).map_or(0, |i| i.entries);
    match why {
        Some(why) => format!("the Sync is being deleted; its {entries} objects stay, because {why}"),
        None => format!("the Sync is being deleted{}", left("left in place", &outcome.kept)),
    }
}
