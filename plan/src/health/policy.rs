//! PodDisruptionBudget and HorizontalPodAutoscaler: they act on the Pods of others.

use serde_json::Value;

use super::Health;
use super::status::{condition, count, int};

/// Current once its controller has computed it: a budget that allows no disruption at the moment does what it is for.
pub(super) fn disruption_budget(object: &Value) -> Health {
    if let Some(failed) = condition(object, "DisruptionAllowed").filter(|c| c.reason == "SyncFailed") {
        return Health::in_progress("SyncFailed", format!("cannot be computed{}", failed.told()));
    }
    let allowed = count(object, "/status/disruptionsAllowed");
    let (healthy, wanted) = (count(object, "/status/currentHealthy"), count(object, "/status/desiredHealthy"));
    let pods = if allowed == 1 { "1 Pod" } else { &format!("{allowed} Pods") };
    Health::current("Computed", format!("{pods} may be evicted: {healthy} healthy, {wanted} needed"))
}

/// kstatus has no rule for it. One that cannot scale is not what its spec asks for, and says why; for the first minute of a
/// workload, while there are no metrics yet, that is as it should be, so it is waited for.
pub(super) fn autoscaler(object: &Value) -> Health {
    if let Some(able) = condition(object, "AbleToScale").filter(|c| c.is_false()) {
        return Health::in_progress(able.reason_or("NotAbleToScale"), format!("cannot scale{}", able.told()));
    }
    let replicas = int(object, "/status/currentReplicas").unwrap_or(0);
    match condition(object, "ScalingActive") {
        Some(active) if active.is_true() => {
            let wanted = int(object, "/status/desiredReplicas").unwrap_or(replicas);
            Health::current("ScalingActive", format!("{replicas} replicas, {wanted} wanted by its metrics"))
        }
        // Its target has been scaled to none, by a person or by Git.
        Some(active) if active.reason == "ScalingDisabled" => {
            Health::current("ScalingDisabled", "does not scale while its target has no replicas")
        }
        // Two autoscalers for the same Pods, or a selector that cannot be read: only a change of the spec helps.
        Some(active)
            if ["InvalidSelector", "AmbiguousSelector", "InvalidMetricSourceType"].contains(&active.reason) =>
        {
            Health::failed(active.reason.to_owned(), format!("cannot scale{}", active.told()))
        }
        Some(active) => {
            Health::in_progress(active.reason_or("NoMetrics"), format!("has no metrics to scale by{}", active.told()))
        }
        // Of version v1, whose conditions stand in an annotation, or not looked at yet.
        None if int(object, "/status/desiredReplicas").is_some() => {
            Health::current("Scaling", format!("{replicas} replicas"))
        }
        None => Health::in_progress("NotObserved", "its controller has not looked at it yet"),
    }
}
