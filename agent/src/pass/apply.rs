//! Carries out a checked plan: with `prune`, the only writer of managed objects.
//!
//! Knows stages, claims and requests. Leaves nothing to choose: what happens to an object stands in its step.

use std::collections::BTreeSet;

use futures::StreamExt as _;
use towline_plan::awaited::Until;
use towline_plan::check::{CheckedPlan, Entry as StageEntry, entry};
use towline_plan::decide::{self, Apply, ApplyStep};
use towline_plan::desired::Desired;
use towline_plan::diff::Drift;
use towline_plan::inventory::{Inventory as Owned, State};
use towline_plan::naming::list;
use towline_plan::object::{GroupKind, ObjectId, SyncKey};
use towline_plan::observed::Found;
use towline_plan::order::{self, Stage};
use towline_plan::part::{Prune, PruneStep};
use towline_plan::policy::Ssa;
use towline_plan::redact::Redactor;
use towline_plan::wait::Wait;

use super::inventory::{self, Beside, Loaded, Lost};
use super::outcome::{Action, Deed, End, Failure, Reason};
use super::prune::Left;
use super::write::{Written, is_write, write};
use super::{Context, Pass, drift, health, observe};
use crate::api::{Inventory, Verdict};
use crate::cluster::{Applied, CONCURRENT_REQUESTS, RequestError, Served, locked};
use crate::metrics::Stage as Timed;

/// Why an object that Git has is not going to stay as it is.
const GOING: &str = "somebody deleted it, and it is not gone yet; it is created anew then";

/// What applying came to.
pub(super) struct Done {
    pub end: End,
    pub actions: Vec<Action>,
    pub kept: Vec<(ObjectId, String)>,
    pub left_alone: Vec<(ObjectId, String)>,
    pub owned: Owned,
    pub record: Option<Inventory>,
    pub rebuilt: Option<String>,
    pub lost: Option<Lost>,
    pub brings: Vec<String>,
    /// What the Healthy condition says, where anybody looked.
    pub healthy: Option<Verdict>,
    /// What was looked at for that.
    pub looked: Option<health::Objects>,
    /// What stays as others changed it.
    pub drifted: Vec<(ObjectId, Drift)>,
}

/// One pass's writes, as they go on.
pub(super) struct Work<'a> {
    pub cx: &'a Context,
    pub pass: &'a Pass,
    pub redactor: &'a Redactor,
    pub served: std::sync::Arc<Served>,
    pub owned: Owned,
    pub actions: Vec<Action>,
    pub problems: Vec<String>,
    /// Somebody else wrote first.
    pub outrun: bool,
    /// What is deleted, not gone yet, and needed gone before something else.
    pub going: BTreeSet<ObjectId>,
    /// Syncs that are deleted, and what they have with them: gone or not, their claims count no more.
    pub going_syncs: BTreeSet<SyncKey>,
    /// Objects that asked to be left alone, and how.
    pub left_alone: Vec<(ObjectId, String)>,
    /// What stays as others changed it, and whether that was found before.
    pub drifted: Vec<(ObjectId, Drift, bool)>,
}

/// A step with nothing left to wait for.
pub(super) struct Decided<'s> {
    pub desired: &'s Desired,
    pub apply: Apply,
    pub take_over: bool,
    pub seen: Option<Found>,
}

