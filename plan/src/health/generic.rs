//! What objects of all kinds have in common: deletion, observed generation, and the conditions Reconciling, Stalled and Ready.

use serde_json::Value;

use super::rule::Rule;
use super::status::{Condition, condition, flag, int, text};
use super::{Health, Status};

/// What can be said of an object whatever its kind, if anything.
pub(super) fn before(object: &Value, rule: Rule) -> Option<Health> {
    if is_deleted(object) {
        return Some(terminating(object));
    }
    // Nobody looks at it, so its status says nothing; whoever has suspended one knows that it is not waited for.
    if rule == Rule::Towline && flag(object, "/spec/suspend") {
        return Some(Health::current("Suspended", "is suspended, so there is nothing to wait for"));
    }
    if let Some(health) = unobserved(object) {
        return Some(health);
    }
    let (generation, observed) = (int(object, "/metadata/generation"), int(object, "/status/observedGeneration"));
    // kstatus: a DaemonSet's status means nothing without both. Of the others, a manifest by hand may have neither.
    let incomplete = observed.is_none() && (generation.is_some() || rule == Rule::DaemonSet);
    if rule.is_observed() && incomplete {
        return Some(Health::in_progress("NotObserved", "its controller has not looked at it yet"));
    }
    let holds = |kind| condition(object, kind).filter(Condition::is_true);
    if let Some(busy) = holds("Reconciling") {
        let message = busy.message_or("its controller is working on it");
        return Some(Health::in_progress(busy.reason_or("Reconciling"), message));
    }
    holds("Stalled").map(|stuck| match is_outdated(object, stuck) {
        true => outdated(stuck),
        false => Health::failed(stuck.reason_or("Stalled"), stuck.message_or("its controller cannot go on")),
    })
}

/// What the Ready condition says. Without one, an object is as it should be as soon as it exists, unless its controller is
/// known to write one.
pub(super) fn ready(object: &Value, expected: bool) -> Health {
    let Some(ready) = condition(object, "Ready") else {
        return match expected {
            true => Health::in_progress("NotReady", "has no Ready condition yet"),
            false => Health::current("Exists", "exists, and has no condition that says more"),
        };
    };
    if is_outdated(object, ready) {
        return outdated(ready);
    }
    match ready.status {
        "True" => Health::current(ready.reason_or("Ready"), ready.message_or("is ready")),
        "False" => Health::in_progress(ready.reason_or("NotReady"), ready.message_or("is not ready")),
        _ => {
            Health::in_progress(ready.reason_or("NotReady"), ready.message_or("does not know yet whether it is ready"))
        }
    }
}

pub(super) fn is_deleted(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some_and(|at| !at.is_null() && at.as_str() != Some(""))
}

pub(super) fn terminating(object: &Value) -> Health {
    let all = object.pointer("/metadata/finalizers").and_then(Value::as_array);
    let names: Vec<&str> = all.into_iter().flatten().filter_map(Value::as_str).collect();
    // A namespace says in its conditions what is left in it.
    let left = ["NamespaceDeletionContentFailure", "NamespaceFinalizersRemaining", "NamespaceContentRemaining"]
        .into_iter()
        .find_map(|kind| condition(object, kind).filter(|c| c.is_true() && !c.message.is_empty()));
    let message = match (left, names.as_slice()) {
        (Some(left), _) => format!("is being deleted: {}", left.message),
        (None, []) => "is being deleted".to_owned(),
        (None, [one]) => format!("is being deleted, and the finalizer {one} holds it"),
        (None, several) => format!("is being deleted, and the finalizers {} hold it", several.join(", ")),
    };
    Health::new(Status::Terminating, "Deleted", message)
}

/// The controller has not yet looked at the newest spec: what the status says is about an older one.
pub(super) fn unobserved(object: &Value) -> Option<Health> {
    let generation = int(object, "/metadata/generation")?;
    let observed = int(object, "/status/observedGeneration")?;
    (observed != generation).then(|| {
        let message = format!("its controller has seen generation {observed}, and it is at {generation}");
        Health::in_progress("LatestGenerationNotObserved", message)
    })
}

/// By the API conventions, a condition with a smaller generation than the object's is about an older spec.
fn is_outdated(object: &Value, condition: Condition<'_>) -> bool {
    match (condition.observed_generation, int(object, "/metadata/generation")) {
        // Zero is what a controller leaves that does not fill the field in.
        (Some(observed), Some(generation)) => observed > 0 && observed < generation,
        (None, _) | (_, None) => false,
    }
}

fn outdated(condition: Condition<'_>) -> Health {
    let message = format!("its condition {} is about an older generation", condition.kind);
    Health::in_progress("LatestGenerationNotObserved", message)
}

/// The phase of a status, and what stands beside it.
pub(super) fn phase(object: &Value) -> Option<&str> {
    text(object, "/status/phase")
}
