//! Keeps the values of Secrets out of what is printed. Knows where a Secret keeps them; must not know why it is printed.

use serde_json::Value;

/// What stands in place of a value.
const MASK: &str = "***";

/// kubectl writes the whole object, values too, into this annotation.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Masks the values of a Secret, and leaves every other object as it is. The keys stay: they are names.
pub(crate) fn secret(object: &mut Value) {
    if object["apiVersion"] != "v1" || object["kind"] != "Secret" {
        return;
    }
    for field in ["data", "stringData"] {
        match object.get_mut(field) {
            Some(Value::Object(values)) => values.values_mut().for_each(|value| *value = Value::from(MASK)),
            Some(value) if !value.is_null() => *value = Value::from(MASK),
            Some(_) | None => {}
        }
    }
    if let Some(copy) = object.pointer_mut("/metadata/annotations").and_then(|all| all.get_mut(LAST_APPLIED)) {
        *copy = Value::from(MASK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_go_and_keys_stay() {
        let mut object = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": { "name": "s", "annotations": { LAST_APPLIED: "hunter2", "team": "a" } },
            "data": { "a": "aHVudGVyMg==", "n": 2 }, "stringData": "hunter2",
        });
        secret(&mut object);
        assert_eq!(object["data"], json!({ "a": "***", "n": "***" }));
        assert_eq!(object["metadata"]["annotations"]["team"], "a");
        assert!(!object.to_string().contains("hunter2"));
    }

    #[test]
    fn other_kinds_are_left_alone() {
        let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": { "a": "b" } });
        let mut same = map.clone();
        secret(&mut same);
        assert_eq!(same, map);
    }
}
