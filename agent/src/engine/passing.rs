//! Passes as jobs beside the loop: run, bounded in time, and reported.

use std::sync::Arc;

use crate::api::ResourceExt as _;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use towline_daemon::error::chain;
use towline_plan::diff::Drift;
use towline_plan::object::{ObjectId, SyncKey};
use towline_plan::schedule::sync::Trigger;
use towline_plan::schedule::turns::Urgency;
use towline_proto::{ClusterName, Wire as _};
use tracing::Instrument as _;

use super::turns::Turns;
use super::unable::Why;
use super::{Event, caught};
use crate::api::{self, Conditions, Inventory, Sync, SyncStatus, Verdict};
use crate::bus::{Bus, Report};
use crate::cluster::{Cluster, EventKind, RequestError};
use crate::metrics::Queue;
use crate::pass::{self, Action, Context, Deed, End, Failure, Outcome, Pass, Reason};
use crate::report::{self, News};

/// How often a status write is repeated because somebody else wrote in between.
const CONFLICTS_MAX: usize = 5;

/// One pass to run.
pub struct Job {
    pub pass: Pass,
}

/// Why a Sync does not run.
pub struct Explanation {
    pub sync: Arc<Sync>,
    pub why: Why,
}

/// Something works against a Sync.
pub struct Warning {
    pub sync: Arc<Sync>,
    pub message: String,
    /// The same without any value: this leaves the cluster.
    pub brief: String,
}

/// How a pass came out, as far as the loop cares.
#[derive(Debug)]
pub struct Passed {
    /// Of the Sync it was run for.
    pub uid: Option<String>,
    pub end: End,
    /// The Sync as its status was written, or, in the version that was read, with what is counted and not worth a write.
    pub object: Option<Box<Sync>>,
    /// There was news, and its status could not be written.
    pub unwritten: bool,
    pub inventory: Option<Inventory>,
    /// What it looked at for the health of the Sync, if it did.
    pub looked: Option<pass::health::Objects>,
    /// What was put back, and what had happened to it.
    pub reverted: Vec<(ObjectId, Drift)>,
}

/// What jobs report through.
#[derive(Clone)]
pub(super) struct Reporting {
    pub cluster: Cluster,
    pub name: ClusterName,
    pub bus: Option<Bus>,
}

/// Runs a pass when its turn comes, and reports it everywhere.
pub(super) async fn run(job: Job, context: Context, turns: Turns, reporting: Reporting, events: mpsc::Sender<Event>) {
    let mut pass = job.pass;
    let span = tracing::info_span!(
        "pass",
        sync = %pass.key,
        revision = pass.revision.name,
        sequence = pass.revision.sequence,
        trigger = pass.trigger.as_str(),
        delivery = pass.revision.delivery,
    );
    let (key, uid) = (pass.key.clone(), pass.sync.uid());
    let work = async {
        // What was called off while it waited needs no turn.
        let waiting = context.metrics.wait_in(Queue::Passes);
        let turn = tokio::select! {
            biased;
            () = pass.halt.cancelled() => None,
            turn = turns.turn(urgency(pass.trigger)) => Some(turn),
        };
        drop(waiting);
        let is_turn = turn.is_some();
        let told = async {
            let outcome = match is_turn {
                true => {
                    let _timing = context.metrics.time_pass();
                    let outcome = match hold(&context, &mut pass).await {
                        Ok(()) => {
                            let timeout = pass.sync.spec.timeout.into();
                            Box::pin(in_time(timeout, &pass.halt, pass::run(&context, &pass))).await
                        }
                        Err(error) => Outcome::failed(Failure::from(error)),
                    };
                    // Whatever it was cut short by then, it is no longer this replica's to say.
                    let end = if context.cluster.may_write() { outcome.end } else { End::Superseded };
                    Outcome { end, ..outcome }
                }
                // What is known of the inventory is as good as it was.
                false => Outcome::stopped(End::Superseded, pass.inventory.clone()),
            };
            context.metrics.passed(&pass, &outcome, Timestamp::now());
            Box::pin(say(&context, &reporting, &pass, outcome)).await
        };
        // On the heap from its turn on: what waits for one, perhaps a thousand at once, is to be small.
        let told = Box::pin(told);
        match turn {
            Some(turn) => turn.work(told).await,
            None => told.await,
        }
    };
    finish(&key, uid, work.instrument(span), &events).await;
}

