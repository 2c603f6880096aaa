//! Deletes what Git no longer has, as a checked plan says, after everything else is applied.
//!
//! Knows deletions and the last look before each. Leaves nothing to choose: what happens to an object stands in its step.

use towline_plan::check::CheckedPlan;
use towline_plan::object::ObjectId;
use towline_plan::order::{self, Stage};
use towline_plan::part::{Prune, PruneStep};

use super::apply::{Work, problem};
use super::outcome::{Action, Deed};
use crate::cluster::{RequestError, locked};
use crate::metrics::Stage as Timed;

/// What pruning left in the cluster.
#[derive(Default)]
pub(super) struct Left {
    /// Objects that stay though Git no longer has them: which and why.
    pub kept: Vec<(ObjectId, String)>,
    /// Objects whose deletion is held.
    pub held: Vec<ObjectId>,
    /// Something could not be deleted.
    pub failed: bool,
}

impl Work<'_> {
    /// Prunes in the order of the plan.
    pub(super) async fn prune(&mut self, plan: &CheckedPlan) -> Left {
        let mut left = Left::default();
        let _timing = (!plan.prune().is_empty()).then(|| self.cx.metrics.time(Timed::Prune));
        for step in plan.prune() {
            if self.pass.halt.is_cancelled() {
                break;
            }
            match (&step.prune, plan.held()) {
                (Prune::Delete { .. }, Some(_)) => left.held.push(step.id.clone()),
                (Prune::Keep(why) | Prune::HandOver(why), _) => left.kept.push((step.id.clone(), why.clone())),
                (Prune::Delete { .. } | Prune::Forget(_), _) => left.failed |= !self.part(step).await,
            }
        }
        // With a definition its kind goes: its watch ends, and nothing more is asked of it.
        if plan.prune().iter().any(|s| order::stage(&s.id.kind) == Stage::Definitions)
            && let Err(error) = self.cx.rediscover().await
        {
            tracing::warn!(error = %towline_daemon::error::chain(&error), "failed to learn which kinds are left");
        }
        left
    }

    /// Answers whether the step was done.
    async fn part(&mut self, step: &PruneStep) -> bool {
        let deed = match &step.prune {
            Prune::Delete { uid } => match self.delete(step, uid).await {
                Ok(deed) => deed,
                Err(why) => {
                    self.problems.push(why);
                    return false;
                }
            },
            Prune::Forget(why) => Deed::Skipped(why.clone()),
            Prune::Keep(_) | Prune::HandOver(_) => return true,
        };
        tracing::info!(object = %step.id, action = deed.word(), "pruned");
        locked(&self.cx.watches.watched).forget(&step.id);
        self.owned.0.remove(&step.id);
        self.actions.push(Action { id: step.id.clone(), deed });
        true
    }

    /// Deletes an object after a last look: exactly the object that was decided about, still ours, still unprotected.
    async fn delete(&mut self, step: &PruneStep, uid: &str) -> Result<Deed, String> {
        let (cluster, id) = (&self.cx.cluster, &step.id);
        let failed = |error: RequestError| problem(self.redactor, id, None, &error);
        let Some(live) = cluster.look(&self.served, id, &step.version).await.map_err(failed)? else {
            return Ok(Deed::Deleted);
        };
        if live.uid != uid || live.owner.as_ref() != Some(&self.pass.key) || !live.applied || live.prune_disabled {
            return Err(format!("{id} changed hands while it was about to be deleted; it is looked at again"));
        }
        // Forgotten first, so that its disappearance is not taken for drift.
        locked(&self.cx.watches.watched).forget(id);
        match cluster.delete(&self.served, id, &step.version, &live).await {
            Ok(()) => Ok(Deed::Deleted),
            Err(error) if error.is_not_found() => Ok(Deed::Deleted),
            Err(error) => Err(failed(error)),
        }
    }
}
