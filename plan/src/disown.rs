//! Letting go of fields without touching them: what the API server records as Towline's is less by what is left to others.
//!
//! A field that an apply leaves out is reset if the record says that it was Towline's alone. So the record is changed first.
//! Knows field managers and how the API server records fields. Must not know rules, or when this is done.

use serde_json::{Map, Value, json};

use crate::observed::FIELD_MANAGER;
use crate::pointer::{self, Pointer};

/// A place inside of a list or mapping that the API server keeps as one value: to leave it out would change the rest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "driftDetection.ignore names {path}, and the API server knows {whole} as one value only: ignore {whole} or nothing of it"
)]
pub struct InWhole {
    path: String,
    whole: String,
}

/// The merge patch that lets go of these places, given an object's metadata and what Git wants of it; `None`: they are not
/// held. It carries uid and resourceVersion: of an object that changed since, the API server refuses it.
///
/// # Errors
/// A place cannot be left out.
pub fn disown(metadata: &Value, wanted: &Value, places: &[Pointer]) -> Result<Option<Value>, InWhole> {
    let mut entries = metadata["managedFields"].as_array().cloned().unwrap_or_default();
    for place in places.iter().filter(|place| place.of(wanted).is_some()) {
        in_whole(&entries, wanted, place)?;
    }
    let mut is_less = false;
    for fields in entries.iter_mut().filter(|e| is_own(e)).filter_map(|e| e["fieldsV1"].as_object_mut()) {
        for place in places {
            is_less |= remove(fields, Some(wanted), place.tokens(), pointer::is_marks(place.tokens()));
        }
    }
    let patch = || json!({ "metadata": { "uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"], "managedFields": entries } });
    Ok(is_less.then(patch))
}

fn is_own(entry: &Value) -> bool {
    entry["manager"] == FIELD_MANAGER && entry["operation"] == "Apply" && is_of_object(entry)
}

fn is_of_object(entry: &Value) -> bool {
    entry["subresource"].as_str().unwrap_or_default().is_empty()
}

/// Whether all who own something on the way to a place own a value that the place is inside of.
fn in_whole(entries: &[Value], wanted: &Value, place: &Pointer) -> Result<(), InWhole> {
    let tokens = place.tokens();
    for depth in 1..tokens.len() {
        let at = |entry: &Value| follow(&entry["fieldsV1"], wanted, &tokens[..depth]).map(Map::is_empty);
        let mut ways = entries.iter().filter(|entry| is_of_object(entry)).filter_map(at).peekable();
        // Nobody owns anything so far down.
        if ways.peek().is_none() {
            return Ok(());
        }
        if ways.all(|is_value| is_value) {
            let whole =
                tokens[..depth].iter().map(|t| format!("/{}", t.replace('~', "~0").replace('/', "~1"))).collect();
            return Err(InWhole { path: place.to_string(), whole });
        }
    }
    Ok(())
}

fn follow<'f>(fields: &'f Value, wanted: &Value, tokens: &[String]) -> Option<&'f Map<String, Value>> {
    let (mut fields, mut wanted) = (fields.as_object()?, wanted);
    for token in tokens {
        fields = fields.get(&key(fields, Some(wanted), token)?)?.as_object()?;
        wanted = pointer::child(wanted, token)?;
    }
    Some(fields)
}

/// How the record names what a token names: by its field, or by what tells an element from the others of its list.
fn key(fields: &Map<String, Value>, wanted: Option<&Value>, token: &str) -> Option<String> {
    let Some(list @ Value::Array(_)) = wanted else { return Some(format!("f:{token}")) };
    let item = pointer::child(list, token)?;
    let is_it = |key: &&String| match key.split_once(':') {
        Some(("k", names)) => serde_json::from_str::<Map<String, Value>>(names)
            // What Git leaves to a default cannot be told from this side.
            .is_ok_and(|names| {
                names.iter().all(|(name, value)| item.get(name).is_none_or(|own| own == value))
                    && names.keys().any(|name| item.get(name).is_some())
            }),
        Some(("v", value)) => serde_json::from_str::<Value>(value).is_ok_and(|value| value == *item),
        Some(("i", index)) => index == token,
        _ => false,
    };
    fields.keys().find(is_it).cloned()
}

