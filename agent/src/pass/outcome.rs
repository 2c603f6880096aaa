//! What a pass did and how it ended, as values.

use towline_plan::check::Held;
use towline_plan::diff::Drift;
use towline_plan::manifest::Mistake;
use towline_plan::object::{GroupKind, ObjectId};
use towline_plan::wait::Wait;

use super::health::Objects;
use crate::api::{Inventory, Verdict};
use crate::cluster::RequestError;
use crate::mirror::ReadError;

/// What was done to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    Created,
    Configured,
    /// Put back as Git says: what had happened to it.
    Reverted(Drift),
    /// Changed by others and left so: what had happened to it.
    Drifted(Drift),
    /// Deleted and created anew, because its fields could not be changed: why.
    Recreated(String),
    Deleted,
    /// No longer owned, and not touched: why.
    Skipped(String),
}

impl Deed {
    /// The word of the trail, as Flux's change sets have it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Reverted(_) => "reverted",
            Self::Drifted(_) => "drifted",
            Self::Recreated(_) => "recreated",
            Self::Deleted => "deleted",
            Self::Skipped(_) => "skipped",
        }
    }
}

/// One object and what was done to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    pub id: ObjectId,
    pub deed: Deed,
}

/// Why a pass failed, in the words of Flux's conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// What Git holds cannot be read or makes no sense.
    BuildFailed,
    /// The mirror could not be read.
    ArtifactFailed,
    /// The API server refused, or could not be asked.
    ReconciliationFailed,
    /// Somebody else wrote an object between the look at it and the write: the next look sees what they did.
    Outrun,
    PruneFailed,
    /// It took longer than `spec.timeout`.
    Timeout,
    /// What was deleted is not gone, and waiting has not helped in time.
    TerminationTimeout,
    /// It depends on itself, through others or not.
    DependencyCycle,
    /// What was applied is not healthy, and waiting does not help or has not helped in time.
    HealthCheckFailed,
    /// An expression of the spec cannot be used.
    InvalidCelExpression,
}

impl Reason {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BuildFailed => "BuildFailed",
            Self::ArtifactFailed => "ArtifactFailed",
            Self::ReconciliationFailed | Self::Outrun => "ReconciliationFailed",
            Self::PruneFailed => "PruneFailed",
            Self::Timeout => "Timeout",
            Self::TerminationTimeout => "TerminationTimeout",
            Self::DependencyCycle => "DependencyCycle",
            Self::HealthCheckFailed => "HealthCheckFailed",
            Self::InvalidCelExpression => "InvalidCELExpression",
        }
    }
}

/// What is told of a defect of ours. The words of a panic may hold what it read: they stay in the log (invariant 7).
pub const PANICKED: &str = "an internal error: it panicked, and the agent's log says where";

/// Why a pass did not bring the cluster to what Git says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub reason: Reason,
    pub message: String,
    /// Trying again before the interval can help.
    pub retryable: bool,
}

impl Failure {
    /// What Git holds is wrong: only another commit helps.
    #[must_use]
    pub fn build(message: String) -> Self {
        Self { reason: Reason::BuildFailed, message, retryable: false }
    }

    /// All mistakes, one a line.
    #[must_use]
    pub fn mistakes(mistakes: Vec<Mistake>) -> Self {
        let retryable = mistakes.iter().all(|mistake| mistake.may_pass);
        let message = mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        Self { retryable, ..Self::build(message) }
    }

    #[must_use]
    pub fn reconciliation(message: String) -> Self {
        Self { reason: Reason::ReconciliationFailed, message, retryable: true }
    }

    /// A blocking step died: a defect of ours.
    #[must_use]
    pub fn internal() -> Self {
        Self::reconciliation(PANICKED.to_owned())
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        Self::reconciliation(towline_daemon::error::chain(&error))
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        let message = towline_daemon::error::chain(&error);
        match error.is_retryable() {
            true => Self { reason: Reason::ArtifactFailed, message, retryable: true },
            false => Self::build(message),
        }
    }
}

/// How a pass ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// What the Sync reads is what it read at its last successful pass.
    Untouched,
    Succeeded,
    /// Done, and objects that Git did not change stay as others changed them.
    Drifted,
    /// Nothing failed, and something has to happen before the pass can go on: it runs again when that moves.
    Waiting(Vec<Wait>),
    /// Applied, and the deletions are held: why, and which.
    Held(Held, Vec<ObjectId>),
    Failed(Failure),
    /// Cut short by a newer revision or the end of the process.
    Superseded,
    /// The Sync is being deleted and may go: nothing of it is left to be done. Why its objects stay, if all of them do.
    Left(Option<String>),
}

impl End {
    /// The word of the metrics.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Untouched => "untouched",
            Self::Succeeded => "succeeded",
            Self::Drifted => "drifted",
            Self::Waiting(_) => "waiting",
            Self::Held(..) => "held",
            Self::Failed(_) => "failed",
            Self::Superseded => "superseded",
            Self::Left(_) => "left",
        }
    }

    /// The cluster is as Git says.
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Untouched | Self::Succeeded)
    }

    /// Everything that Git has is applied.
    #[must_use]
    pub fn is_applied(&self) -> bool {
        match self {
            Self::Untouched | Self::Succeeded | Self::Drifted | Self::Held(..) => true,
            Self::Waiting(waits) => !waits.iter().any(|wait| matches!(wait, Wait::Dependencies(_))),
            Self::Failed(_) | Self::Superseded | Self::Left(_) => false,
        }
    }
}

/// Everything a pass did.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub end: End,
    pub actions: Vec<Action>,
    /// Objects that stay though Git no longer has them: which and why.
    pub kept: Vec<(ObjectId, String)>,
    /// Objects that Git wants and that asked to be left alone: which and how.
    pub left_alone: Vec<(ObjectId, String)>,
    /// The inventory as it is now, where the pass came that far.
    pub inventory: Option<Inventory>,
    /// The inventory was rebuilt in this pass: what was wrong with the old one.
    pub rebuilt: Option<String>,
    /// What the Healthy condition says of it, where the pass looked.
    pub healthy: Option<Verdict>,
    /// What it looked at for that.
    pub looked: Option<Objects>,
    /// Objects that stay as others changed them, where the pass looked.
    pub drifted: Option<Vec<(ObjectId, Drift)>>,
    /// Kinds in use that cannot be watched, and why: drift of these is found at the interval only.
    pub unwatched: Vec<(GroupKind, String)>,
}

impl Outcome {
    #[must_use]
    pub fn untouched() -> Self {
        let (actions, kept, unwatched) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            end: End::Untouched,
            actions,
            kept,
            left_alone: Vec::new(),
            inventory: None,
            rebuilt: None,
            healthy: None,
            looked: None,
            drifted: None,
            unwatched,
        }
    }

    /// A pass that did nothing, of a Sync whose inventory is as it was.
    #[must_use]
    pub fn stopped(end: End, inventory: Option<Inventory>) -> Self {
        Self { end, inventory, ..Self::untouched() }
    }

    #[must_use]
    pub fn failed(failure: Failure) -> Self {
        Self { end: End::Failed(failure), ..Self::untouched() }
    }
}