/// Applies a plan stage by stage, then prunes. Before the first write the claims are written.
pub(super) async fn apply(
    cx: &Context,
    pass: &Pass,
    served: std::sync::Arc<Served>,
    loaded: Loaded,
    plan: CheckedPlan,
    redactor: &Redactor,
) -> Result<Done, Failure> {
    let Loaded { record, rebuilt, lost, brings, .. } = loaded;
    let timing = cx.metrics.time(Timed::Apply);
    let ahead = plan.inventory();
    // The claims go ahead of what they claim. Nothing new to claim: one write at the end is enough.
    let is_said = record.as_ref().is_none_or(|record| record.spec.brings == brings);
    let record = match loaded.inventory == *ahead && lost.is_none() && is_said {
        true => record,
        false => {
            // From the first write on, what was read before says nothing of the cluster.
            let beside = Beside { rebuilt: rebuilt.as_deref(), brings: &brings, read: None };
            Some(inventory::write(cx, pass, record, ahead, beside).await?)
        }
    };
    cx.watches.expect_nothing(&pass.key);
    let (owned, actions, problems) = (ahead.clone(), Vec::new(), Vec::new());
    let (going, going_syncs, outrun) = (BTreeSet::new(), BTreeSet::new(), false);
    let (left_alone, drifted) = (Vec::new(), Vec::new());
    let mut work =
        Work { cx, pass, redactor, served, owned, actions, problems, outrun, going, going_syncs, left_alone, drifted };
    let mut left = Left::default();
    let whole = work.stages(&plan, &mut left).await;
    drop(timing);
    let steps = plan.stages().iter().flat_map(|(_, steps)| steps).filter(|step| !work.is_foreign(step));
    let applied: Vec<_> = steps.map(|step| (&step.desired.id, step.desired.version.as_str())).collect();
    // What goes needs no health, and what a Sync was told to look at may be what it deletes first.
    let looked = match whole && !pass.halt.is_cancelled() && !pass.is_last() {
        true => health::look(cx, pass, &work.served, applied.into_iter(), &work.owned, redactor).await,
        false => Ok(None),
    };
    let (healthy, unwell, looked) = match looked {
        Ok(Some(looked)) => (Some(looked.verdict), looked.end, Some(looked.objects)),
        Ok(None) => (None, None, None),
        Err(failure) => (None, Some(End::Failed(failure)), None),
    };
    // What takes the place of something has to work before that goes.
    if whole && unwell.is_none() && !pass.halt.is_cancelled() {
        left = work.prune(&plan).await;
    }
    let end = if pass.halt.is_cancelled() {
        End::Superseded
    } else if let Some(unwell) = unwell {
        unwell
    } else if !whole && left.is_nothing() {
        let failure = Failure::reconciliation(work.problems.join("\n"));
        let reason = if work.outrun { Reason::Outrun } else { failure.reason };
        End::Failed(Failure { reason, message: failure.message + &unpruned(&plan, &work.owned), ..failure })
    } else {
        left.end(pass, plan.held(), &work.problems)
    };
    let Work { mut actions, left_alone, owned, drifted, .. } = work;
    let (drifted, found) = drift::found(pass, drifted);
    actions.extend(found);
    let end = if end == End::Succeeded && !drifted.is_empty() { End::Drifted } else { end };
    Ok(Done {
        end,
        actions,
        kept: left.kept,
        left_alone,
        owned,
        record,
        rebuilt,
        lost,
        brings,
        healthy,
        looked,
        drifted,
    })
}

