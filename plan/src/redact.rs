//! Takes secret values out of text that others wrote: API servers and webhooks echo what they refuse (invariant 7).
//!
//! Knows every value of the Secrets of a pass, plain, as base64 and as JSON escapes it. Must not know where a text goes.

use serde_json::Value;

use crate::desired::Desired;

const MASK: &str = "***";
/// Shorter values stand in every text by chance; masking them would say more than it hides.
const VALUE_BYTES_MIN: usize = 4;

/// Masks the secret values of one pass.
#[derive(Default)]
pub struct Redactor {
    /// Longest first, so that a value within another does not leave the rest of it.
    values: Vec<String>,
    /// Secrets that hold a value that cannot be masked for sure: no text about them is shown.
    withheld: Vec<String>,
}

impl Redactor {
    /// Knows the Secrets among the desired objects.
    #[must_use]
    pub fn new(desired: &[Desired]) -> Self {
        let mut redactor = Self::default();
        for object in desired.iter().filter(|d| d.id.kind.is("", "Secret")) {
            for (field, encoded) in [("data", true), ("stringData", false)] {
                // What is no mapping of strings is refused, and how the server words that is up to it.
                let mut maskable = object.value[field].as_object().is_none_or(|map| map.values().all(Value::is_string));
                maskable &= matches!(object.value[field], Value::Object(_) | Value::Null);
                for value in leaves(&object.value[field]) {
                    maskable &= redactor.learn(value, encoded);
                }
                if !maskable {
                    redactor.withheld.push(object.id.to_string());
                }
            }
        }
        redactor.values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        redactor.values.dedup();
        redactor
    }

    /// Learns one value; `false` if it is too short to be masked.
    fn learn(&mut self, value: &Value, encoded: bool) -> bool {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let base64 = &data_encoding::BASE64;
        let plain = match encoded.then(|| base64.decode(text.as_bytes())) {
            Some(Ok(bytes)) => String::from_utf8(bytes).ok(),
            Some(Err(_)) | None => Some(text.clone()),
        };
        let short = plain.as_ref().is_some_and(|p| !p.is_empty() && p.len() < VALUE_BYTES_MIN);
        let mut forms = vec![text];
        if let Some(plain) = plain {
            let escaped = Value::from(plain.as_str()).to_string();
            forms.push(escaped.trim_matches('"').to_owned());
            forms.push(base64.encode(plain.as_bytes()));
            // Messages quote one line of a value of several.
            forms.extend(plain.lines().map(|line| line.trim().to_owned()));
            forms.push(plain);
        }
        self.values.extend(forms.into_iter().filter(|form| form.len() >= VALUE_BYTES_MIN));
        !short
    }

    /// The text without secret values; `about` names the object it is about.
    #[must_use]
    pub fn clean(&self, about: &str, text: &str) -> String {
        if self.withheld.iter().any(|name| name == about) {
            return "the API server's words are withheld: the Secret holds a value that is no text, or too short to mask \
                    in them"
                .to_owned();
        }
        self.values.iter().fold(text.to_owned(), |text, value| match text.contains(value.as_str()) {
            true => text.replace(value.as_str(), MASK),
            false => text,
        })
    }
}

/// Numbers and strings at any depth: `true` and `false` stand in every text by chance.
fn leaves(value: &Value) -> Vec<&Value> {
    match value {
        Value::Null | Value::Bool(_) => Vec::new(),
        Value::Array(items) => items.iter().flat_map(leaves).collect(),
        Value::Object(map) => map.values().flat_map(leaves).collect(),
        Value::Number(_) | Value::String(_) => vec![value],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{GroupKind, ObjectId, Origin};
    use serde_json::json;

    fn secret(name: &str, value: Value) -> Desired {
        Desired {
            id: ObjectId { kind: GroupKind::new("", "Secret"), namespace: None, name: name.into() },
            version: "v1".into(),
            value,
            digest: String::new(),
            origin: Origin { path: String::new(), line: 1 },
            policy: Default::default(),
            awaits_definition: false,
            namespace_in_set: false,
            ignored: Default::default(),
        }
    }

    #[test]
    fn values_are_masked_in_every_form() {
        let redactor =
            Redactor::new(&[secret("s", json!({"data": {"a": "aHVudGVyMg=="}, "stringData": {"b": "pa\"ss\nword"}}))]);
        for text in ["hunter2", "aHVudGVyMg==", "pa\\\"ss\\nword", "said word!"] {
            let clean = redactor.clean("Secret/s", &format!("invalid: {text} is"));
            assert!(clean.contains(MASK) && !clean.contains(text), "{clean}");
        }
        assert_eq!(redactor.clean("Secret/s", "spec.x: required"), "spec.x: required");
    }

    #[test]
    fn a_short_value_withholds_the_text_about_its_secret_only() {
        let redactor = Redactor::new(&[secret("s", json!({"stringData": {"pin": "12"}}))]);
        assert!(redactor.clean("Secret/s", "invalid: 12").contains("withheld"));
        assert_eq!(redactor.clean("ConfigMap/c", "line 12"), "line 12");
    }

    #[test]
    fn what_is_not_base64_is_masked_as_it_stands() {
        let redactor = Redactor::new(&[secret("s", json!({"data": {"a": "not base64!"}}))]);
        assert_eq!(redactor.clean("Secret/s", "illegal base64 in not base64!"), "illegal base64 in ***");
    }

    /// The server shows such values in its own way: `1.5e+06`, `map[inner:x]`, `&{whole field}`.
    #[test]
    fn what_is_no_text_withholds_what_is_said_of_its_secret_and_is_masked_elsewhere() {
        for fields in [
            json!({"data": {"n": 1_500_000}}),
            json!({"stringData": {"a": {"inner": ["value"]}}}),
            json!({"stringData": "value"}),
        ] {
            let redactor = Redactor::new(&[secret("s", fields)]);
            assert!(redactor.clean("Secret/s", "got &{value}").contains("withheld"));
            let elsewhere = redactor.clean("ConfigMap/c", "value or 1500000");
            assert!(elsewhere.contains(MASK), "{elsewhere}");
        }
    }
}
