//! Takes secret values out of text that others wrote: API servers and webhooks echo what they refuse (invariant 7).
//!
//! Knows every value of the Secrets of a pass, plain, as base64 and as JSON escapes it. Must not know where a text goes.

use std::collections::BTreeSet;

use aho_corasick::AhoCorasick;
use data_encoding::{BASE64, Encoding, Specification};
use serde_json::Value;

use crate::desired::Desired;

const MASK: &str = "***";
/// Shorter values stand in every text by chance; masking them would say more than it hides.
const VALUE_BYTES_MIN: usize = 4;

/// Masks the secret values of one pass.
#[derive(Default)]
pub struct Redactor {
    /// All values in one automaton: a text is read once, however many there are. `None`: there is none to mask.
    values: Option<AhoCorasick>,
    /// Secrets whose values are known and can all be masked: what is said of any other Secret is not shown.
    maskable: BTreeSet<String>,
    /// The automaton could not be built: nothing is known for sure.
    blind: bool,
}

impl Redactor {
    /// Knows the Secrets among the desired objects.
    #[must_use]
    pub fn new(desired: &[Desired]) -> Self {
        let (mut values, mut all_maskable) = (BTreeSet::new(), BTreeSet::new());
        for object in desired.iter().filter(|d| d.id.kind.is("", "Secret")) {
            let mut maskable = true;
            for (field, encoded) in [("data", true), ("stringData", false)] {
                // What is no mapping of strings is refused, and how the server words that is up to it.
                maskable &= object.value[field].as_object().is_none_or(|map| map.values().all(Value::is_string));
                maskable &= matches!(object.value[field], Value::Object(_) | Value::Null);
                for value in leaves(&object.value[field]) {
                    maskable &= learn(value, encoded, &mut values);
                }
            }
            if maskable {
                all_maskable.insert(object.id.to_string());
            }
        }
        let automaton = (!values.is_empty()).then(|| AhoCorasick::new(&values)).transpose();
        let (values, blind) = automaton.map_or((None, true), |automaton| (automaton, false));
        Self { values, maskable: all_maskable, blind }
    }

    /// The text without secret values; `about` names the object it is about.
    #[must_use]
    pub fn clean(&self, about: &str, text: &str) -> String {
        if self.blind || (about.starts_with("Secret/") && !self.maskable.contains(about)) {
            return "the API server's words are withheld: the Secret holds a value that is not known here, is no text, or \
                    is too short to mask in them"
                .to_owned();
        }
        let Some(values) = &self.values else { return text.to_owned() };
        // One value may lie within another, or begin where another has not ended: of neither may anything stay.
        let mut masked: Vec<(usize, usize)> = Vec::new();
        for found in values.find_overlapping_iter(text) {
            let (mut start, end) = (found.start(), found.end());
            while let Some((before, _)) = masked.pop_if(|(_, until)| *until > start) {
                start = start.min(before);
            }
            masked.push((start, end));
        }
        let mut clean = String::with_capacity(text.len());
        let mut shown = 0;
        for (start, end) in masked {
            clean.push_str(&text[shown..start]);
            clean.push_str(MASK);
            shown = end;
        }
        clean + &text[shown..]
    }
}

/// Learns one value in all its forms; `false` if it is too short to be masked.
fn learn(value: &Value, encoded: bool, values: &mut BTreeSet<String>) -> bool {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let plain = match encoded.then(|| decoded(&text)) {
        Some(Some(bytes)) => String::from_utf8(bytes).ok(),
        Some(None) | None => Some(text.clone()),
    };
    let short = plain.as_ref().is_some_and(|p| !p.is_empty() && p.len() < VALUE_BYTES_MIN);
    // Of several lines, messages may quote one. Of encoded text, the server shows what it keeps: one line.
    let mut forms: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    forms.push(text.split_whitespace().collect());
    forms.push(text);
    if let Some(plain) = plain {
        forms.push(escaped(&plain));
        forms.push(escaped_by_go(&plain));
        forms.push(BASE64.encode(plain.as_bytes()));
        forms.extend(plain.lines().map(|line| line.trim().to_owned()));
        forms.push(plain);
    }
    values.extend(forms.into_iter().filter(|form| form.len() >= VALUE_BYTES_MIN));
    !short
}

/// As Go's decoder reads it: line breaks do not count, nor what is left over in the last character.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut lenient: Specification = BASE64.specification();
    lenient.ignore = "\r\n".to_owned();
    lenient.check_trailing_bits = false;
    let encoding: Encoding = lenient.encoding().ok()?;
    encoding.decode(text.as_bytes()).ok()
}

fn escaped(plain: &str) -> String {
    let json = Value::from(plain).to_string();
    json.get(1..json.len() - 1).unwrap_or_default().to_owned()
}

/// Go's JSON is made to stand in HTML.
fn escaped_by_go(plain: &str) -> String {
    let html = [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026"), ('\u{2028}', "\\u2028"), ('\u{2029}', "\\u2029")];
    html.iter().fold(escaped(plain), |text, (plain, escape)| text.replace(*plain, escape))
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

    /// A block scalar, a folded certificate, bits that a canonical encoder would not leave over; and Go's own escapes.
    #[test]
    fn values_are_known_as_the_server_reads_and_writes_them() {
        let redactor = Redactor::new(&[secret(
            "s",
            json!({"data": {"a": "aHVudGVyMg==\n", "b": "c2VjcmV0\nLXZhbHVl\n", "c": "d29yZHM5"}, "stringData": {"d": "a<b&long"}}),
        )]);
        for text in ["hunter2", "aHVudGVyMg==", "secret-value", "c2VjcmV0LXZhbHVl", "LXZhbHVl", "a\\u003cb\\u0026long"]
        {
            assert_eq!(redactor.clean("Secret/s", &format!("is {text}.")), "is ***.", "{text}");
        }
        let left_over = Redactor::new(&[secret("s", json!({"data": {"a": "aHVudGVyMh=="}}))]);
        assert_eq!(left_over.clean("Secret/s", "hunter2"), MASK);
        let short = Redactor::new(&[secret("s", json!({"data": {"pin": "MTI=\n"}}))]);
        assert!(short.clean("Secret/s", "invalid: 12").contains("withheld"));
    }

    #[test]
    fn of_values_that_overlap_nothing_stays() {
        let redactor =
            Redactor::new(&[secret("s", json!({"stringData": {"a": "abcdef", "b": "defghi", "c": "bcde"}}))]);
        assert_eq!(redactor.clean("Secret/s", "x abcdefghi y abcde z"), "x *** y a*** z");
    }

    /// A Secret that Git no longer has is deleted, and a webhook that refuses that may quote it.
    #[test]
    fn what_is_said_of_a_secret_that_is_not_known_is_withheld() {
        let redactor = Redactor::new(&[secret("s", json!({"stringData": {"a": "value"}}))]);
        assert!(redactor.clean("Secret/apps/other", "old-password").contains("withheld"));
        assert!(Redactor::default().clean("Secret/s", "old-password").contains("withheld"));
        assert_eq!(Redactor::default().clean("ConfigMap/s", "spec.x: required"), "spec.x: required");
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
