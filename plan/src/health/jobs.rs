//! Kinds of the group `batch`: Job and CronJob.

use serde_json::Value;

use super::Health;
use super::status::{Condition, condition, count, counted, flag, int, of, text};

/// A Job is current when it has finished, as Flux has it (kstatus: when it has started): whoever waits for a migration
/// waits for its end.
pub(super) fn job(object: &Value) -> Health {
    let succeeded = count(object, "/status/succeeded");
    let holds = |kind| condition(object, kind).filter(Condition::is_true);
    // The latter: decided, although its last Pods may still be ending.
    if let Some(failed) = holds("Failed").or_else(|| holds("FailureTarget")) {
        let pods = counted(count(object, "/status/failed"), "Pod");
        return Health::failed("JobFailed", format!("failed after {pods}{}", failed.told()));
    }
    if holds("Complete").is_some() {
        return Health::current("Complete", format!("finished: {}", completions(object, succeeded)));
    }
    // A Job's status does not say which generation it is of: right after Git resumes it, the condition is an old one.
    if flag(object, "/spec/suspend") {
        return Health::current("Suspended", "is suspended, so there is nothing to wait for");
    }
    if text(object, "/status/startTime").is_none() {
        return Health::in_progress("JobNotStarted", "has not started yet");
    }
    let (active, failed) = (count(object, "/status/active"), count(object, "/status/failed"));
    let completions = completions(object, succeeded);
    Health::in_progress("JobInProgress", format!("{completions}, {active} running, {failed} failed"))
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