impl Work<'_> {
    /// Whether an object that Git has is left alone and none of ours: the watch of own objects does not show it.
    fn is_foreign(&self, step: &ApplyStep) -> bool {
        let id = &step.desired.id;
        if !matches!(step.apply, Apply::Leave(_)) && !self.left_alone.iter().any(|(left, _)| left == id) {
            return false;
        }
        let watched = locked(&self.cx.watches.watched);
        let owner = watched.live(id).and_then(|live| live.owner.as_ref());
        watched.is_synced(&self.cx.watches.scope_of(id)) && owner != Some(&self.pass.key)
    }

    /// Answers whether every object of every stage was applied.
    async fn stages(&mut self, plan: &CheckedPlan, left: &mut Left) -> bool {
        let stages = plan.stages();
        let kinds = stages
            .iter()
            .flat_map(|(_, steps)| steps)
            .map(|step| (&step.desired.id.kind, step.desired.version.as_str()))
            .collect();
        for (stage, steps) in stages {
            let Some(decided) = self.begin(plan, *stage, steps, left).await else { return false };
            let how = entry(decided.iter().map(|step| &step.apply));
            for step in &decided {
                if step.seen.as_ref().is_some_and(|found| found.deleting) && step.apply != Apply::AwaitEnd {
                    self.left_alone.push((step.desired.id.clone(), GOING.to_owned()));
                }
                match &step.apply {
                    Apply::Refuse(why) | Apply::Conflict(why) | Apply::HoldBack(why) => self.problems.push(why.clone()),
                    // What Git asks for needs no word.
                    Apply::Leave(how) if step.desired.policy.ssa != Ssa::IfNotPresent => {
                        self.left_alone.push((step.desired.id.clone(), how.clone()));
                    }
                    Apply::Drifted(drift) => {
                        let remembered = step.seen.as_ref().is_some_and(|found| found.remembered);
                        self.drifted.push((step.desired.id.clone(), drift.clone(), remembered));
                    }
                    Apply::Leave(_) | Apply::Keep | Apply::WhenDefined => {}
                    Apply::Create | Apply::Configure | Apply::Revert(_) | Apply::Recreate(_) => {}
                    Apply::AwaitEnd => {
                        self.cx.watches.expect(&self.pass.key, &step.desired.id, Until::Gone);
                        self.going.insert(step.desired.id.clone());
                    }
                }
            }
            if how == StageEntry::No || self.pass.halt.is_cancelled() {
                return false;
            }
            let applied = self.stage(decided).await && how == StageEntry::Whole;
            let going: Vec<ObjectId> =
                steps.iter().map(|s| &s.desired.id).filter(|id| self.going.contains(id)).cloned().collect();
            if !going.is_empty() && self.problems.is_empty() {
                left.waits.push(Wait::Gone(going));
            }
            if !applied || (*stage == Stage::Definitions && !self.established(steps, &kinds).await) {
                return false;
            }
        }
        true
    }

    /// Judges a stage after what goes before it is gone. That goes only if nothing else of the stage is refused: what takes its
    /// place may be refused because of it, and is judged once more. `None`: it is not begun.
    async fn begin<'s>(
        &mut self,
        plan: &CheckedPlan,
        stage: Stage,
        steps: &'s [ApplyStep],
        left: &mut Left,
    ) -> Option<Vec<Decided<'s>>> {
        let freed: BTreeSet<&GroupKind> = self.early(plan, stage).into_iter().map(|step| &step.id.kind).collect();
        if freed.is_empty() {
            return Some(self.decide(steps).await);
        }
        let decided = self.decide(steps).await;
        let waits = |step: &Decided<'_>| freed.contains(&step.desired.id.kind) && !is_write(&step.apply);
        if entry(decided.iter().filter(|step| !waits(step)).map(|step| &step.apply)) != StageEntry::Whole {
            // It is told with everything else that is refused.
            return Some(decided);
        }
        if !self.prune_early(plan, stage, left).await {
            return None;
        }
        Some(self.decide(steps).await)
    }

    /// Judges what had to wait for an earlier stage; everything else is decided. In the order of the steps.
    async fn decide<'s>(&self, steps: &'s [ApplyStep]) -> Vec<Decided<'s>> {
        let questions: Vec<_> = steps
            .iter()
            .map(|step| async move {
                if step.apply != Apply::WhenDefined {
                    let (take_over, seen) = (step.take_over, step.seen.clone());
                    return Decided { desired: &step.desired, apply: step.apply.clone(), take_over, seen };
                }
                let (object, entry) = (&step.desired, self.owned.0.get(&step.desired.id));
                let seen = observe::judge(self.cx, self.pass, &self.served, object, entry, self.redactor).await;
                let seen = seen.judgement;
                let apply = match decide::judge(object, entry, Some(&seen), self.pass.sync.spec.drift_mode().into()) {
                    // What waited for a stage that is done and is still not there cannot be judged in this pass.
                    Apply::WhenDefined => {
                        Apply::HoldBack(format!("{} ({}): its kind is not served yet", object.id, object.origin))
                    }
                    // In the next pass, when the whole plan can be judged.
                    Apply::Recreate(why) => Apply::HoldBack(why),
                    apply => apply,
                };
                let take_over = decide::takes_over(object, entry, Some(&seen));
                let seen = seen.found().cloned();
                Decided { desired: object, apply, take_over, seen }
            })
            .collect();
        futures::stream::iter(questions).buffered(CONCURRENT_REQUESTS).collect().await
    }

    /// Applies a stage rank by rank. One that fails does not keep the next from being sent: what it needs may be there, or be
    /// what the failed one needs (a webhook's own server).
    async fn stage(&mut self, decided: Vec<Decided<'_>>) -> bool {
        let changes = decided.into_iter().filter(|step| is_write(&step.apply));
        let mut whole = true;
        for rank in order::ranks(changes, |step| &step.desired.id.kind) {
            whole &= self.rank(rank).await;
        }
        whole
    }

    /// Applies what may be applied at once.
    async fn rank(&mut self, steps: Vec<Decided<'_>>) -> bool {
        let (cx, pass, served) = (self.cx, self.pass, self.served.clone());
        let requests: Vec<_> = steps
            .into_iter()
            .map(|step| {
                let served = &served;
                async move {
                    // Before the request: the watch may tell of the write sooner than the answer does.
                    let before = locked(&cx.watches.watched).fingerprint(&step.desired.id);
                    let answer = match pass.halt.is_cancelled() {
                        true => None,
                        false => Some(write(cx, pass, served, &step).await),
                    };
                    (step, answer, before)
                }
            })
            .collect();
        let mut answers = futures::stream::iter(requests).buffer_unordered(CONCURRENT_REQUESTS);
        let mut whole = true;
        while let Some((step, answer, before)) = answers.next().await {
            let object = step.desired;
            match answer {
                Some(Ok(Written::Applied(applied))) => {
                    record(self.cx, self.pass, &mut self.owned, &applied, object);
                    // The server writes nothing where nothing changes: then nothing was done. The watch may be behind what
                    // was judged, and somebody may have written the status since: either shows it.
                    let same = step.seen.as_ref().is_some_and(|f| f.resource_version == applied.live.resource_version);
                    if !same && before != Some(applied.live.fingerprint) {
                        self.actions.push(done(object, step.apply));
                    }
                }
                Some(Err(error)) => {
                    whole = false;
                    self.outrun |= error.is_conflict();
                    self.problems.push(problem(self.redactor, &object.id, Some(object), &error));
                }
                Some(Ok(Written::Going)) => {
                    whole = false;
                    self.going.insert(object.id.clone());
                    self.actions.push(done(object, step.apply));
                }
                // That was all that was asked for, and it is no claim of this Sync.
                Some(Ok(Written::Theirs)) => drop(self.owned.0.remove(&object.id)),
                None => whole = false,
            }
        }
        whole
    }
}

