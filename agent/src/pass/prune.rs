//! Deletes what Git no longer has, as a checked plan says: late, after everything else is applied, or early, where an object
//! asks for it.
//!
//! Knows deletions, the last look before each, and what has to be gone first. Leaves nothing to choose: what happens to an
//! object stands in its step.

use std::collections::BTreeSet;

use futures::StreamExt as _;
use jiff::Timestamp;
use towline_plan::awaited::Until;
use towline_plan::check::{Ceiling, CheckedPlan, Held};
use towline_plan::contents::claimed_inside;
use towline_plan::letting::Letting;
use towline_plan::object::{ObjectId, SyncKey};
use towline_plan::order::{self, Stage};
use towline_plan::part::{Prune, PruneStep};
use towline_plan::wait::Wait;
use towline_plan::waves::waves;

use super::apply::{Work, problem};
use super::outcome::{Action, Deed, End, Failure, Reason};
use super::teardown::policy;
use super::{Pass, barrier, ceiling};
use crate::api::DeletionPolicy;
use crate::cluster::{CONCURRENT_REQUESTS, RequestError, locked};
use crate::metrics::Stage as Timed;

/// How often an object may be written by others between the look at it and its deletion, before its pass fails.
const WRITTEN_MEANWHILE_MAX: usize = 5;

/// What pruning left in the cluster.
#[derive(Default)]
pub(super) struct Left {
    /// Objects that stay though Git no longer has them: which and why.
    pub kept: Vec<(ObjectId, String)>,
    /// Objects whose deletion is held.
    pub held: Vec<ObjectId>,
    /// Objects whose deletion somebody has to confirm.
    pub unconfirmed: Vec<ObjectId>,
    /// What has to happen before the rest can go.
    pub waits: Vec<Wait>,
    /// Something could not be deleted.
    pub failed: bool,
}

/// What came of one deletion.
enum Gone {
    /// It is gone; `false`: it was before we came.
    Yes(bool),
    /// It is deleted, `true` just now, and not gone yet.
    Going(bool),
    /// It stays: another Sync claims it by now.
    Claimed(SyncKey),
}

