//! What the API server refuses, so that no agent has to read it: rules that the types alone do not say.
//!
//! Knows OpenAPI and CEL. Must not know what a field is for: which rule holds where stands at the field.

use schemars::Schema;
use serde_json::{Value, json};

/// A duration as Go writes it, from a second to a year. A list with one that cannot be read could not be read at all.
pub(super) fn duration(schema: &mut Schema) {
    schema.insert("pattern".into(), json!(r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"));
    // Bounds what the rule below has to look at.
    schema.insert("maxLength".into(), json!(32));
    rule(
        schema,
        "duration(self) >= duration('1s') && duration(self) <= duration('8760h')",
        "a duration is at least 1s and at most 8760h",
    );
}

/// The same, and it may be nothing; an hour is longer than any host needs for a fleet.
pub(super) fn spread(schema: &mut Schema) {
    schema.insert("pattern".into(), json!(r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"));
    schema.insert("maxLength".into(), json!(32));
    rule(schema, "duration(self) <= duration('1h')", "a spread is at most 1h");
}

/// Exactly one way to name a ref.
pub(super) fn one_ref(schema: &mut Schema) {
    let rule_text = "[has(self.branch), has(self.tag), has(self.semver), has(self.name)].exists_one(set, set)";
    rule(schema, rule_text, "set exactly one of branch, tag, semver and name");
}

/// Tags can be verified only where a tag is followed.
pub(super) fn tags_are_verified(schema: &mut Schema) {
    let rule_text = "!has(self.verify) || !has(self.verify.mode) || self.verify.mode == 'HEAD' || (has(self.ref) && (has(self.ref.tag) || has(self.ref.semver)))";
    rule(schema, rule_text, "verify.mode Tag and TagAndHEAD need ref.tag or ref.semver");
}

/// A path that stays inside the repository.
pub(super) fn path(schema: &mut Schema) {
    let rule_text = "!self.startsWith('/') && !self.split('/').exists(part, part == '..')";
    rule(
        schema,
        rule_text,
        "a path begins at the repository's root and does not leave it: neither / at its start nor ..",
    );
}

/// A number, or a percentage.
pub(super) fn count_or_percentage(schema: &mut Schema) {
    schema.insert("minimum".into(), json!(0));
    schema.insert("pattern".into(), json!("^([0-9]|[1-9][0-9]|100)%$"));
}

/// Each element once; two managers may each add theirs.
pub(super) fn set(schema: &mut Schema) {
    schema.insert("x-kubernetes-list-type".into(), json!("set"));
}

/// One condition of each type.
pub(super) fn conditions(schema: &mut Schema) {
    schema.insert("x-kubernetes-list-type".into(), json!("map"));
    schema.insert("x-kubernetes-list-map-keys".into(), json!(["type"]));
}

/// The API server knows the formats int32 and int64, and warns of others.
pub(super) fn count(schema: &mut Schema) {
    schema.insert("format".into(), json!("int64"));
}

fn rule(schema: &mut Schema, rule: &str, message: &str) {
    schema.insert("x-kubernetes-validations".into(), Value::Array(vec![json!({ "rule": rule, "message": message })]));
}
