//! `spec.verify` of a `GitSource`: whose signatures are asked for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::git_source::SecretReference;
use super::schema;

/// Whose signatures a commit or tag needs before anything is taken from it.
#[derive(Deserialize, Serialize, Clone, Debug, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// What has to be signed: `HEAD`, the commit; `Tag`, the annotated tag that `ref.tag` names; `TagAndHEAD`, both. Default `HEAD`.
    #[serde(default)]
    pub mode: VerificationMode,
    /// The Secret with the public keys, in the source's namespace: OpenPGP in entries `*.asc`, SSH in `*.sshpub` (public keys
    /// or lines of an `allowed_signers` file).
    pub secret_ref: SecretReference,
    /// Who may change what; at most 16. Paths of none of them may be changed with every key of the Secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub signers: Vec<PathSigners>,
}

/// What has to be signed.
#[derive(Deserialize, Serialize, Clone, Copy, Debug, Default, JsonSchema, PartialEq, Eq)]
pub enum VerificationMode {
    #[default]
    #[serde(rename = "HEAD")]
    Head,
    Tag,
    #[serde(rename = "TagAndHEAD")]
    TagAndHead,
}

/// Who may change what is at or below some paths.
#[derive(Deserialize, Serialize, Clone, Debug, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PathSigners {
    /// Files or folders from the repository's root, as in `clusters/prod`; `.` is all of it. 1 to 16.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 255), regex(pattern = r"^[^/]")))]
    pub paths: Vec<String>,
    /// Entries of the Secret, as in `alice.asc`: a key in one of them has to have signed. 1 to 32.
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 253)))]
    #[schemars(transform = schema::set)]
    pub keys: Vec<String>,
}
