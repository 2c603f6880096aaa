//! What passes came to, and what moves between them: how the schedule takes it, and who else is to know.
//!
//! Knows the end of a pass. What it did and said is the pass's own business.

use std::sync::Arc;

use crate::api::ResourceExt as _;
use jiff::Timestamp;
use towline_plan::diff::Drift;
use towline_plan::object::{ObjectId, SyncKey};
use towline_plan::schedule::sync::{Ended, Trigger};
use towline_plan::wait::Wait;

use super::passing::{Passed, Warning};
use super::sync::{SyncEntry, settings};
use super::{Action, Engine, Moment, standing};
use crate::cluster::{Moved, Movement, locked};
use crate::pass::{End, Failure, Reason};

impl SyncEntry {
    /// Takes in what was put right, and answers with what is to be told of fights that begin by that.
    fn fought(&mut self, reverted: Vec<(ObjectId, Drift)>, now: Timestamp) -> Option<Warning> {
        let retry_interval = settings(&self.object).retry_interval;
        let begun = self.fights.corrected(reverted, retry_interval, now);
        self.schedule.put_off_drift(self.fights.drift_waits_until(retry_interval));
        if begun.is_empty() {
            return None;
        }
        let begun = || self.fights.going_on().filter(|(id, _)| begun.contains(id));
        let message = standing::fights(begun(), |drift| &drift.what);
        let brief = standing::fights(begun(), |drift| &drift.brief);
        Some(Warning { sync: Arc::clone(&self.object), message, brief })
    }
}

impl Engine {
    pub(super) fn moved(&mut self, moved: &Moved, now: Timestamp) {
        let Some(entry) = self.syncs.get_mut(&moved.sync) else { return };
        match moved.what {
            Movement::Drift => entry.schedule.want(Trigger::Drift),
            Movement::Progress => {
                // Where no pass waits for it, the condition may have to say it; whether one that runs will wait is not known.
                if !entry.schedule.progressed() || entry.schedule.is_running() {
                    entry.standing.look();
                }
            }
            Movement::Awaited => entry.schedule.came(now),
        }
    }

    pub(super) fn passed(&mut self, key: &SyncKey, passed: Passed, at: Moment, actions: &mut Vec<Action>) {
        let Passed { uid, end, object, unwritten, inventory, looked, reverted } = passed;
        if self.leaving.remove(key) {
            // It went on for a moment after its Sync was gone: what it claimed and found then is nobody's. A Sync that was
            // created again starts now, and reads what there is.
            locked(&self.shared.claims).remove(key);
            self.index(key);
            self.shared.watches.forget_sync(key);
            return;
        }
        if let Some(inventory) = inventory {
            self.inventory_applied(inventory);
        } else if end != End::Untouched {
            // What is remembered may be out of date, what was read before all the more: the next pass reads it.
            self.inventories.remove(key);
        }
        let Some(entry) = self.syncs.get_mut(key).filter(|entry| entry.object.uid() == uid) else { return };
        entry.halt = None;
        if let Some(looked) = looked {
            entry.looked = Some(Arc::new(looked));
        }
        let waits = if let End::Waiting(waits) = &end { waits.as_slice() } else { &[] };
        let unjudged = waits.iter().filter_map(|wait| if let Wait::Judged(syncs) = wait { Some(syncs) } else { None });
        entry.unjudged = unjudged.flatten().cloned().collect();
        let asked = entry.unjudged.clone();
        let how = match end {
            // As long as that is not said, nobody else can rely on it.
            End::Untouched | End::Succeeded | End::Drifted if unwritten => Ended::Failed { retryable: true },
            End::Untouched | End::Succeeded | End::Drifted => Ended::Succeeded,
            End::Held(..) if unwritten => Ended::Failed { retryable: true },
            // Held until somebody acts, which wakes it; looked at again at the interval.
            End::Held(..) => Ended::Held,
            // It ends when somebody changes one of them, who is one this Sync depends on.
            End::Failed(Failure { reason: Reason::DependencyCycle, .. }) => {
                Ended::Waiting { bounded: false, blind: unwritten, looked: false }
            }
            End::Failed(Failure { reason: Reason::HealthCheckFailed | Reason::TerminationTimeout, .. }) => {
                Ended::Overdue
            }
            End::Failed(Failure { reason: Reason::Outrun, .. }) => Ended::Outrun,
            End::Failed(failure) => Ended::Failed { retryable: failure.retryable || unwritten },
            End::Waiting(waits) => Ended::Waiting {
                bounded: waits.iter().any(Wait::is_bounded),
                // What cannot be watched is read again; what could not be said is said again.
                blind: unwritten || waits.iter().any(|wait| matches!(wait, Wait::Unwatched(_))),
                looked: !waits.iter().any(|wait| matches!(wait, Wait::Dependencies(_))),
            },
            End::Superseded => Ended::Superseded,
            // It is there until whoever else holds it lets go.
            End::Left(_) => Ended::Succeeded,
        };
        if how != Ended::Superseded {
            entry.ended = entry.schedule.running();
        }
        let settles = (how == Ended::Succeeded).then(|| entry.schedule.running()).flatten();
        let is_news = settles > entry.settled;
        entry.settled = entry.settled.max(settles);
        entry.schedule.ended(how, at.now, at.dice);
        if let Some(warning) = entry.fought(reverted, at.now) {
            actions.push(Action::Warn(Box::new(warning)));
        }
        // As the watch would tell: what was changed since the last event of the watch came along with the answer.
        match object.filter(|object| object.uid() == uid) {
            Some(counted) if counted.resource_version() == entry.object.resource_version() => {
                entry.object = Arc::new(*counted);
            }
            Some(written) => self.sync_applied(*written, at, actions),
            None => {}
        }
        if is_news {
            self.wake_all_dependents(key);
        }
        self.ask(&asked);
        self.claims_known(key);
    }
}