/// Nobody waits for what is only tried again or comes round with time: newer revisions never queue behind these.
fn urgency(trigger: Trigger) -> Urgency {
    match trigger {
        Trigger::Interval | Trigger::Retry => Urgency::Later,
        Trigger::Progress | Trigger::Settings | Trigger::Drift | Trigger::Request | Trigger::Revision => Urgency::Now,
    }
}

/// Tells the loop how a pass came out, whatever happens: until then the Sync has no other.
pub(super) async fn finish(
    sync: &SyncKey,
    uid: Option<String>,
    work: impl Future<Output = Passed>,
    events: &mpsc::Sender<Event>,
) {
    let passed = caught(work).await.unwrap_or_else(|problem| {
        let end = End::Failed(Failure::reconciliation(problem));
        Passed { uid, end, object: None, unwritten: true, inventory: None, looked: None, reverted: Vec::new() }
    });
    let _ = events.send(Event::Passed { sync: sync.clone(), passed }).await;
}

/// A pass that takes too long is cut short where it stands; what it did is in its outcome.
async fn in_time(
    timeout: std::time::Duration,
    halt: &CancellationToken,
    pass: impl Future<Output = Outcome>,
) -> Outcome {
    // Caught here already, so that it is reported as any failure is.
    let run = async {
        let outcome = caught(pass).await;
        outcome.unwrap_or_else(|problem| Outcome::failed(Failure::reconciliation(problem)))
    };
    let mut run = std::pin::pin!(run);
    tokio::select! {
        outcome = &mut run => return outcome,
        () = tokio::time::sleep(timeout) => {}
    }
    // One that is called off and ends its last request is nobody's failure.
    let is_called_off = halt.is_cancelled();
    halt.cancel();
    let mut outcome = run.await;
    if outcome.end == End::Superseded && !is_called_off {
        let message = format!("not done within spec.timeout ({} s)", timeout.as_secs_f64());
        outcome.end = End::Failed(Failure { reason: Reason::Timeout, message, retryable: true });
    }
    outcome
}

/// Sees to it that a Sync is not gone before what it owns is let go of.
async fn hold(context: &Context, pass: &mut Pass) -> Result<(), RequestError> {
    if !pass.is_last()
        && let Some(held) = context.cluster.set_finalizer(&*pass.sync, true).await?
    {
        pass.sync = Arc::new(held);
    }
    Ok(())
}

async fn say(context: &Context, reporting: &Reporting, pass: &Pass, mut outcome: Outcome) -> Passed {
    let now = Timestamp::now();
    log(pass, &outcome, now);
    for note in report::notes(pass, &outcome) {
        reporting
            .cluster
            .announce(&*pass.sync, note.kind, &note.reason, &note.text, pass.revision.about.as_deref())
            .await;
    }
    if let Some(bus) = &reporting.bus {
        for change in report::changes(pass, &outcome, &reporting.name, now) {
            bus.report(Report::Change(change.bounded()));
        }
    }
    let written = match outcome.end {
        // The pass that follows at once says how it is.
        End::Superseded => Ok(None),
        // It has no status any more, unless it could not be let go of.
        End::Left(_) => match pass::release(context, &pass.sync).await {
            Ok(()) => Ok(None),
            Err(error) => {
                outcome.end = End::Failed(Failure::from(error));
                write(reporting, pass, &outcome, now).await
            }
        },
        _ => write(reporting, pass, &outcome, now).await,
    };
    let reverted = reverted(&outcome);
    let unwritten = written.is_err();
    let object = written.ok().flatten();
    let Outcome { end, inventory, looked, .. } = outcome;
    Passed { uid: pass.sync.uid(), end, object, unwritten, inventory, looked, reverted }
}