/// What Git no longer has and stays because something else could not be applied: it may stand in for that.
fn unpruned(plan: &CheckedPlan, owned: &Owned) -> String {
    let goes = |step: &&PruneStep| matches!(step.prune, Prune::Delete { .. }) && owned.0.contains_key(&step.id);
    let ids: Vec<String> = plan.prune().iter().filter(goes).map(|step| step.id.to_string()).collect();
    match ids.len() {
        0 => String::new(),
        count => {
            format!("\n{count} no longer in Git, kept until everything else is applied: {}", list(ids.into_iter()))
        }
    }
}

/// Enters an applied object into inventory and verdicts.
fn record(cx: &Context, pass: &Pass, owned: &mut Owned, applied: &Applied, object: &Desired) {
    cx.watches.remember(&pass.key, &object.id, &object.digest, &applied.live);
    if let Some(entry) = owned.0.get_mut(&object.id) {
        entry.version.clone_from(&object.version);
        entry.uid = Some(applied.live.uid.clone());
        entry.digest = Some(object.digest.clone());
        entry.state = State::Applied;
    }
}

/// The trail's word for a write that changed something.
fn done(object: &Desired, apply: Apply) -> Action {
    let deed = match apply {
        Apply::Create => Deed::Created,
        Apply::Revert(drift) => Deed::Reverted(drift),
        Apply::Recreate(why) => Deed::Recreated(why),
        _ => Deed::Configured,
    };
    tracing::info!(object = %object.id, action = deed.word(), "applied");
    Action { id: object.id.clone(), deed }
}

pub(super) fn problem(redactor: &Redactor, id: &ObjectId, object: Option<&Desired>, error: &RequestError) -> String {
    let about = id.to_string();
    let cause = redactor.clean(&about, &error.cause());
    match object {
        Some(object) => format!("{about} ({}): {cause}", object.origin),
        None => format!("{about}: {cause}"),
    }
}
