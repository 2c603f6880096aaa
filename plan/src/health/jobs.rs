//! Kinds of the group `batch`: Job and CronJob.

use serde_json::Value;

use super::Health;
use super::status::{conditions, count, counted, flag, int, of, text};

/// A Job is current when it has finished, as Flux has it (kstatus: when it has started): whoever waits for a migration
/// waits for its end.
pub(super) fn job(object: &Value) -> Health {
    let succeeded = count(object, "/status/succeeded");
    for condition in conditions(object).filter(|c| c.is_true()) {
        match condition.kind {
            "Complete" => return Health::current("Complete", format!("finished: {}", completions(object, succeeded))),
            // Decided, although its last Pods may still be ending.
            "Failed" | "FailureTarget" => {
                let failed = counted(count(object, "/status/failed"), "Pod");
                let why = condition.told();
                return Health::failed("JobFailed", format!("failed after {failed}{why}"));
            }
            "Suspended" => return suspended(),
            _ => {}
        }
    }
    if flag(object, "/spec/suspend") {
        return suspended();
    }
    if text(object, "/status/startTime").is_none() {
        return Health::in_progress("JobNotStarted", "has not started yet");
    }
    let (active, failed) = (count(object, "/status/active"), count(object, "/status/failed"));
    let completions = completions(object, succeeded);
    Health::in_progress("JobInProgress", format!("{completions}, {active} running, {failed} failed"))
}

fn suspended() -> Health {
    Health::current("Suspended", "is suspended, so there is nothing to wait for")
}

fn completions(object: &Value, succeeded: i64) -> String {
    let parallelism = int(object, "/spec/parallelism").unwrap_or(1);
    let wanted = int(object, "/spec/completions").unwrap_or(parallelism).max(0);
    of(succeeded, wanted, "Pod", "succeeded")
}

/// A schedule is as it should be as soon as it exists; what its Jobs do is their own health.
pub(super) fn cron_job(object: &Value) -> Health {
    if flag(object, "/spec/suspend") {
        return Health::current("Suspended", "is suspended");
    }
    let active = object.pointer("/status/active").and_then(Value::as_array).map_or(0, Vec::len);
    Health::current(
        "Scheduled",
        match text(object, "/status/lastScheduleTime") {
            Some(at) => format!("last scheduled at {at}, {active} running"),
            None => "has not been due yet".to_owned(),
        },
    )
}