impl Work<'_> {
    /// Prunes in the order of the plan, reversed stage by reversed stage.
    pub(super) async fn prune(&mut self, plan: &CheckedPlan) -> Left {
        let mut left = Left::default();
        let _timing = (!plan.prune().is_empty()).then(|| self.cx.metrics.time(Timed::Prune));
        let (mut goes, mut moves) = (Vec::new(), Vec::new());
        // What went before its stage is gone, and was said.
        let is_owned = |step: &&PruneStep| self.owned.0.contains_key(&step.id);
        let steps: Vec<&PruneStep> = plan.prune().iter().filter(is_owned).collect();
        for step in steps {
            match &step.prune {
                Prune::Delete { .. } if plan.held().is_some() => left.held.push(step.id.clone()),
                Prune::Keep(why) => left.kept.push((step.id.clone(), why.clone())),
                Prune::HandOver(why) => {
                    left.kept.push((step.id.clone(), why.clone()));
                    moves.push(step);
                }
                Prune::Ask => left.unconfirmed.push(step.id.clone()),
                Prune::Forget(why) => self.let_go(step, Some(Deed::Skipped(why.clone()))),
                Prune::Delete { .. } | Prune::Going => goes.push(step),
            }
        }
        self.ask(plan, &left.unconfirmed).await;
        self.hand_over(&moves).await;
        self.delete_all(&goes, &mut left).await;
        // With a definition its kind goes: its watch ends, and nothing more is asked of it.
        let is_gone = |step: &&PruneStep| !self.owned.0.contains_key(&step.id) || self.going.contains(&step.id);
        if goes.iter().copied().filter(is_gone).any(|s| order::stage(&s.id.kind) == Stage::Definitions)
            && let Err(error) = self.cx.rediscover().await
        {
            tracing::warn!(error = %towline_daemon::error::chain(&error), "failed to learn which kinds are left");
        }
        left
    }

    /// What goes before a stage and is there.
    pub(super) fn early<'p>(&self, plan: &'p CheckedPlan, stage: Stage) -> Vec<&'p PruneStep> {
        plan.early(stage).into_iter().filter(|step| self.owned.0.contains_key(&step.id)).collect()
    }

    /// Deletes what goes before a stage. Answers whether all of it is gone.
    pub(super) async fn prune_early(&mut self, plan: &CheckedPlan, stage: Stage, left: &mut Left) -> bool {
        let goes = self.early(plan, stage);
        self.delete_all(&goes, left).await;
        let going: Vec<ObjectId> = goes.iter().map(|s| &s.id).filter(|id| self.going.contains(id)).cloned().collect();
        if !going.is_empty() {
            left.waits.push(Wait::Gone(going));
        }
        left.is_nothing() && !self.pass.halt.is_cancelled()
    }

    /// Whether something may be deleted now: every other Sync of the source has said what it claims.
    async fn may_delete(&mut self, steps: &[&PruneStep], left: &mut Left) -> bool {
        let deletes = steps.iter().any(|step| matches!(step.prune, Prune::Delete { .. }));
        // A Sync that is deleted is so by a person, or by another Sync that has waited for this.
        if !deletes || self.pass.is_last() || ceiling(self.pass) == Ok(Ceiling::Lifted) {
            return true;
        }
        // Syncs that go themselves claim nothing more; what others have claimed of theirs is left to these.
        let going: Vec<SyncKey> = steps.iter().filter_map(|step| step.id.as_sync()).collect();
        match barrier::unjudged(self.cx, self.pass, &going).await {
            Ok(unjudged) if unjudged.is_empty() => true,
            Ok(unjudged) => {
                left.waits.push(Wait::Judged(unjudged.into_iter().collect()));
                false
            }
            Err(failure) => {
                left.failed = true;
                self.problems.push(failure.message);
                false
            }
        }
    }

    /// Deletes in waves, each at once; stops before one that needs something gone which is not.
    async fn delete_all(&mut self, steps: &[&PruneStep], left: &mut Left) {
        if !self.may_delete(steps, left).await {
            return;
        }
        self.going_syncs.extend(steps.iter().filter_map(|step| step.id.as_sync()));
        let waves = waves(steps.iter().copied());
        let mut awaited: BTreeSet<&ObjectId> = waves.iter().flat_map(|wave| &wave.after).copied().collect();
        if self.waits_for_all() {
            awaited.extend(steps.iter().map(|step| &step.id));
        }
        for wave in &waves {
            let going = wave.after.iter().copied().filter(|id| self.going.contains(*id)).cloned().collect::<Vec<_>>();
            if !going.is_empty() {
                left.waits.push(Wait::Gone(going));
                return;
            }
            // A deletion that failed is no reason to go on: what comes next may be what it needs.
            if left.failed || self.pass.halt.is_cancelled() {
                return;
            }
            left.failed |= !self.delete_wave(&wave.steps, &awaited, left).await;
        }
        if self.waits_for_all() && !self.going.is_empty() {
            left.waits.push(Wait::Gone(self.going.iter().cloned().collect()));
        }
    }

    /// Whether the Sync is being deleted and is to be there until everything is gone.
    fn waits_for_all(&self) -> bool {
        self.pass.is_last() && policy(&self.pass.sync) == DeletionPolicy::WaitForTermination
    }

    /// Answers whether everything of it was deleted.
    async fn delete_wave(&mut self, steps: &[&PruneStep], awaited: &BTreeSet<&ObjectId>, left: &mut Left) -> bool {
        let mut whole = true;
        let answers: Vec<_> = {
            let work = &*self;
            let requests: Vec<_> = steps.iter().map(|step| work.delete(step, is_awaited(step, awaited))).collect();
            futures::stream::iter(requests).buffered(CONCURRENT_REQUESTS).collect().await
        };
        for (step, answer) in steps.iter().zip(answers) {
            match answer {
                None => whole = false,
                Some(Err(why)) => {
                    whole = false;
                    self.problems.push(why);
                }
                Some(Ok(Gone::Claimed(other))) => {
                    left.kept.push((step.id.clone(), format!("Sync {other} takes it over")));
                }
                Some(Ok(Gone::Yes(now))) => self.let_go(step, now.then_some(Deed::Deleted)),
                // Nothing waits for it: it is on its way, and needs nobody.
                Some(Ok(Gone::Going(now))) if !is_awaited(step, awaited) => {
                    self.let_go(step, now.then_some(Deed::Deleted));
                }
                Some(Ok(Gone::Going(now))) => {
                    self.going.insert(step.id.clone());
                    if now {
                        self.did(step, Deed::Deleted);
                    }
                }
            }
        }
        whole
    }

    /// An object leaves the inventory.
    fn let_go(&mut self, step: &PruneStep, deed: Option<Deed>) {
        locked(&self.cx.watches.watched).forget(&step.id);
        self.owned.0.remove(&step.id);
        self.going.remove(&step.id);
        if let Some(deed) = deed {
            self.did(step, deed);
        }
    }

    fn did(&mut self, step: &PruneStep, deed: Deed) {
        tracing::info!(object = %step.id, action = deed.word(), "pruned");
        self.actions.push(Action { id: step.id.clone(), deed });
    }

    /// Deletes an object after a last look: exactly the object that was decided about, still ours, still unprotected.
    /// `None`: the pass was cut short.
    async fn delete(&self, step: &PruneStep, is_awaited: bool) -> Option<Result<Gone, String>> {
        if self.pass.halt.is_cancelled() {
            return None;
        }
        let failed = |error: RequestError| problem(self.redactor, &step.id, None, &error);
        if is_awaited {
            // Before it is looked at, so that its end is not missed.
            self.cx.watches.expect(&self.pass.key, &step.id, Until::Gone);
        }
        for _ in 1..WRITTEN_MEANWHILE_MAX {
            match self.delete_seen(step).await {
                // Its status, mostly: it is looked at once more, and everything that speaks against it with it.
                Err(error) if error.is_conflict() => {}
                answer => return Some(answer.unwrap_or_else(|error| Err(failed(error)))),
            }
        }
        Some(self.delete_seen(step).await.unwrap_or_else(|error| Err(failed(error))))
    }

    async fn delete_seen(&self, step: &PruneStep) -> Result<Result<Gone, String>, RequestError> {
        let (cluster, id) = (&self.cx.cluster, &step.id);
        let Some(live) = cluster.look(&self.served, id, &step.version).await? else {
            return Ok(Ok(Gone::Yes(false)));
        };
        let uid = match &step.prune {
            Prune::Delete { uid, .. } => Some(uid),
            _ => None,
        };
        if live.deleting && uid.is_none_or(|uid| *uid == live.uid) {
            return Ok(Ok(Gone::Going(false)));
        }
        let is_unprotected = matches!(live.letting, Letting::Late | Letting::Early);
        if uid != Some(&live.uid) || live.owner.as_ref() != Some(&self.pass.key) || !live.applied || !is_unprotected {
            return Ok(Err(format!("{id} changed hands while it was about to be deleted; it is looked at again")));
        }
        // Decided before it was known what all others claim.
        let other = {
            let claims = locked(&self.cx.claims);
            let other = claims.other(id, &self.pass.key).filter(|(_, at)| *at != i64::MAX).map(|(other, _)| other);
            let (kind, going) = (self.served.defined_by(id), self.going_syncs.iter().cloned());
            other.or_else(|| claimed_inside(id, kind, &self.pass.key, &claims, going)).cloned()
        };
        if let Some(other) = other {
            self.cx.watches.say_awaited(&self.pass.key);
            return Ok(Ok(Gone::Claimed(other)));
        }
        // Forgotten first, so that its disappearance is not taken for drift.
        locked(&self.cx.watches.watched).forget(id);
        match cluster.delete(&self.served, id, &step.version, (&live.uid, &live.resource_version)).await {
            Ok(true) => Ok(Ok(Gone::Yes(true))),
            Ok(false) => Ok(Ok(Gone::Going(true))),
            Err(error) if error.is_not_found() => Ok(Ok(Gone::Yes(true))),
            Err(error) => Err(error),
        }
    }

    /// Waits for the answers of those who are asked. One that came meanwhile is noticed at once.
    async fn ask(&self, plan: &CheckedPlan, unconfirmed: &[ObjectId]) {
        for step in plan.prune().iter().filter(|step| unconfirmed.contains(&step.id)) {
            self.cx.watches.expect(&self.pass.key, &step.id, Until::Answered);
            let seen = self.cx.cluster.look(&self.served, &step.id, &step.version).await;
            if seen.is_ok_and(|live| live.is_none_or(|live| live.letting != Letting::Asks || live.deleting)) {
                self.cx.watches.say_awaited(&self.pass.key);
            }
        }
    }

    /// Waits for others to take these over, to let them go at once. Whose watch shows that, ours or theirs, is the same.
    async fn hand_over(&self, moves: &[&PruneStep]) {
        let looks: Vec<_> = moves.iter().map(|step| self.is_taken_over(step)).collect();
        let mut looks = futures::stream::iter(looks).buffer_unordered(CONCURRENT_REQUESTS);
        let mut is_any = false;
        while let Some(is_taken_over) = looks.next().await {
            is_any |= is_taken_over;
        }
        if is_any {
            self.cx.watches.say_awaited(&self.pass.key);
        }
    }

    /// Whether it has happened since it was decided about; if not, the watch will tell of it.
    async fn is_taken_over(&self, step: &PruneStep) -> bool {
        let (watches, id) = (&self.cx.watches, &step.id);
        watches.expect(&self.pass.key, id, Until::HandedOver);
        let seen = {
            let watched = locked(&watches.watched);
            watched.is_synced(&watches.scope_of(id)).then(|| watched.live(id).cloned())
        };
        let live = match seen {
            Some(live) => live,
            // Nothing may ever show it: at least what came until now is not missed.
            None => match self.cx.cluster.look(&self.served, id, &step.version).await {
                Ok(live) => live,
                Err(_) => return false,
            },
        };
        live.is_none_or(|live| live.owner.as_ref() != Some(&self.pass.key))
    }
}

