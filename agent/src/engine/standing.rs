//! What is to be said of a Sync between its passes: that it is suspended, that others fight over its objects.
//!
//! Knows when that is not said yet, and says it. What a pass found is said by the pass.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use towline_plan::diff::Drift;
use towline_plan::naming::list;
use towline_plan::object::{ObjectId, SyncKey};

use super::members::Hold;
use super::passing::{Reporting, report_written};
use super::sync::{SyncEntry, settings};
use super::{Action, Engine, Event, Moment, caught, key};
use crate::api::{self, ResourceExt as _, Sync};
use crate::cluster::EventKind;
use crate::pass::{Context, health};
use crate::report::{self, News};

/// How long after a write there is another: health may go up and down, and an API server that is down is not to be pressed.
const SAY_AGAIN: SignedDuration = SignedDuration::from_secs(5);
/// Where the saying is.
#[derive(Debug, Default)]
pub(super) struct Standing {
    is_underway: bool,
    /// And it says how healthy things are.
    is_of_health: bool,
    /// The health of something moved since it was last looked at.
    is_moved: bool,
    /// Not before this moment: the last write failed.
    after: Option<Timestamp>,
}

impl Standing {
    /// The health of something moved.
    pub(super) fn look(&mut self) {
        self.is_moved = true;
    }
}

/// Something to say.
pub struct Stand {
    pub sync: Arc<Sync>,
    pub fights: Option<String>,
    /// Of which the health is to be said anew.
    pub looked: Option<Arc<health::Objects>>,
}

/// What others fight over, in the words that `say` has for what happens to each.
pub(super) fn fights<'a>(
    fights: impl Iterator<Item = (&'a ObjectId, &'a Drift)>,
    say: fn(&'a Drift) -> &'a str,
) -> String {
    let all: Vec<_> = fights.map(|(id, what)| format!("{id} ({})", say(what))).collect();
    format!(
        "changed again as often as it is put right, which is done less and less often now: {}",
        list(all.into_iter())
    )
}

/// The same of all fights over a Sync's objects that go on.
pub(super) fn all_fights(entry: &SyncEntry) -> Option<String> {
    entry.fights.going_on().next().is_some().then(|| fights(entry.fights.going_on(), |drift| &drift.what))
}

fn has(sync: &Sync, kind: &str) -> bool {
    let conditions = sync.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    conditions.iter().any(|c| c.type_ == kind)
}

impl SyncEntry {
    /// Whether its status does not say how it stands.
    fn is_unsaid(&self) -> bool {
        let is_fought = self.fights.going_on().next().is_some();
        (self.standing.is_moved && health::is_asked(&self.object.spec))
            || self.object.spec.suspend != has(&self.object, api::SUSPENDED)
            || is_fought != has(&self.object, api::DRIFT_REPEATED)
    }

    fn is_to_stand(&self) -> bool {
        self.is_unsaid() && !self.standing.is_underway && !self.schedule.is_running()
    }

    /// When something is to be said or is over.
    pub(super) fn next_standing(&self, now: Timestamp) -> Option<Timestamp> {
        let over = self.fights.over_at(settings(&self.object).retry_interval);
        let say = self.is_to_stand().then(|| self.standing.after.unwrap_or(now));
        over.into_iter().chain(say).min()
    }

    fn peace(&mut self, now: Timestamp) {
        let retry_interval = settings(&self.object).retry_interval;
        if self.fights.over_at(retry_interval).is_some_and(|over| over <= now) {
            self.fights.forget(retry_interval, now);
            self.schedule.put_off_drift(self.fights.drift_waits_until(retry_interval));
        }
    }
}

impl Engine {
    pub(super) fn start_standings(&mut self, at: Moment, actions: &mut Vec<Action>) {
        for entry in self.syncs.values_mut().filter(|entry| entry.hold == Hold::Own) {
            entry.peace(at.now);
            if entry.is_to_stand() && entry.standing.after.is_none_or(|after| after <= at.now) {
                entry.standing.is_underway = true;
                let is_moved = std::mem::take(&mut entry.standing.is_moved);
                entry.standing.is_of_health = is_moved;
                let looked = entry.looked.clone().filter(|_| is_moved);
                let fights = all_fights(entry);
                actions.push(Action::Stand(Box::new(Stand { sync: Arc::clone(&entry.object), fights, looked })));
            }
        }
    }

    pub(super) fn stood(&mut self, key: &SyncKey, stood: Stood, at: Moment, actions: &mut Vec<Action>) {
        let Some(entry) = self.syncs.get_mut(key).filter(|entry| entry.object.uid() == stood.uid) else { return };
        entry.standing.is_underway = false;
        // What could not be written is to be said all the same.
        entry.standing.is_moved |= entry.standing.is_of_health && stood.written.is_none();
        // Not more often than a person could read it, and later where it could not be written.
        entry.standing.after = Some(at.now.saturating_add(SAY_AGAIN).unwrap_or(at.now));
        if let Some(written) = stood.written.filter(|written| written.uid() == stood.uid) {
            self.sync_applied(*written, at, actions);
        }
    }
}

/// What came of saying how a Sync stands.
#[derive(Debug)]
pub struct Stood {
    /// Of the Sync it was said of.
    pub uid: Option<String>,
    /// The Sync as it is then; `None`: it could not be written.
    pub written: Option<Box<Sync>>,
}

/// Says how a Sync stands. Somebody else's write in between is not written over: it may be newer.
pub(super) async fn stand(stand: Stand, context: Context, reporting: Reporting, events: mpsc::Sender<Event>) {
    let Stand { sync, fights, looked } = stand;
    let (key, uid) = (key(&*sync), sync.uid());
    let work = async {
        let healthy = looked.and_then(|objects| health::between(&context, &sync, &objects));
        let status = report::standing(&sync, fights.as_deref(), healthy, Timestamp::now());
        if report::news(sync.status.as_ref(), &status) == News::None {
            return Some(Box::new((*sync).clone()));
        }
        let mut object = (*sync).clone();
        object.status = Some(status);
        let written = report_written(&reporting, reporting.cluster.write_status(&object).await).ok()?;
        if let Some(note) = report::suspension(&sync) {
            tracing::info!(sync = %key, message_text = note.text, "{}", note.reason);
            reporting.cluster.announce(&*sync, EventKind::Normal, &note.reason, &note.text, None).await;
        }
        Some(written)
    };
    let written = caught(work).await.ok().flatten();
    let _ = events.send(Event::Stood { sync: key.clone(), stood: Stood { uid, written } }).await;
}
