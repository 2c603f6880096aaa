//! Reading the fields of an object that anybody may have written. What has the wrong type counts as absent.

use serde_json::Value;

/// One of `status.conditions`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Condition<'v> {
    pub(super) kind: &'v str,
    pub(super) status: &'v str,
    pub(super) reason: &'v str,
    pub(super) message: &'v str,
    pub(super) observed_generation: Option<i64>,
}

impl<'v> Condition<'v> {
    fn read(value: &'v Value) -> Option<Self> {
        let text = |key: &str| value.get(key).and_then(Value::as_str);
        Some(Self {
            kind: text("type")?,
            status: text("status").unwrap_or("Unknown"),
            reason: text("reason").unwrap_or_default(),
            message: text("message").unwrap_or_default(),
            observed_generation: value.get("observedGeneration").and_then(whole),
        })
    }

    pub(super) fn is_true(&self) -> bool {
        self.status == "True"
    }

    pub(super) fn is_false(&self) -> bool {
        self.status == "False"
    }

    /// Its reason, or ours where it has none.
    pub(super) fn reason_or(&self, ours: &'static str) -> String {
        if self.reason.is_empty() { ours.to_owned() } else { self.reason.to_owned() }
    }

    /// Its message, or ours where it has none.
    pub(super) fn message_or(&self, ours: &str) -> String {
        if self.message.is_empty() { ours.to_owned() } else { self.message.to_owned() }
    }

    /// `: what it says`, to be put behind words of ours; nothing where it says nothing.
    pub(super) fn told(&self) -> String {
        match (self.message, self.reason) {
            ("", "") => String::new(),
            ("", reason) => format!(": {reason}"),
            (message, _) => format!(": {message}"),
        }
    }
}

fn conditions(object: &Value) -> impl Iterator<Item = Condition<'_>> {
    object.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten().filter_map(Condition::read)
}

pub(super) fn condition<'v>(object: &'v Value, kind: &str) -> Option<Condition<'v>> {
    conditions(object).find(|condition| condition.kind == kind)
}

/// A text that is not empty.
pub(super) fn text<'v>(object: &'v Value, pointer: &str) -> Option<&'v str> {
    object.pointer(pointer)?.as_str().filter(|text| !text.is_empty())
}

pub(super) fn int(object: &Value, pointer: &str) -> Option<i64> {
    object.pointer(pointer).and_then(whole)
}

/// A counter of a status: absent means none, and nothing is below none.
pub(super) fn count(object: &Value, pointer: &str) -> i64 {
    int(object, pointer).unwrap_or(0).max(0)
}

pub(super) fn flag(object: &Value, pointer: &str) -> bool {
    object.pointer(pointer).and_then(Value::as_bool).unwrap_or(false)
}

/// A whole number, also when it was written as `3.0`.
fn whole(value: &Value) -> Option<i64> {
    // From 2^53 on, a float no longer names one whole number.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    value.as_i64().or_else(|| {
        value.as_f64().filter(|n| n.fract() == 0.0 && n.abs() < EXACT).and_then(|n| format!("{n:.0}").parse().ok())
    })
}

/// `1 replica`, `3 replicas`.
pub(super) fn counted(n: i64, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// `1 of 3 replicas available`.
pub(super) fn of(some: i64, all: i64, noun: &str, state: &str) -> String {
    format!("{some} of {} {state}", counted(all, noun))
}
