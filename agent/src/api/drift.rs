//! `driftDetection` of a Sync: what follows from drift, and which fields are left to others.
//!
//! Knows the shape only. What a rule means is read by `towline_plan::ignore`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use towline_plan::decide::OnDrift;
use towline_plan::ignore::{RuleText, TargetText};

/// What follows when something in the cluster is not as Git says, though Git did not change.
#[derive(Deserialize, Serialize, Clone, Debug, Default, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DriftDetection {
    /// `enabled` puts it back; `warn` says so and leaves it; `disabled` does not look. Default enabled.
    #[serde(default, skip_serializing_if = "DriftMode::is_default")]
    pub mode: DriftMode,
    /// Fields that are left to others once an object exists: they are applied on creation, and never again. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub ignore: Vec<IgnoreRule>,
}

impl DriftDetection {
    /// The rules in the words of `plan`.
    #[must_use]
    pub fn rules(&self) -> Vec<RuleText> {
        let text = |rule: &IgnoreRule| RuleText { paths: rule.paths.clone(), target: rule.target.as_ref().map(target) };
        self.ignore.iter().map(text).collect()
    }
}

/// What follows from drift.
#[derive(Deserialize, Serialize, Clone, Copy, Debug, Default, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum DriftMode {
    /// It is put back at once.
    #[default]
    Enabled,
    /// It is reported, and left.
    Warn,
    /// Nobody looks for it.
    Disabled,
}

impl DriftMode {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl From<DriftMode> for OnDrift {
    fn from(mode: DriftMode) -> Self {
        match mode {
            DriftMode::Enabled => Self::Revert,
            DriftMode::Warn => Self::Warn,
            DriftMode::Disabled => Self::Disregard,
        }
    }
}

/// Fields of some objects that are left to others.
#[derive(Deserialize, Serialize, Clone, Debug, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct IgnoreRule {
    /// JSON pointers (RFC 6901) into an object as Git has it: `/spec/replicas`. An index counts in Git's list; in the cluster,
    /// the element is found by what the API server tells elements apart by.
    #[schemars(length(min = 1, max = 50), inner(length(min = 1, max = 512), regex(pattern = r"^/([^~]|~[01])*$")))]
    pub paths: Vec<String>,
    /// Which objects. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<IgnoreTarget>,
}

/// The objects that all of this fits; what is left out or empty fits any. Group, version, kind, name and namespace are regular
/// expressions over the whole word.
#[derive(Deserialize, Serialize, Clone, Debug, Default, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct IgnoreTarget {
    /// Of the API: `apps`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub group: String,
    /// Of the API, as Git has it: `v1`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub version: String,
    /// As Git has it: `Deployment`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub kind: String,
    /// Of the object.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub name: String,
    /// Where the object is applied, `targetNamespace` included.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub namespace: String,
    /// Over the labels Git gives it: `app=web,tier in (a,b),!canary`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub label_selector: String,
    /// The same over its annotations.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub annotation_selector: String,
}

fn target(target: &IgnoreTarget) -> TargetText {
    let IgnoreTarget { group, version, kind, name, namespace, label_selector, annotation_selector } = target.clone();
    TargetText { group, version, kind, name, namespace, label_selector, annotation_selector }
}
