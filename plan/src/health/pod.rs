//! A Pod: its phase, and what its containers wait for.

use serde_json::Value;

use super::Health;
use super::generic::phase;
use super::status::{condition, count, counted, text};

/// Why a container does not run, worst first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Trouble {
    /// Waiting does not help.
    pub(super) is_final: bool,
    pub(super) reason: String,
    pub(super) message: String,
}

/// A kubelet doubles its wait before each start of a container that keeps ending, from 10 s on, and says how long it is. At a
/// minute or more, a container has ended at least five times in a row, over 70 s (10 + 20 + 40) of waiting: longer than what
/// it may depend on in the same Sync usually takes to start. A kubelet that begins with 1 s gets there after 63 s.
const BACK_OFF_SECONDS_MAX: u64 = 60;
/// The same limit where a kubelet does not say how long it waits: 10 s, 20 s and 40 s lie between the restarts.
const RESTARTS_MAX: i64 = 4;

/// What only a change of the spec, of a registry or of a Secret ends. A kubelet goes on trying all the same.
const FINAL: &[&str] = &[
    "ImagePullBackOff",
    "ErrImagePull",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ErrImageInspect",
    "ImageInspectError",
    "RegistryUnavailable",
    "SignatureValidationFailed",
    "CreateContainerConfigError",
    "CreateContainerError",
];

pub(super) fn judge(object: &Value) -> Health {
    match phase(object) {
        Some("Succeeded") => Health::current("Completed", "has run to its end"),
        // kstatus takes it for current, because it will not change any more. That is what failed means here.
        Some("Failed") => Health::failed("PodFailed", format!("has failed{}", ending(object))),
        Some("Running") if condition(object, "Ready").is_some_and(|c| c.is_true()) => {
            Health::current("Ready", "is ready")
        }
        Some("Running") => trouble(object).map_or_else(
            || {
                let why = condition(object, "Ready").map(|c| c.told()).unwrap_or_default();
                Health::in_progress("PodRunningNotReady", format!("runs and is not ready yet{why}"))
            },
            health,
        ),
        Some("Pending") => trouble(object)
            .map_or_else(|| Health::in_progress("PodPending", "its containers are being started"), health),
        Some(other) => Health::unknown("PodUnknown", format!("its phase is {other}: its node does not answer")),
        None => Health::in_progress("PodNotObserved", "has no phase yet"),
    }
}

fn health(trouble: Trouble) -> Health {
    match trouble.is_final {
        true => Health::failed(trouble.reason, trouble.message),
        false => Health::in_progress(trouble.reason, trouble.message),
    }
}

/// The worst that keeps a Pod from running, if anything does.
pub(super) fn trouble(pod: &Value) -> Option<Trouble> {
    let containers = ["initContainerStatuses", "containerStatuses"]
        .into_iter()
        .flat_map(|list| pod.pointer(&format!("/status/{list}")).and_then(Value::as_array).into_iter().flatten());
    let mut worst: Option<Trouble> = None;
    for found in containers.filter_map(|container| waiting(pod, container)).chain(unscheduled(pod)) {
        if worst.as_ref().is_none_or(|worst| found.is_final && !worst.is_final) {
            worst = Some(found);
        }
    }
    worst
}

/// kstatus takes a Pod that cannot be scheduled for failed after 15 s. Nodes may still come: that is what autoscalers are for.
fn unscheduled(pod: &Value) -> Option<Trouble> {
    let scheduled = condition(pod, "PodScheduled").filter(|c| c.is_false())?;
    let reason = scheduled.reason_or("PodNotScheduled");
    Some(Trouble { is_final: false, reason, message: format!("has no node yet{}", scheduled.told()) })
}

fn waiting(pod: &Value, container: &Value) -> Option<Trouble> {
    let name = text(container, "/name").unwrap_or("?");
    let reason = text(container, "/state/waiting/reason")?;
    let told = text(container, "/state/waiting/message").unwrap_or_default();
    let trouble = |is_final, message| Some(Trouble { is_final, reason: reason.to_owned(), message });
    let said = if told.is_empty() { String::new() } else { format!(": {told}") };
    if FINAL.contains(&reason) {
        return trouble(true, format!("container {name}: {reason}{said}"));
    }
    if reason == "CrashLoopBackOff" {
        let restarts = count(container, "/restartCount");
        // A container of a Job ends and starts again until the Job itself gives up: its back-off limit is the one that counts.
        let restarted_for_ever = matches!(text(pod, "/spec/restartPolicy"), None | Some("Always"));
        let wait = back_off(told);
        let past = wait.map_or(restarts >= RESTARTS_MAX, |(_, seconds)| seconds >= BACK_OFF_SECONDS_MAX);
        let how = last_end(container).unwrap_or_else(|| "ended".to_owned());
        let next = wait.map_or(said, |(text, _)| format!(", waits {text} before it starts again"));
        let restarts = counted(restarts, "time");
        return trouble(restarted_for_ever && past, format!("container {name} {how}, restarted {restarts}{next}"));
    }
    None
}

/// `back-off 2m40s restarting failed container=…`, as kubelets write it: the text and its seconds.
fn back_off(message: &str) -> Option<(&str, u64)> {
    let duration = message.strip_prefix("back-off ")?.split(' ').next()?;
    let (mut seconds, mut number) = (0_u64, String::new());
    for character in duration.chars() {
        let unit = match character {
            'h' => 3600,
            'm' => 60,
            's' => 1,
            '0'..='9' => {
                number.push(character);
                continue;
            }
            _ => return None,
        };
        seconds = seconds.checked_add(number.parse::<u64>().ok()?.checked_mul(unit)?)?;
        number.clear();
    }
    number.is_empty().then_some((duration, seconds))
}

/// How a container ended last: `ended with exit code 1 (Error)`.
fn last_end(container: &Value) -> Option<String> {
    let last = ["/state/terminated", "/lastState/terminated"].into_iter().find_map(|at| container.pointer(at))?;
    let code = last.get("exitCode").and_then(Value::as_i64)?;
    let reason = text(last, "/reason").map(|reason| format!(" ({reason})")).unwrap_or_default();
    Some(format!("ended with exit code {code}{reason}"))
}

/// Why a Pod failed: its own words, else its first container that ended badly.
fn ending(pod: &Value) -> String {
    if let Some(message) = text(pod, "/status/message").or_else(|| text(pod, "/status/reason")) {
        return format!(": {message}");
    }
    let lists = ["/status/initContainerStatuses", "/status/containerStatuses"];
    let mut containers =
        lists.into_iter().flat_map(|at| pod.pointer(at).and_then(Value::as_array).into_iter().flatten());
    let bad = containers.find(|c| c.pointer("/state/terminated/exitCode").and_then(Value::as_i64).unwrap_or(0) != 0);
    let words = bad.and_then(|c| Some(format!(": container {} {}", text(c, "/name")?, last_end(c)?)));
    words.unwrap_or_default()
}