/// Whether something may not go on before the object is gone.
fn is_awaited(step: &PruneStep, awaited: &BTreeSet<&ObjectId>) -> bool {
    awaited.contains(&step.id) || matches!(step.prune, Prune::Delete { early: true, .. })
}

impl Left {
    /// Whether it stops nothing.
    pub(super) fn is_nothing(&self) -> bool {
        !self.failed && self.waits.is_empty()
    }

    /// How a pass ends whose objects are all applied.
    pub(super) fn end(&mut self, pass: &Pass, held: Option<&Held>, problems: &[String]) -> End {
        if self.failed {
            return End::Failed(Failure { reason: Reason::PruneFailed, message: problems.join("\n"), retryable: true });
        }
        if !self.waits.is_empty() {
            return waiting(pass, std::mem::take(&mut self.waits), Timestamp::now());
        }
        match held {
            Some(why) => End::Held(why.clone(), std::mem::take(&mut self.held)),
            None if !self.unconfirmed.is_empty() => End::Held(Held::Unconfirmed, std::mem::take(&mut self.unconfirmed)),
            None => End::Succeeded,
        }
    }
}

/// A wait that has an end fails there.
fn waiting(pass: &Pass, waits: Vec<Wait>, now: Timestamp) -> End {
    let timeout: std::time::Duration = pass.sync.spec.timeout.into();
    let waited = pass.waiting_since.map(|since| now.duration_since(since).as_secs_f64());
    if waited.is_none_or(|waited| waited < timeout.as_secs_f64()) || !waits.iter().any(Wait::is_bounded) {
        return End::Waiting(waits);
    }
    let waits = waits.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let message = format!("{waits}, for more than spec.timeout ({} s)", timeout.as_secs_f64());
    End::Failed(Failure { reason: Reason::TerminationTimeout, message, retryable: true })
}