/// Answers whether anything was held there.
fn remove(fields: &mut Map<String, Value>, wanted: Option<&Value>, tokens: &[String], keeps_own: bool) -> bool {
    let Some((token, rest)) = tokens.split_first() else { return false };
    let Some(key) = key(fields, wanted, token) else { return false };
    let Some(inner) = fields.get_mut(&key).and_then(Value::as_object_mut) else { return false };
    let is_less = match (rest.is_empty(), keeps_own) {
        (true, false) => {
            fields.remove(&key);
            return true;
        }
        (true, true) => {
            let before = inner.len();
            inner.retain(|name, _| name.strip_prefix("f:").is_some_and(pointer::is_own_mark));
            before > inner.len()
        }
        (false, _) => remove(inner, wanted.and_then(|wanted| pointer::child(wanted, token)), rest, keeps_own),
    };
    if is_less && inner.is_empty() {
        fields.remove(&key);
    }
    is_less
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Value {
        json!({
            "f:metadata": {"f:labels": {"f:towline.dev/sync-name": {}, "f:app": {}}},
            "f:spec": {"f:replicas": {}, "f:template": {"f:spec": {
                "f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:name": {}, "f:args": {}, "f:resources": {"f:limits": {"f:cpu": {}}},
                    "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}}},
                "f:tolerations": {},
            }}},
        })
    }

    fn wanted() -> Value {
        json!({
            "metadata": {"labels": {"towline.dev/sync-name": "s", "app": "x"}},
            "spec": {"replicas": 1, "template": {"spec": {
                "containers": [{"name": "b"}, {"name": "a", "args": ["x", "y"], "resources": {"limits": {"cpu": 1}}, "ports": [{"containerPort": 80}]}],
                "tolerations": [{"key": "x"}],
            }}},
        })
    }

    /// The record of an object that Towline applied and another wrote the scale of.
    fn metadata() -> Value {
        let entry =
            |manager: &str, fields: Value| json!({"manager": manager, "operation": "Apply", "fieldsV1": fields});
        let mut scale = entry("towline", json!({"f:spec": {"f:replicas": {}}}));
        scale["subresource"] = json!("scale");
        json!({"uid": "u", "resourceVersion": "7", "managedFields": [entry("towline", fields()), scale, entry("other", json!({}))]})
    }

    fn without(path: &str) -> Value {
        let places = [Pointer::parse(path).unwrap()];
        match disown(&metadata(), &wanted(), &places).unwrap() {
            None => Value::Null,
            Some(patch) => patch["metadata"]["managedFields"][0]["fieldsV1"].clone(),
        }
    }

    #[test]
    fn what_is_held_is_let_go_of_and_nothing_else() {
        let mut less = fields();
        less["f:spec"].as_object_mut().unwrap().remove("f:replicas");
        assert_eq!(without("/spec/replicas"), less);
        let mut less = fields();
        let containers =
            |less: &mut Value| less["f:spec"]["f:template"]["f:spec"]["f:containers"]["k:{\"name\":\"a\"}"].take();
        let mut item = containers(&mut less);
        item.as_object_mut().unwrap().remove("f:resources");
        less["f:spec"]["f:template"]["f:spec"]["f:containers"]["k:{\"name\":\"a\"}"] = item;
        assert_eq!(
            without("/spec/template/spec/containers/1/resources/limits/cpu"),
            less,
            "by its name, not by its place"
        );
        assert_eq!(without("/spec/template/spec/containers/0/resources"), Value::Null);
        assert_eq!(without("/spec/paused"), Value::Null);
        let port = without("/spec/template/spec/containers/1/ports/0");
        assert!(!port.is_null() && !port.to_string().contains("containerPort"), "its protocol is a default");
        assert_eq!(without("/metadata/labels")["f:metadata"]["f:labels"], json!({"f:towline.dev/sync-name": {}}));
        let whole = without("/spec/template/spec/tolerations");
        assert!(!whole.is_null() && !whole.to_string().contains("tolerations"));
    }

    #[test]
    fn it_is_meant_for_the_very_object_that_was_seen() {
        let patch = disown(&metadata(), &wanted(), &[Pointer::parse("/spec/replicas").unwrap()]).unwrap().unwrap();
        assert_eq!((&patch["metadata"]["uid"], &patch["metadata"]["resourceVersion"]), (&json!("u"), &json!("7")));
        assert_eq!(patch["metadata"]["managedFields"][1], metadata()["managedFields"][1], "a subresource's");
    }

    #[test]
    fn no_part_of_one_value_can_be_left_out() {
        for (path, whole) in [
            ("/spec/template/spec/tolerations/0", "/spec/template/spec/tolerations"),
            ("/spec/template/spec/containers/1/args/1", "/spec/template/spec/containers/1/args"),
        ] {
            let told = disown(&metadata(), &wanted(), &[Pointer::parse(path).unwrap()]).unwrap_err();
            assert_eq!(told, InWhole { path: path.into(), whole: whole.into() });
        }
        assert_eq!(without("/spec/template/spec/tolerations/5"), Value::Null, "Git has none there");
    }
}
