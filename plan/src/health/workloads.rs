//! Kinds of the group `apps`: Deployment, StatefulSet, DaemonSet, ReplicaSet. Knows their counters; not their Pods.

use serde_json::Value;

use super::Health;
use super::status::{Condition, condition, count, counted, flag, int, of, text};

/// What the API server writes for "no deadline"; the controller then writes no Progressing condition that ends.
const NO_DEADLINE: i64 = i32::MAX as i64;

fn wanted(object: &Value) -> i64 {
    int(object, "/spec/replicas").unwrap_or(1).max(0)
}

pub(super) fn deployment(object: &Value) -> Health {
    let progressing = condition(object, "Progressing");
    if let Some(late) = progressing.filter(|c| c.reason == "ProgressDeadlineExceeded") {
        let limit = int(object, "/spec/progressDeadlineSeconds");
        let limit = limit.map_or_else(String::new, |seconds| format!(" within {}", counted(seconds, "second")));
        return Health::failed("ProgressDeadlineExceeded", format!("made no progress{limit}{}", late.told()));
    }
    let status = |field: &str| count(object, &format!("/status/{field}"));
    let (wanted, replicas, updated) = (wanted(object), status("replicas"), status("updatedReplicas"));
    let (ready, available) = (status("readyReplicas"), status("availableReplicas"));
    let paused = flag(object, "/spec/paused");
    let aside = match (refused(object), paused) {
        (Some(why), _) => why.told(),
        (None, true) => "; its rollout is paused".to_owned(),
        (None, false) => String::new(),
    };
    if wanted > replicas {
        return Health::in_progress("LessReplicas", of(replicas, wanted, "replica", "created") + &aside);
    }
    if wanted > updated {
        return Health::in_progress("LessUpdated", of(updated, wanted, "replica", "updated") + &aside);
    }
    if replicas > wanted {
        return Health::in_progress("ExtraPods", extra(replicas - wanted) + &aside);
    }
    if updated > available {
        return Health::in_progress("LessAvailable", of(available, updated, "replica", "available") + &aside);
    }
    if wanted > ready {
        return Health::in_progress("LessReady", of(ready, wanted, "replica", "ready") + &aside);
    }
    let deadline = int(object, "/spec/progressDeadlineSeconds").unwrap_or(NO_DEADLINE);
    let complete = progressing.is_some_and(|c| c.is_true() && c.reason == "NewReplicaSetAvailable");
    // Unlike kstatus: nothing is said about the progress of a rollout that Git itself has paused.
    if deadline != NO_DEADLINE && !complete && !paused {
        return Health::in_progress("ReplicaSetNotAvailable", "its newest ReplicaSet is not available yet");
    }
    match condition(object, "Available") {
        Some(available) if available.is_true() => {
            Health::current("Available", of(ready.min(wanted), wanted, "replica", "available") + &aside)
        }
        Some(available) => {
            let message = format!("fewer replicas are available than it needs{}", available.told());
            Health::in_progress("DeploymentNotAvailable", message)
        }
        None => Health::in_progress("DeploymentNotAvailable", "is not said to be available yet"),
    }
}

pub(super) fn stateful_set(object: &Value) -> Health {
    if text(object, "/spec/updateStrategy/type") == Some("OnDelete") {
        return Health::current("OnDelete", "its Pods are replaced when somebody deletes them; nothing is waited for");
    }
    let status = |field: &str| count(object, &format!("/status/{field}"));
    let (wanted, replicas, ready) = (wanted(object), status("replicas"), status("readyReplicas"));
    if wanted > replicas {
        return Health::in_progress("LessReplicas", of(replicas, wanted, "replica", "created"));
    }
    if wanted > ready {
        return Health::in_progress("LessReady", of(ready, wanted, "replica", "ready"));
    }
    if replicas > wanted {
        return Health::in_progress("ExtraPods", extra(replicas - wanted));
    }
    let updated = status("updatedReplicas");
    if let Some(partition) = int(object, "/spec/updateStrategy/rollingUpdate/partition") {
        let to_update = (wanted - partition.max(0)).max(0);
        return if updated < to_update {
            Health::in_progress("PartitionRollout", of(updated, to_update, "replica", "updated"))
        } else {
            Health::current("Ready", of(ready, wanted, "replica", "ready"))
        };
    }
    let current = status("currentReplicas");
    if wanted > current {
        return Health::in_progress("LessCurrent", of(current, wanted, "replica", "at the current revision"));
    }
    if text(object, "/status/currentRevision") != text(object, "/status/updateRevision") {
        return Health::in_progress("RevisionMismatch", "not all replicas are at the newest revision");
    }
    Health::current("Ready", of(ready, wanted, "replica", "ready"))
}

pub(super) fn daemon_set(object: &Value) -> Health {
    let Some(wanted) = int(object, "/status/desiredNumberScheduled").map(|n| n.max(0)) else {
        return Health::in_progress("NoDesiredNumber", "its controller has not counted the nodes yet");
    };
    let status = |field: &str| count(object, &format!("/status/{field}"));
    let scheduled = status("currentNumberScheduled");
    if wanted > scheduled {
        return Health::in_progress("LessCurrent", of(scheduled, wanted, "node", "have a Pod"));
    }
    // Unlike kstatus: with OnDelete the older Pods stay until somebody deletes them, so nothing is waited for.
    let on_delete = text(object, "/spec/updateStrategy/type") == Some("OnDelete");
    let updated = status("updatedNumberScheduled");
    if wanted > updated && !on_delete {
        return Health::in_progress("LessUpdated", of(updated, wanted, "Pod", "updated"));
    }
    let available = status("numberAvailable");
    if wanted > available {
        return Health::in_progress("LessAvailable", of(available, wanted, "Pod", "available"));
    }
    let ready = status("numberReady");
    if wanted > ready {
        return Health::in_progress("LessReady", of(ready, wanted, "Pod", "ready"));
    }
    Health::current("Available", of(available.min(wanted), wanted, "Pod", "available"))
}

pub(super) fn replica_set(object: &Value) -> Health {
    if let Some(why) = refused(object) {
        return Health::in_progress("ReplicaFailure", format!("its Pods cannot be created or deleted{}", why.told()));
    }
    let status = |field: &str| count(object, &format!("/status/{field}"));
    let (wanted, labelled) = (wanted(object), status("fullyLabeledReplicas"));
    if wanted > labelled {
        return Health::in_progress("LessLabelled", of(labelled, wanted, "replica", "created with all labels"));
    }
    let available = status("availableReplicas");
    if wanted > available {
        return Health::in_progress("LessAvailable", of(available, wanted, "replica", "available"));
    }
    let ready = status("readyReplicas");
    if wanted > ready {
        return Health::in_progress("LessReady", of(ready, wanted, "replica", "ready"));
    }
    let replicas = status("replicas");
    if replicas > wanted {
        return Health::in_progress("ExtraPods", extra(replicas - wanted));
    }
    Health::current("Available", of(available, wanted, "replica", "available"))
}

/// Pods that the API server refuses: quotas, security policies, webhooks.
fn refused(object: &Value) -> Option<Condition<'_>> {
    condition(object, "ReplicaFailure").filter(Condition::is_true)
}

fn extra(n: i64) -> String {
    let verb = if n == 1 { "is" } else { "are" };
    format!("{} more than wanted {verb} still there", counted(n, "replica"))
}
