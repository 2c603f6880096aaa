//! Waiting for a request to be answered. Level-triggered: each look at the object decides anew, so nothing can be missed.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use towline_agent::api::{READY, REQUESTED_AT};

use crate::cluster::{Cluster, ClusterError, DynamicObject};
use crate::exit::{Exit, Fails};
use crate::get::condition;
use crate::target::Target;

/// A pass takes seconds; a person notices half of one.
const PERIOD: Duration = Duration::from_millis(500);

/// How it ended: the Ready condition.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Verdict {
    pub(crate) ready: bool,
    pub(crate) reason: String,
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) revision: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum WaitError {
    #[error("see {target} reconciled within {}s: {last}", .timeout.as_secs())]
    TimedOut { target: Target, timeout: Duration, last: String },
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

impl Fails for WaitError {
    fn exit(&self) -> Exit {
        match self {
            Self::TimedOut { .. } => Exit::No,
            Self::Cluster(error) => error.exit(),
        }
    }
}

/// Looks until the request is answered, or the time is up.
pub(crate) async fn for_request(
    cluster: &Cluster,
    target: &Target,
    request: &str,
    timeout: Duration,
) -> Result<Verdict, WaitError> {
    let deadline = Instant::now() + timeout;
    loop {
        let last = match cluster.get(target.kind, &target.name).await {
            Ok(object) => match judge(&object, request) {
                Ok(verdict) => return Ok(verdict),
                Err(missing) => missing.to_owned(),
            },
            Err(error) if error.is_retryable() => error.to_string(),
            Err(error) => return Err(error.into()),
        };
        if Instant::now() + PERIOD > deadline {
            return Err(WaitError::TimedOut { target: target.clone(), timeout, last });
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// The verdict, or what it still waits for.
fn judge(object: &DynamicObject, request: &str) -> Result<Verdict, &'static str> {
    let status = |field: &str| object.data.pointer(&format!("/status/{field}"));
    let handled = status("lastHandledReconcileAt").and_then(Value::as_str);
    let asked = object.metadata.annotations.as_ref().and_then(|all| all.get(REQUESTED_AT)).map(String::as_str);
    // Somebody may have asked again; their answer is newer than ours would be.
    if handled.is_none() || (handled != Some(request) && handled != asked) {
        return Err("no agent has taken up the request; does one run for this cluster and namespace?");
    }
    let observed = status("observedGeneration").and_then(Value::as_i64);
    if observed < object.metadata.generation {
        return Err("an agent has seen the request, and not yet the newest spec");
    }
    let ready = |field| condition(&object.data, READY, field).unwrap_or_default();
    if !matches!(ready("status"), "True" | "False") {
        return Err("an agent has taken up the request, and the outcome is still open");
    }
    let revision = [status("lastAppliedRevision"), status("revision")].into_iter().flatten().find_map(Value::as_str);
    Ok(Verdict {
        ready: ready("status") == "True",
        reason: ready("reason").to_owned(),
        message: ready("message").to_owned(),
        revision: revision.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn judged(asked: &str, handled: Value, observed: i64, ready: &str) -> Result<bool, &'static str> {
        let object = serde_json::from_value(json!({
            "metadata": { "name": "a", "generation": 2, "annotations": { REQUESTED_AT: asked } },
            "status": {
                "lastHandledReconcileAt": handled,
                "observedGeneration": observed,
                "conditions": [{ "type": "Ready", "status": ready, "reason": "R", "message": "m" }],
            },
        }))
        .unwrap();
        judge(&object, "mine").map(|verdict| verdict.ready)
    }

    #[test]
    fn only_an_answer_to_this_request_or_a_later_one_counts() {
        assert_eq!(judged("mine", json!("mine"), 2, "True"), Ok(true));
        assert_eq!(judged("mine", json!("mine"), 2, "False"), Ok(false));
        assert_eq!(judged("theirs", json!("theirs"), 2, "True"), Ok(true));
        assert!(judged("mine", json!("older"), 2, "True").is_err());
        assert!(judged("mine", Value::Null, 2, "True").is_err());
        assert!(judged("mine", json!("mine"), 1, "True").is_err());
        assert!(judged("mine", json!("mine"), 2, "Unknown").is_err());
    }
}
