//! What drifted, field by field: the live object against what an apply would make of it, and who changed it.
//!
//! Knows how to compare and to name fields, and which values may be said. Must not know how objects were read.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::object::ObjectId;
use crate::observed::{FIELD_MANAGER, Writer};
use crate::redact::Redactor;

/// Fields told of one object with their values: more are as good as "much of it".
const CHANGES_MAX: usize = 10;
/// Names of fields kept; a report takes 16 of them.
const PATHS_MAX: usize = 16;
/// Longest value said: an image with its digest. Cut after it was redacted, so that no half of a secret is left.
const VALUE_BYTES_MAX: usize = 120;
const MASK: &str = "***";
/// Metadata that moves with every write, or that only the server sets.
const SERVERS: &[&str] = &["managedFields", "resourceVersion", "generation", "creationTimestamp", "uid", "selfLink"];

/// What happened to an object, in words and by fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// Without a value of any Secret.
    pub what: String,
    /// The same without any value: for what leaves the cluster.
    #[serde(skip)]
    pub brief: String,
    /// The fields that drifted, without values.
    pub fields: Vec<String>,
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl From<String> for Drift {
    fn from(what: String) -> Self {
        Self { brief: what.clone(), what, fields: Vec::new() }
    }
}

/// One field that is not as Git says.
struct Change<'v> {
    path: String,
    /// As field managers name it, up to the first list.
    managed: Vec<String>,
    live: Option<&'v Value>,
    wanted: Option<&'v Value>,
}

/// What an object's drift is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Detail {
    /// `spec.replicas (5 instead of 1)`, one each, at most ten.
    pub changes: Vec<String>,
    /// The names of these fields and of some more.
    pub fields: Vec<String>,
    /// How many changes are not said.
    pub omitted: usize,
    /// Who wrote one of these fields last.
    pub writer: Option<Writer>,
}

impl Detail {
    /// Compares a live object with what an apply would make of it.
    #[must_use]
    pub fn of(id: &ObjectId, live: &Value, wanted: &Value, redactor: &Redactor) -> Self {
        let mut changes = Vec::new();
        compare(String::new(), &mut vec![], live, wanted, &mut changes);
        let is_secret = id.kind.is("", "Secret");
        let about = id.to_string();
        let say = |value: Option<&Value>, path: &str| match value {
            None => "nothing".to_owned(),
            // Annotations repeat data; labels name their owner.
            Some(_) if is_secret && !path.starts_with("metadata.labels") => MASK.to_owned(),
            Some(value) => cut(redactor.clean(&about, &value.to_string())),
        };
        let tell =
            |c: &Change<'_>| format!("{} ({} instead of {})", c.path, say(c.live, &c.path), say(c.wanted, &c.path));
        Self {
            changes: changes.iter().take(CHANGES_MAX).map(tell).collect(),
            fields: changes.iter().take(PATHS_MAX).map(|change| change.path.clone()).collect(),
            omitted: changes.len().saturating_sub(CHANGES_MAX),
            writer: writer(&live["metadata"]["managedFields"], &changes),
        }
    }

    /// The same in words; `last_writer` is who wrote the object last, where no writer of a field is known.
    #[must_use]
    pub fn drift(&self, last_writer: Option<&Writer>) -> Drift {
        let mut by = "it was changed".to_owned();
        if let Some(writer) = self.writer.as_ref().or(last_writer) {
            by.push_str(&format!(" by {writer}"));
        }
        let more = match self.omitted {
            0 => String::new(),
            omitted => format!(" and {omitted} more fields"),
        };
        let say = |fields: &[String]| match fields {
            [] => format!("{by}{more}"),
            fields => format!("{by}: {}{more}", fields.join(", ")),
        };
        let named = self.fields.len().min(self.changes.len());
        Drift { what: say(&self.changes), brief: say(&self.fields[..named]), fields: self.fields.clone() }
    }
}

fn compare<'v>(
    path: String,
    managed: &mut Vec<String>,
    live: &'v Value,
    wanted: &'v Value,
    changes: &mut Vec<Change<'v>>,
) {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            let mut keys: Vec<&String> =
                live.keys().chain(wanted.keys().filter(|key| !live.contains_key(*key))).collect();
            keys.sort_unstable();
            for key in keys.into_iter().filter(|key| !is_servers(&path, key)) {
                managed.push(format!("f:{key}"));
                one(join(&path, key), managed, live.get(key), wanted.get(key), changes);
                managed.pop();
            }
        }
        (Value::Array(live), Value::Array(wanted)) => {
            // Items are told apart by name where they have one, else by place.
            let named = |items: &'v [Value]| -> Option<Map<String, Value>> {
                let names = items.iter().map(|item| Some((item["name"].as_str()?.to_owned(), Value::Null)));
                let map: Map<String, Value> = names.collect::<Option<_>>()?;
                (map.len() == items.len()).then_some(map)
            };
            match (named(live), named(wanted)) {
                (Some(before), Some(after)) => {
                    for name in before.keys().chain(after.keys().filter(|name| !before.contains_key(*name))) {
                        let find = |items: &'v [Value]| items.iter().find(|item| item["name"] == name.as_str());
                        one(format!("{path}[{name}]"), managed, find(live), find(wanted), changes);
                    }
                }
                _ => {
                    for index in 0..live.len().max(wanted.len()) {
                        one(format!("{path}[{index}]"), managed, live.get(index), wanted.get(index), changes);
                    }
                }
            }
        }
        (live, wanted) if live != wanted => {
            let managed = managed.clone();
            changes.push(Change { path, managed, live: Some(live), wanted: Some(wanted) });
        }
        _ => {}
    }
}

fn one<'v>(
    path: String,
    managed: &mut Vec<String>,
    live: Option<&'v Value>,
    wanted: Option<&'v Value>,
    changes: &mut Vec<Change<'v>>,
) {
    match (live, wanted) {
        (Some(live), Some(wanted)) => compare(path, managed, live, wanted, changes),
        (None, None) => {}
        (live, wanted) => changes.push(Change { path, managed: managed.clone(), live, wanted }),
    }
}

fn is_servers(path: &str, key: &str) -> bool {
    (path.is_empty() && key == "status") || (path == "metadata" && SERVERS.contains(&key))
}

/// `spec.replicas`, `metadata.labels["a.b/c"]`.
fn join(path: &str, key: &str) -> String {
    let is_plain = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    match (path, is_plain) {
        ("", _) => key.to_owned(),
        (path, true) => format!("{path}.{key}"),
        (path, false) => format!("{path}[{key:?}]"),
    }
}

fn cut(mut text: String) -> String {
    if text.len() > VALUE_BYTES_MAX {
        let mut end = VALUE_BYTES_MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Who, other than Towline, owns one of the changed fields since the latest moment.
fn writer(managed_fields: &Value, changes: &[Change<'_>]) -> Option<Writer> {
    let others = managed_fields.as_array()?.iter().filter(|entry| {
        let manager = entry["manager"].as_str().unwrap_or_default();
        manager != FIELD_MANAGER && entry["subresource"] != "status"
    });
    let owns = |entry: &&Value| changes.iter().any(|change| has(&entry["fieldsV1"], &change.managed));
    let at = |entry: &Value| entry["time"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
    let last = others.filter(owns).max_by_key(|entry| at(entry))?;
    Some(Writer { manager: last["manager"].as_str()?.to_owned(), at: at(last) })
}

fn has(fields: &Value, path: &[String]) -> bool {
    path.iter().try_fold(fields, |fields, key| fields.get(key)).is_some()
}

#[cfg(test)]
mod tests;
