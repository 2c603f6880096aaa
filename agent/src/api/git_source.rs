//! `GitSource`: a repository and the ref to follow.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use kube::core::Duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;
use super::verification::Verification;

/// A Git repository to follow. The agent fetches it over an outbound connection; commit events only make it look sooner.
#[derive(CustomResource, Deserialize, Serialize, Clone, Debug, JsonSchema, PartialEq)]
#[kube(
    group = "towline.dev",
    version = "v1alpha1",
    kind = "GitSource",
    namespaced,
    status = "GitSourceStatus",
    shortname = "gsrc",
    category = "towline",
    doc = "A Git repository to follow: where it is, and which ref.",
    printcolumn = r#"{"name":"URL","type":"string","jsonPath":".spec.url"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Revision","type":"string","jsonPath":".status.revision"}"#,
    printcolumn = r#"{"name":"Status","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].message","priority":1}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = schema::tags_are_verified)]
pub struct GitSourceSpec {
    /// Where the repository is: an http:// or https:// URL.
    #[schemars(length(min = 1, max = 2048), regex(pattern = r"^https?://.+$"))]
    pub url: String,
    /// The ref to follow; exactly one of its fields. Default: branch main.
    #[serde(default, rename = "ref")]
    pub reference: GitRef,
    /// How often the ref is looked at when no event asks for it sooner. Default 5m, at least 1s.
    #[serde(default = "default_interval")]
    #[schemars(transform = schema::duration)]
    pub interval: Duration,
    /// How long one fetch may take. Default 60s.
    #[serde(default = "default_timeout")]
    #[schemars(transform = schema::duration)]
    pub timeout: Duration,
    /// The Secret of this namespace with what the server asks for. Over HTTPS: `username` and `password` (a token is a password),
    /// or `bearerToken`, or `githubAppID`, `githubAppInstallationID` and `githubAppPrivateKey` (and `githubAppBaseURL` for GitHub
    /// Enterprise); besides or alone `ca.crt`, trusted besides the system's authorities, and `tls.crt` with `tls.key`, a client
    /// certificate. It is read again when it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,
    /// The Secret of this namespace with the proxy of this source: `address`, and `username` with `password` where it asks for
    /// them. Default: what the agent's environment names (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_secret_ref: Option<SecretReference>,
    /// Whose signatures are asked for. Without it every commit that the ref names is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verification>,
    /// What commit events call this repository, as host/path, where the URL is a mirror or an odd form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 1024))]
    pub event_repository: Option<String>,
    /// After an event the fetch waits a random part of this, so that a large fleet does not come to the host at once. Polls
    /// and requests by hand do not wait for it. Default 0s, at most 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = schema::spread)]
    pub wake_spread: Option<Duration>,
    /// Stops fetching; what was fetched stays in use.
    #[serde(default)]
    pub suspend: bool,
}

/// A Secret of the same namespace.
#[derive(Deserialize, Serialize, Clone, Debug, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SecretReference {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// The ref to follow. Exactly one field is set.
#[derive(Deserialize, Serialize, Clone, Debug, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = schema::one_ref)]
pub struct GitRef {
    /// A branch, as in `main`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub branch: Option<String>,
    /// A tag, as in `v1.2.3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub tag: Option<String>,
    /// The newest tag in a range of versions, as in `>=1.2.0 <2.0.0`, `1.x` or `^1.2`. Pre-releases only where the range names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub semver: Option<String>,
    /// Any ref by its full name, as in `refs/pull/1/head`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 6, max = 1024))]
    pub name: Option<String>,
}

impl Default for GitRef {
    fn default() -> Self {
        Self { branch: Some("main".to_owned()), tag: None, semver: None, name: None }
    }
}

impl GitRef {
    /// Whether exactly one field is set.
    #[must_use]
    pub fn is_one(&self) -> bool {
        [&self.branch, &self.tag, &self.semver, &self.name].into_iter().flatten().count() == 1
    }

    /// The full name of the ref, as in `refs/heads/main`; `None` of a range, and unless exactly one field is set.
    #[must_use]
    pub fn full_name(&self) -> Option<String> {
        let branch = self.branch.as_ref().map(|branch| format!("refs/heads/{branch}"));
        let tag = || self.tag.as_ref().map(|tag| format!("refs/tags/{tag}"));
        branch.or_else(tag).or_else(|| self.name.clone()).filter(|_| self.is_one())
    }

    /// How revisions name it: `main@sha1:…`. Those of a range have the name of the tag that was found.
    #[must_use]
    pub fn short_name(&self) -> &str {
        [&self.branch, &self.tag, &self.name].into_iter().flatten().next().map_or("", String::as_str)
    }
}

fn default_interval() -> Duration {
    std::time::Duration::from_secs(300).into()
}

fn default_timeout() -> Duration {
    std::time::Duration::from_secs(60).into()
}

/// What was seen of the repository.
#[derive(Deserialize, Serialize, Clone, Debug, Default, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GitSourceStatus {
    /// `Ready`, `SourceVerified`, `EventsReady`; `Reconciling` and `Stalled` while they are true.
    #[serde(default)]
    #[schemars(transform = schema::conditions)]
    pub conditions: Vec<Condition>,
    /// The generation of the spec that the rest of the status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The newest verified revision, as in `main@sha1:<40 hex digits>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Counts the revisions in the order in which the ref was seen: the order of revisions, also after a force-push.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = schema::count)]
    pub sequence: Option<u64>,
    /// When the repository was last asked, whatever the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_attempt: Option<Time>,
    /// The last commit event that arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_event: Option<LastEvent>,
    /// The newest value of `towline.dev/requested-at` that was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
}

/// What a commit event said. A hint only: the ref is always asked itself.
#[derive(Deserialize, Serialize, Clone, Debug, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct LastEvent {
    /// The commit it named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// When it arrived.
    pub at: Time,
}
