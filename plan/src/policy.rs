//! What a manifest says of how it is to be applied: `towline.dev/reconcile`, `towline.dev/ssa` and `towline.dev/force`.
//!
//! Knows annotations and their values. Must not know what is done about them.

use serde_json::Value;

use crate::letting::ANNOTATION_RECONCILE;

/// On an object: how it is applied.
pub const ANNOTATION_SSA: &str = "towline.dev/ssa";
/// On an object: `enabled` lets it be deleted and created anew where its fields cannot be changed.
pub const ANNOTATION_FORCE: &str = "towline.dev/force";

/// How an object is applied, in Flux's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ssa {
    /// As Git says; what people and other tools set on it before is taken over when it is adopted.
    #[default]
    Override,
    /// As Git says, and what others set beside it stays, from the first day.
    Merge,
    /// Only where it does not exist.
    IfNotPresent,
    /// Not at all.
    Ignore,
}

/// What a manifest asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    pub ssa: Ssa,
    pub force: bool,
}

impl Policy {
    /// Reads a manifest's annotations. Upper and lower case count the same, as in Flux.
    ///
    /// # Errors
    /// A value that means nothing: taken for the default, it would be a silent change.
    pub fn of(manifest: &Value) -> Result<Self, String> {
        let reconciled = match annotation(manifest, ANNOTATION_RECONCILE).as_deref() {
            None | Some("enabled") => true,
            Some("disabled") => false,
            Some(_) => return Err(unknown(manifest, ANNOTATION_RECONCILE, "enabled or disabled")),
        };
        let ssa = match annotation(manifest, ANNOTATION_SSA).as_deref() {
            _ if !reconciled => Ssa::Ignore,
            None | Some("override") => Ssa::Override,
            Some("merge") => Ssa::Merge,
            Some("ifnotpresent") => Ssa::IfNotPresent,
            Some("ignore") => Ssa::Ignore,
            Some(_) => return Err(unknown(manifest, ANNOTATION_SSA, "Override, Merge, IfNotPresent or Ignore")),
        };
        let force = match annotation(manifest, ANNOTATION_FORCE).as_deref() {
            None | Some("disabled") => false,
            Some("enabled") => true,
            Some(_) => return Err(unknown(manifest, ANNOTATION_FORCE, "enabled or disabled")),
        };
        Ok(Self { ssa, force })
    }
}

fn annotation(manifest: &Value, name: &str) -> Option<String> {
    let value = manifest["metadata"]["annotations"].get(name)?;
    Some(value.as_str().map_or_else(|| value.to_string(), str::to_lowercase))
}

fn unknown(manifest: &Value, name: &str, known: &str) -> String {
    let value = &manifest["metadata"]["annotations"][name];
    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    format!("{name} is {value:?}: write {known}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_read_in_any_case_and_unknown_ones_are_mistakes() {
        let of = |name: &str, value: Value| Policy::of(&json!({"metadata": {"annotations": {name: value}}}));
        assert_eq!(of("other", json!("x")), Ok(Policy::default()));
        assert_eq!(of(ANNOTATION_SSA, json!("ifnotpresent")).unwrap().ssa, Ssa::IfNotPresent);
        assert_eq!(of(ANNOTATION_SSA, json!("Merge")).unwrap().ssa, Ssa::Merge);
        assert!(of(ANNOTATION_FORCE, json!("Enabled")).unwrap().force);
        let told = of(ANNOTATION_SSA, json!("Overwrite")).unwrap_err();
        assert!(told.contains("towline.dev/ssa is \"Overwrite\"") && told.contains("IfNotPresent"), "{told}");
        assert!(of(ANNOTATION_FORCE, json!(true)).unwrap_err().contains("enabled or disabled"));
        assert_eq!(of(ANNOTATION_RECONCILE, json!("Disabled")).unwrap().ssa, Ssa::Ignore);
        assert_eq!(of(ANNOTATION_RECONCILE, json!("enabled")), Ok(Policy::default()));
        // Taken for nothing, the object would be created.
        assert!(of(ANNOTATION_RECONCILE, json!("disable")).unwrap_err().contains("enabled or disabled"));
    }
}
