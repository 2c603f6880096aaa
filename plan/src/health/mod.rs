//! Whether a live object is what its spec asks for, as kstatus sees it, with a reason in words.
//!
//! ```text
//! object ─generic─▶ deleted? observed? Reconciling? Stalled? ─else─▶ the rule of its kind ─none─▶ Ready?
//! ```
//!
//! Knows what controllers write into a status. Must not know which objects are waited for, nor what follows from a judgement.
//! Where this differs from kstatus, the rule says so; `docs/guide.md` lists it.

mod cluster;
mod generic;
mod jobs;
mod network;
mod pod;
mod pods;
mod policy;
mod ready;
mod rule;
mod rules;
mod status;
mod storage;
mod workloads;

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::object::{GroupKind, group_version};
pub use pods::{PodSelector, judge_pods, selector_of};
pub use ready::ReadyExpr;
use rule::Rule;
pub use rules::{HealthExprs, HealthRules, RuleError};

/// How far an object is. The words are those of kstatus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Status {
    /// As its spec asks.
    Current,
    /// On its way, as far as can be seen; waiting may help.
    InProgress,
    /// Waiting does not help.
    Failed,
    /// Being deleted.
    Terminating,
    /// It cannot be told.
    Unknown,
}

impl Status {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Current => "Current",
            Self::InProgress => "InProgress",
            Self::Failed => "Failed",
            Self::Terminating => "Terminating",
            Self::Unknown => "Unknown",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The judgement of one object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Health {
    pub status: Status,
    /// One word: ours, kstatus's, or that of the object's own condition, cut to [`REASON_CHARS_MAX`].
    pub reason: Cow<'static, str>,
    /// For people, one line: `1 of 3 replicas available`. Text of the object's own conditions may be in it, cut to
    /// [`MESSAGE_CHARS_MAX`]; it has to pass a redactor before it leaves the agent.
    pub message: Cow<'static, str>,
}

/// An index holds one message per object, and a status or an Event several of them. A condition's message may have
/// 32,768 characters; what went wrong stands at its beginning.
pub const MESSAGE_CHARS_MAX: usize = 400;

/// The longest reason of a condition that Kubernetes' own controllers write has 40 characters. Of custom kinds nothing bounds it.
pub const REASON_CHARS_MAX: usize = 64;

impl Health {
    pub(crate) fn new(
        status: Status,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { status, reason: one_word(reason.into()), message: one_line(message.into()) }
    }

    fn current(reason: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Status::Current, reason, message)
    }

    fn in_progress(reason: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Status::InProgress, reason, message)
    }

    fn failed(reason: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Status::Failed, reason, message)
    }

    /// It cannot be told, and why.
    #[must_use]
    pub fn unknown(reason: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Status::Unknown, reason, message)
    }

    /// Of an object that is well by being there.
    #[must_use]
    pub fn exists() -> Self {
        Self::current("Exists", "exists")
    }

    /// Of an object that is waited for and is not there: it may still come.
    #[must_use]
    pub fn absent() -> Self {
        Self::in_progress("NotFound", "does not exist")
    }

    #[must_use]
    pub fn is_absent(&self) -> bool {
        *self == Self::absent()
    }

    #[must_use]
    pub fn is_current(&self) -> bool {
        self.status == Status::Current
    }

    /// Waiting does not help.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        self.status == Status::Failed
    }
}

impl fmt::Display for Health {
    /// `InProgress (LessAvailable): 1 of 3 replicas available`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.status, self.reason, self.message)
    }
}

/// Judges a live object by its own fields alone. Never panics, whatever the JSON.
#[must_use]
pub fn judge(object: &Value) -> Health {
    let Some(kind) = kind_of(object) else {
        return Health::unknown("NotAnObject", "has no apiVersion and kind");
    };
    let rule = Rule::of(&kind);
    generic::before(object, rule).unwrap_or_else(|| rule.judge(object))
}

/// Whether the health of a kind's objects depends on more than their being there, so that their bodies have to be watched.
/// False for kinds that are known to have no status that means anything; true for all kinds that are not known.
#[must_use]
pub fn has_rule(kind: &GroupKind) -> bool {
    match Rule::of(kind) {
        Rule::Plain => false,
        Rule::Deployment
        | Rule::StatefulSet
        | Rule::DaemonSet
        | Rule::ReplicaSet
        | Rule::Pod
        | Rule::Job
        | Rule::CronJob
        | Rule::PersistentVolumeClaim
        | Rule::PodDisruptionBudget
        | Rule::HorizontalPodAutoscaler
        | Rule::Service
        | Rule::Ingress
        | Rule::CustomResourceDefinition
        | Rule::ApiService
        | Rule::Namespace
        | Rule::Towline
        | Rule::Other => true,
    }
}

/// The kind of an object, if it says one.
pub(crate) fn kind_of(object: &Value) -> Option<GroupKind> {
    let api_version = object.get("apiVersion")?.as_str().filter(|text| !text.is_empty())?;
    let kind = object.get("kind")?.as_str().filter(|text| !text.is_empty())?;
    Some(GroupKind::new(group_version(api_version).0, kind))
}

/// What may stand in a reason, as the API server has it for conditions; text that is none of that is a message.
fn one_word(text: Cow<'static, str>) -> Cow<'static, str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_,:.-".contains(c);
    if text.len() <= REASON_CHARS_MAX && text.chars().all(fits) {
        return text;
    }
    text.chars().filter(|c| fits(*c)).take(REASON_CHARS_MAX).collect::<String>().into()
}

/// Without line breaks, and not longer than [`MESSAGE_CHARS_MAX`].
fn one_line(text: Cow<'static, str>) -> Cow<'static, str> {
    let fits = text.len() <= MESSAGE_CHARS_MAX || text.chars().count() <= MESSAGE_CHARS_MAX;
    if fits && !text.contains(['\n', '\r', '\t']) {
        return text;
    }
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if words.chars().count() <= MESSAGE_CHARS_MAX {
        return words.into();
    }
    words.chars().take(MESSAGE_CHARS_MAX - 1).chain(['…']).collect::<String>().into()
}
