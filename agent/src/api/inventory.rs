//! `Inventory`: what a Sync owns, written before it is created.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// What a Sync owns; one per Sync, with its name. Written by the agent only.
#[derive(CustomResource, Deserialize, Serialize, Clone, Debug, JsonSchema, PartialEq, Eq)]
#[kube(
    group = "towline.dev",
    version = "v1alpha1",
    kind = "Inventory",
    plural = "inventories",
    namespaced,
    category = "towline",
    doc = "What a Sync owns: one per Sync, with its name, written by the agent only.",
    printcolumn = r#"{"name":"Revision","type":"string","jsonPath":".spec.read.revision"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct InventorySpec {
    /// The Sync this belongs to; another one's inventory is foreign and never believed.
    pub sync_uid: String,
    /// One line per object: `<namespace>_<name>_<group>_<Kind> <version> <uid|-> <desired hash|-> <claimed at, Unix seconds> <state>`.
    pub entries: Vec<String>,
    /// Over the entries: tells a truncated or edited inventory from a whole one.
    pub digest: String,
    /// Set while the inventory was rebuilt and nobody has accepted it: nothing is pruned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebuilt: Option<String>,
    /// At which revision these are the claims, where `read` does not tell: other Syncs of the source wait for that before
    /// they prune at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged: Option<InventoryJudged>,
    /// One line per Sync among what the Sync wants: `<namespace>/<name> <source's namespace>/<source> <settings>`. Other Syncs
    /// of these sources wait until that Sync is there with these settings, and says what it claims, before they prune.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub brings: Vec<String>,
    /// What was read at the last pass that succeeded; absent until one has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<InventoryRead>,
}

/// What a pass read, by Git's object ids: the same ids and settings need no new pass.
#[derive(Deserialize, Serialize, Clone, Debug, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct InventoryRead {
    /// The revision of that pass.
    pub revision: String,
    /// The source's count at it.
    #[schemars(transform = schema::count)]
    pub sequence: u64,
    /// Path to object id; null where the path did not exist.
    pub paths: BTreeMap<String, Option<String>>,
    /// Over the Sync's settings that change what is rendered.
    pub settings: String,
}

/// A revision at which it is known what a Sync claims.
#[derive(Deserialize, Serialize, Clone, Debug, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct InventoryJudged {
    /// The source's count at it.
    #[schemars(transform = schema::count)]
    pub sequence: u64,
    /// Over the Sync's settings that change what is rendered.
    pub settings: String,
}