fn reverted(outcome: &Outcome) -> Vec<(ObjectId, Drift)> {
    let what = |action: &Action| match &action.deed {
        Deed::Reverted(drift) => Some((action.id.clone(), drift.clone())),
        _ => None,
    };
    outcome.actions.iter().filter_map(what).collect()
}

fn log(pass: &Pass, outcome: &Outcome, now: Timestamp) {
    let elapsed_ms = now.duration_since(pass.started_at).as_millis();
    let done = report::summary(&outcome.actions);
    match &outcome.end {
        End::Failed(failure) => {
            tracing::error!(reason = failure.reason.as_str(), error = failure.message, done, elapsed_ms, "pass failed");
        }
        End::Held(..) => {
            tracing::warn!(message_text = report::ready(pass, outcome).message, done, elapsed_ms, "pass held");
        }
        End::Superseded => tracing::info!(done, elapsed_ms, "pass superseded"),
        End::Waiting(waits) => {
            let waits = report::waits(waits);
            tracing::info!(waits, done, elapsed_ms, "pass waits");
        }
        End::Untouched => tracing::debug!(elapsed_ms, "nothing the Sync reads has changed"),
        End::Drifted => {
            let drifted = outcome.drifted.as_ref().map_or(0, Vec::len);
            tracing::warn!(drifted, done, elapsed_ms, "pass done; drift is left as it is");
        }
        End::Succeeded => tracing::info!(done, elapsed_ms, "pass succeeded"),
        End::Left(why) => {
            tracing::info!(done, elapsed_ms, kept = outcome.kept.len(), objects_stay = why, "Sync torn down");
        }
    }
}

/// Writes the status if there is news; answers with the Sync as it is then, if that was worth anything.
async fn write(
    reporting: &Reporting,
    pass: &Pass,
    outcome: &Outcome,
    now: Timestamp,
) -> Result<Option<Box<Sync>>, Unwritten> {
    if outcome.end == End::Untouched && !is_status_due(pass, now) {
        return Ok(None);
    }
    let new = report::status(pass, outcome, now);
    match report::news(pass.sync.status.as_ref(), &new) {
        News::None => return Ok(None),
        News::Repetition if !is_status_due(pass, now) => {
            let mut counted = (*pass.sync).clone();
            counted.status = Some(new);
            return Ok(Some(Box::new(counted)));
        }
        News::Repetition | News::Some => {}
    }
    let written = write_status(&reporting.cluster, &pass.sync, new).await;
    report_written(reporting, written).map(Some)
}

/// At most once per interval for what is hardly news: commits that do not touch what the Sync reads, as in a busy monorepo,
/// and the same failure again.
fn is_status_due(pass: &Pass, now: Timestamp) -> bool {
    let interval: std::time::Duration = pass.sync.spec.interval.into();
    let managed = pass.sync.managed_fields().iter().filter(|m| m.subresource.as_deref() == Some("status"));
    let last = managed.filter_map(|m| m.time.as_ref().map(|t| t.0)).max();
    last.is_none_or(|last| now.duration_since(last).as_secs_f64() >= interval.as_secs_f64())
}

/// A status could not be written; the log says why.
pub(super) struct Unwritten;

pub(super) fn report_written(
    reporting: &Reporting,
    written: Result<Sync, RequestError>,
) -> Result<Box<Sync>, Unwritten> {
    match written {
        Ok(sync) => {
            if let Some(bus) = &reporting.bus {
                let status = report::sync_status(&sync, &reporting.name, false, Timestamp::now());
                bus.report(Report::Status(status.bounded()));
            }
            Ok(Box::new(sync))
        }
        Err(error) => {
            tracing::error!(error = %chain(&error), "failed to write the Sync's status");
            Err(Unwritten)
        }
    }
}

/// Writes a status; somebody else's write in between is taken in, unless it is another object by now.
async fn write_status(cluster: &Cluster, sync: &Sync, status: SyncStatus) -> Result<Sync, RequestError> {
    let mut object = sync.clone();
    let mut tries = 1;
    loop {
        object.status = Some(status.clone());
        match cluster.write_status(&object).await {
            Err(error) if error.is_conflict() && tries < CONFLICTS_MAX => {
                let (namespace, name) = (sync.namespace().unwrap_or_default(), sync.name_any());
                match cluster.read::<Sync>(&namespace, &name).await? {
                    Some(current) if current.uid() == sync.uid() => object = current,
                    _ => return Err(error),
                }
            }
            answer => return answer,
        }
        tries += 1;
    }
}

