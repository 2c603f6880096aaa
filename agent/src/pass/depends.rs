//! Whether what a Sync depends on is ready, at the revision it is about to apply.
//!
//! Knows what the loop knew of the others when the pass began; whatever changes after that starts another pass. Must not wait.

use std::collections::BTreeMap;
use std::sync::Arc;

use towline_plan::depends::{self, Known, Said};
use towline_plan::health::ReadyExpr;
use towline_plan::object::SyncKey;
use towline_plan::wait::Wait;

use super::inventory::settings_digest;
use super::outcome::{End, Failure, Reason};
use super::{Pass, blocking, has_at};
use crate::api::{self, InventoryRead, Sync};

/// What has to be ready before a Sync is applied.
#[derive(Debug, Clone, Default)]
pub struct Needs {
    pub dependencies: Vec<Dependency>,
    /// The way from the Sync back to itself, if there is one: then nothing can become ready.
    pub cycle: Option<Vec<SyncKey>>,
}

impl Needs {
    pub(super) fn is_any(&self) -> bool {
        !self.dependencies.is_empty()
    }
}

/// A Sync that another one depends on.
#[derive(Debug, Clone)]
pub struct Dependency {
    pub key: SyncKey,
    /// `None`: it does not exist.
    pub sync: Option<Arc<Sync>>,
    /// Says of both whether it is ready, in place of everything else.
    pub ready_expr: Option<String>,
    pub revision: Follows,
}

/// How far a dependency is with the revision that is to be applied.
#[derive(Debug, Clone, PartialEq)]
pub enum Follows {
    /// It has another source, whose revisions are not comparable.
    Another,
    /// A pass at this revision ended well.
    Done,
    /// None has yet; what its last successful pass read may be the same all the same.
    NotYet(Option<InventoryRead>),
}

/// What a Ready condition says of the spec as it is now; `None`: nothing yet.
pub(super) fn said(sync: &Sync) -> Option<Said> {
    let conditions = sync.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let ready = conditions.iter().find(|c| c.type_ == api::READY)?;
    let is_of_now = ready.observed_generation == sync.metadata.generation;
    // What only drifted, and is to stay so, was applied: whoever depends on it need not wait for a person.
    let is_true = ready.status == "True" || ready.reason == api::DRIFT_DETECTED;
    is_of_now.then(|| Said { is_true, reason: ready.reason.clone() })
}

/// Why nothing may be applied now, if so.
pub(super) async fn blocked(pass: &Pass) -> Result<Option<End>, Failure> {
    if let Some(cycle) = &pass.needs.cycle {
        let message = format!("a circle of dependencies: {}", depends::in_words(cycle));
        return Ok(Some(End::Failed(Failure { reason: Reason::DependencyCycle, message, retryable: false })));
    }
    let mut wanting = Vec::new();
    for dependency in &pass.needs.dependencies {
        let known = match &dependency.sync {
            Some(sync) => Some(known(pass, sync, dependency).await?),
            None => None,
        };
        wanting.extend(depends::wanting(known.as_ref()).map(|why| (dependency.key.clone(), why)));
    }
    Ok((!wanting.is_empty()).then(|| End::Waiting(vec![Wait::Dependencies(wanting)])))
}

async fn known(pass: &Pass, sync: &Arc<Sync>, dependency: &Dependency) -> Result<Known, Failure> {
    let ready = said(sync);
    let expression = match &dependency.ready_expr {
        Some(text) => Some(evaluate(text.clone(), Arc::clone(sync), Arc::clone(&pass.sync)).await?),
        None => None,
    };
    let current = match &dependency.revision {
        Follows::Another | Follows::Done => true,
        // Only what would be ready otherwise is worth the look.
        Follows::NotYet(Some(read)) if ready.as_ref().is_some_and(|said| said.is_true) => {
            let paths: BTreeMap<_, _> = read.paths.clone();
            read.settings == settings_digest(sync) && has_at(pass.mirror()?, &pass.revision.commit, paths).await?
        }
        Follows::NotYet(_) => false,
    };
    Ok(Known { ready, current, suspended: sync.spec.suspend, expression })
}

/// Expressions may take a while: not on a thread that others wait for.
async fn evaluate(text: String, dep: Arc<Sync>, this: Arc<Sync>) -> Result<Result<bool, String>, Failure> {
    blocking(move || {
        let invalid = |message| Failure { reason: Reason::InvalidCelExpression, message, retryable: false };
        let expression = ReadyExpr::compile(&text).map_err(|error| invalid(format!("dependsOn: {error}")))?;
        let value = |sync: &Sync| serde_json::to_value(sync).unwrap_or_default();
        Ok(expression.is_ready(&value(&dep), &value(&this)).map_err(|error| error.to_string()))
    })
    .await
}
