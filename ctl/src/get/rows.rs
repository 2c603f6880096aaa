//! Objects to rows of a table. Pure: the time is an argument, and what an object does not say is a dash.

use crate::cluster::DynamicObject;
use jiff::Timestamp;
use serde_json::Value;
use towline_agent::api::{EVENTS_READY, READY};

use crate::age;
use crate::table;
use crate::target::Kind;

/// What a terminal of ordinary width has left for the last column.
const MESSAGE_CHARS_MAX: usize = 80;

/// As many digits of a commit as people compare.
const COMMIT_DIGITS: usize = 12;

#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) wide: bool,
    pub(super) namespaces: bool,
}

pub(super) fn table(kind: Kind, objects: &[DynamicObject], shape: Shape, now: Timestamp) -> String {
    let mut heading = Vec::new();
    if shape.namespaces {
        heading.push("NAMESPACE");
    }
    heading.extend(match kind {
        Kind::Source => ["NAME", "READY", "REVISION", "EVENTS", "AGE"],
        Kind::Sync => ["NAME", "READY", "REVISION", "OBJECTS", "AGE"],
    });
    if shape.wide {
        heading.extend(match kind {
            Kind::Source => ["URL", "REF", "LAST ATTEMPT"],
            Kind::Sync => ["SOURCE", "PATH", "CHANGED AT"],
        });
    }
    heading.push("MESSAGE");
    let rows: Vec<_> = objects.iter().map(|object| row(kind, object, shape, now)).collect();
    table::render(&heading, &rows)
}

fn row(kind: Kind, object: &DynamicObject, shape: Shape, now: Timestamp) -> Vec<String> {
    let data = &object.data;
    let short = |pointer: &str| if shape.wide { text(data, pointer) } else { short(&text(data, pointer)) };
    let mut cells = Vec::new();
    if shape.namespaces {
        cells.push(object.metadata.namespace.clone().unwrap_or_default());
    }
    cells.push(object.metadata.name.clone().unwrap_or_default());
    cells.push(condition(data, READY, "status").unwrap_or("Unknown").to_owned());
    match kind {
        Kind::Source => {
            cells.push(short("/status/revision"));
            cells.push(condition(data, EVENTS_READY, "status").unwrap_or("-").to_owned());
        }
        Kind::Sync => {
            cells.push(short("/status/lastAppliedRevision"));
            cells.push(text(data, "/status/inventory/entries"));
        }
    }
    let created = object.metadata.creation_timestamp.as_ref();
    cells.push(created.map_or_else(|| "-".to_owned(), |created| age::between(created.0, now)));
    if shape.wide {
        cells.extend(wide(kind, data, now));
    }
    cells.push(message(data, shape.wide));
    cells
}

fn wide(kind: Kind, data: &Value, now: Timestamp) -> [String; 3] {
    match kind {
        Kind::Source => {
            let names = data.pointer("/spec/ref").and_then(Value::as_object);
            let reference = names.and_then(|names| names.values().find_map(Value::as_str)).unwrap_or("-");
            let attempt = text(data, "/status/lastAttempt");
            let attempt = attempt.parse().map_or(attempt, |then| age::between(then, now) + " ago");
            [text(data, "/spec/url"), reference.to_owned(), attempt]
        }
        Kind::Sync => {
            let path = text(data, "/spec/path");
            let path = if matches!(path.as_str(), "" | "-") { "./".to_owned() } else { path };
            [text(data, "/spec/sourceRef/name"), path, text(data, "/status/lastChangedRevision")]
        }
    }
}

/// That something is suspended explains everything else, so it is said first.
fn message(data: &Value, whole: bool) -> String {
    let suspended = if data.pointer("/spec/suspend") == Some(&Value::Bool(true)) { "suspended; " } else { "" };
    let said = condition(data, READY, "message").unwrap_or("no agent has reported on it yet");
    let text = format!("{suspended}{said}");
    table::cut(&text, if whole { usize::MAX } else { MESSAGE_CHARS_MAX })
}

pub(crate) fn condition<'d>(data: &'d Value, kind: &str, field: &str) -> Option<&'d str> {
    let conditions = data.pointer("/status/conditions")?.as_array()?;
    conditions.iter().find(|condition| condition["type"] == kind)?.get(field)?.as_str()
}

fn text(data: &Value, pointer: &str) -> String {
    match data.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => "-".to_owned(),
        Some(value) => value.to_string(),
    }
}

/// `main@sha1:0123456789abcdef…` with the digits people compare.
fn short(revision: &str) -> String {
    match revision.rsplit_once(':') {
        Some((name, commit)) if commit.is_ascii() && commit.len() > COMMIT_DIGITS => {
            format!("{name}:{}", &commit[..COMMIT_DIGITS])
        }
        _ => revision.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).unwrap()
    }

    fn now() -> Timestamp {
        "2026-01-01T01:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_sync_in_a_row() {
        let ready = object(json!({
            "metadata": { "name": "apps", "namespace": "team-a", "creationTimestamp": "2026-01-01T00:00:00Z" },
            "spec": { "sourceRef": { "kind": "GitSource", "name": "fleet" }, "prune": true },
            "status": {
                "lastAppliedRevision": "main@sha1:0123456789abcdef0123456789abcdef01234567",
                "inventory": { "name": "apps", "entries": 3 },
                "conditions": [{ "type": "Ready", "status": "True", "message": "applied\nall of it" }],
            },
        }));
        let new = object(json!({ "metadata": { "name": "new", "namespace": "b" }, "spec": { "suspend": true } }));
        let shape = Shape { wide: false, namespaces: true };
        assert_eq!(
            table(Kind::Sync, &[ready.clone(), new], shape, now()),
            "\
NAMESPACE   NAME   READY     REVISION                 OBJECTS   AGE   MESSAGE
team-a      apps   True      main@sha1:0123456789ab   3         60m   applied…
b           new    Unknown   -                        -         -     suspended; no agent has reported on it yet
"
        );
        let wide = table(Kind::Sync, &[ready], Shape { wide: true, namespaces: false }, now());
        assert!(wide.contains("main@sha1:0123456789abcdef0123456789abcdef01234567   3"), "{wide}");
        assert!(wide.contains("fleet    ./"), "{wide}");
    }

    #[test]
    fn a_source_in_a_row() {
        let source = object(json!({
            "metadata": { "name": "fleet" },
            "spec": { "url": "https://git.example/org/fleet", "ref": { "tag": "v1" } },
            "status": {
                "lastAttempt": "2026-01-01T00:59:30Z",
                "conditions": [
                    { "type": "Ready", "status": "False", "message": "failed to fetch" },
                    { "type": "EventsReady", "status": "True", "message": "" },
                ],
            },
        }));
        let text = table(Kind::Source, &[source], Shape { wide: true, namespaces: false }, now());
        let row = "fleet   False   -          True     -     https://git.example/org/fleet   v1    30s ago        failed to fetch";
        assert_eq!(text.lines().nth(1), Some(row), "{text}");
    }
}