/// Says that something works against a Sync. The condition of it is written with whatever is written next.
pub(super) async fn warn(warning: Warning, reporting: Reporting) {
    let Warning { sync, message, brief } = warning;
    tracing::warn!(sync = %super::key(&*sync), message_text = message, "reverted again and again");
    reporting.cluster.announce(&*sync, EventKind::Warning, api::DRIFT_REPEATED, &message, None).await;
    if let Some(bus) = &reporting.bus {
        let change = report::told(&sync, Trigger::Drift, &brief, &reporting.name, Timestamp::now());
        bus.report(Report::Change(change.bounded()));
    }
}

/// Says on a Sync why no pass runs, and tells the loop whether that is said now. Somebody else's write in between is not
/// written over: it may be newer than the reason.
pub(super) async fn explain(explanation: Explanation, reporting: Reporting, events: mpsc::Sender<Event>) {
    let Explanation { sync, why } = explanation;
    let (key, uid) = (super::key(&*sync), sync.uid());
    tracing::warn!(sync = %key, reason = why.reason, error = why.message, "no pass can run");
    let work = async {
        let mut object = (*sync).clone();
        let now = Timestamp::now();
        object.status = Some(unready(&sync, &why, now));
        let written = report_written(&reporting, reporting.cluster.write_status(&object).await);
        if written.is_ok() {
            reporting.cluster.announce(&*sync, EventKind::Warning, why.reason, &why.message, None).await;
            if let Some(bus) = &reporting.bus {
                let change = report::told(&sync, Trigger::Settings, &why.message, &reporting.name, now);
                bus.report(Report::Change(change.bounded()));
            }
        }
        written.ok()
    };
    let written = caught(work).await.ok().flatten();
    let _ = events.send(Event::Explained { sync: key, uid, written }).await;
}

/// The status of a Sync that cannot run.
pub(super) fn unready(sync: &Sync, why: &Why, now: Timestamp) -> SyncStatus {
    let mut status = sync.status.clone().unwrap_or_default();
    let generation = sync.metadata.generation;
    if status.observed_generation != generation {
        // The spec may name another source by now, which counts its revisions for itself.
        status.last_attempted_sequence = None;
    }
    let verdict = |status| Verdict { status, reason: why.reason.to_owned(), message: why.message.clone() };
    let mut conditions = Conditions(std::mem::take(&mut status.conditions));
    conditions.clear(api::RECONCILING);
    conditions.clear(api::STALLED);
    if why.stalled {
        conditions.set(api::STALLED, verdict(api::ConditionStatus::True), generation, now);
    }
    conditions.set(api::READY, verdict(api::ConditionStatus::False), generation, now);
    status.conditions = conditions.0;
    status.observed_generation = generation;
    // Whoever asks for a pass is told why there is none.
    if let Some(requested) = sync.annotations().get(api::REQUESTED_AT) {
        status.last_handled_reconcile_at = Some(requested.clone());
    }
    status
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_pass_that_takes_too_long_is_a_failure_and_one_that_was_called_off_is_none() {
        let timeout = Duration::from_millis(1);
        let halt = CancellationToken::new();
        let halted = halt.clone();
        let run = async move {
            halted.cancelled().await;
            Outcome::stopped(End::Superseded, None)
        };
        let End::Failed(failure) = in_time(timeout, &halt, run).await.end else { panic!("it is in time") };
        assert_eq!(failure.reason, Reason::Timeout);
        // A newer revision has come, and the last request takes its time.
        let halt = CancellationToken::new();
        halt.cancel();
        let run = async {
            tokio::time::sleep(20 * timeout).await;
            Outcome::stopped(End::Superseded, None)
        };
        assert_eq!(in_time(timeout, &halt, run).await.end, End::Superseded);
    }
}
