//! Conditions as the Kubernetes API conventions define them.
//!
//! Knows how one condition replaces another. Must not know what any of them means to a caller.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The object is as Git says. `False` carries the reason.
pub const READY: &str = "Ready";
/// Work is going on or will be tried again; absent when there is nothing to wait for.
pub const RECONCILING: &str = "Reconciling";
/// Nothing will change until somebody changes the object; absent otherwise.
pub const STALLED: &str = "Stalled";
/// Whether what was applied is healthy; absent where nobody asks for that.
pub const HEALTHY: &str = "Healthy";
/// `spec.suspend` holds everything; absent otherwise.
pub const SUSPENDED: &str = "Suspended";
/// Others change objects again as often as they are put right; absent otherwise.
pub const DRIFT_REPEATED: &str = "DriftRepeated";
/// Objects were changed in the cluster and are left so, because `driftDetection.mode` is warn; absent otherwise.
pub const DRIFTED: &str = "Drifted";
/// The reason of a Ready condition that is False for nothing but that.
pub const DRIFT_DETECTED: &str = "DriftDetected";
/// Whether the signatures of a GitSource's newest commit are those that are asked for; absent where none are.
pub const SOURCE_VERIFIED: &str = "SourceVerified";
/// Whether commit events can arrive for a GitSource.
pub const EVENTS_READY: &str = "EventsReady";

/// Longest message kept in a condition: the API server takes 32,768 bytes, a person reads the first few hundred.
const MESSAGE_BYTES_MAX: usize = 8 << 10;

/// Whether what a condition's type says holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConditionStatus {
    True,
    False,
    /// Not known yet: work goes on.
    Unknown,
}

impl ConditionStatus {
    /// As the API has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// What a condition says, apart from its type and times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub status: ConditionStatus,
    pub reason: String,
    pub message: String,
}

/// The conditions of one object at one moment.
#[derive(Debug, Clone, Default)]
pub struct Conditions(pub Vec<Condition>);

impl Conditions {
    /// Sets a condition; its transition time moves only when its status does.
    pub fn set(&mut self, kind: &str, verdict: Verdict, generation: Option<i64>, now: Timestamp) {
        let status = verdict.status.as_str().to_owned();
        let old = self.0.iter().position(|c| c.type_ == kind);
        let last_transition_time = match old.map(|i| &self.0[i]) {
            Some(old) if old.status == status => old.last_transition_time.clone(),
            _ => Time(now),
        };
        let new = Condition {
            type_: kind.to_owned(),
            status,
            reason: verdict.reason,
            message: bounded(verdict.message),
            observed_generation: generation,
            last_transition_time,
        };
        match old {
            Some(i) => self.0[i] = new,
            None => self.0.push(new),
        }
    }

    /// Takes a condition away: `Reconciling` and `Stalled` are present only while they are true.
    pub fn clear(&mut self, kind: &str) {
        self.0.retain(|c| c.type_ != kind);
    }

    #[must_use]
    pub fn get(&self, kind: &str) -> Option<&Condition> {
        self.0.iter().find(|c| c.type_ == kind)
    }
}

/// Cuts at a character, and says that it did.
fn bounded(mut message: String) -> String {
    const MARK: &str = " … (cut)";
    if message.len() > MESSAGE_BYTES_MAX {
        let mut end = MESSAGE_BYTES_MAX - MARK.len();
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
        message.push_str(MARK);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(status: ConditionStatus) -> Verdict {
        Verdict { status, reason: "Because".into(), message: "…".into() }
    }

    #[test]
    fn transition_time_moves_with_the_status_only() {
        let (t0, t1) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(60).unwrap());
        let mut conditions = Conditions::default();
        conditions.set(READY, verdict(ConditionStatus::True), Some(1), t0);
        conditions.set(READY, verdict(ConditionStatus::True), Some(2), t1);
        assert_eq!(conditions.get(READY).unwrap().last_transition_time.0, t0);
        conditions.set(READY, verdict(ConditionStatus::False), Some(2), t1);
        assert_eq!(conditions.get(READY).unwrap().last_transition_time.0, t1);
        conditions.clear(READY);
        assert!(conditions.get(READY).is_none());
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let cut = bounded("ä".repeat(MESSAGE_BYTES_MAX));
        assert!(cut.len() <= MESSAGE_BYTES_MAX && cut.ends_with("(cut)"));
    }
}
