//! Syncs within the engine: they come, change and go, and are offered what their sources have.
//!
//! Knows what is kept of a Sync. Passes start in [`super::starting`] and end in [`super::ended`].

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::api::Duration;
use crate::api::ResourceExt as _;
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;
use towline_plan::object::{ObjectId, SyncKey};
use towline_plan::schedule::fights::Fights;
use towline_plan::schedule::sync::{Settings, SyncSchedule, Trigger};

use super::depends::source;
use super::members::Hold;
use super::resources::is_newer;
use super::standing::Standing;
use super::{Action, Engine, Moment, SourceKey, key};
use crate::api::{self, Sync};
use crate::cluster::locked;
use crate::pass::health::Objects;
use crate::pass::is_leaving;

/// One Sync.
pub(super) struct SyncEntry {
    pub object: Arc<Sync>,
    pub hold: Hold,
    pub schedule: SyncSchedule,
    /// Cuts the running pass short.
    pub halt: Option<CancellationToken>,
    /// Why it does not run, as last said.
    pub explained: Option<String>,
    /// It is not said before this moment: the last write failed.
    pub explain_after: Option<Timestamp>,
    /// The sequence of the last pass that ended well.
    pub settled: Option<u64>,
    /// The sequence of the last pass that was not cut short, however it ended.
    pub ended: Option<u64>,
    /// What others change back as often as it is put right.
    pub fights: Fights,
    /// What is to be said of it beside what passes say.
    pub standing: Standing,
    /// Of what its health was told last.
    pub looked: Option<Arc<Objects>>,
    /// Whose claims its last pass waited to hear.
    pub unjudged: BTreeSet<SyncKey>,
    /// What it only keeps until others have it, as its last pass left it.
    pub handed_over: BTreeSet<ObjectId>,
}

impl SyncEntry {
    /// One that starts from what its status says; `named` is the sequence its source has come to.
    pub(super) fn new(object: Sync, hold: Hold, named: u64, now: Timestamp) -> Self {
        // A spec changed since may name another source, which counts for itself.
        let status = object.status.as_ref().filter(|s| s.observed_generation == object.metadata.generation);
        let attempted = status.and_then(|s| s.last_attempted_sequence).unwrap_or(0);
        let mut schedule = SyncSchedule::new(settings(&object), attempted.max(named), now);
        if is_leaving(&object) {
            schedule.leave();
        }
        Self {
            object: Arc::new(object),
            hold,
            schedule,
            halt: None,
            explained: None,
            explain_after: None,
            settled: None,
            ended: None,
            fights: Fights::default(),
            standing: Standing::default(),
            looked: None,
            unjudged: BTreeSet::new(),
            handed_over: BTreeSet::new(),
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        let conditions = self.object.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
        conditions.iter().any(|c| c.type_ == api::READY && c.status == "True")
    }

    pub(super) fn source(&self) -> SourceKey {
        source(&self.object)
    }

    /// Whether anything is to be done for it: not for one that is deleted and torn down, or was never held.
    pub(super) fn is_wanted(&self) -> bool {
        self.object.metadata.deletion_timestamp.is_none() || is_leaving(&self.object)
    }
}

pub(super) fn settings(sync: &Sync) -> Settings {
    // A pass a second is what a person can follow; shorter is a mistake that would press the API server.
    let wait = |duration: Duration| {
        let wait = SignedDuration::try_from(std::time::Duration::from(duration)).unwrap_or(SignedDuration::MAX);
        wait.max(SignedDuration::from_secs(1))
    };
    Settings {
        interval: wait(sync.spec.interval),
        retry_interval: wait(sync.spec.retry_interval),
        timeout: wait(sync.spec.timeout),
        suspended: sync.spec.suspend,
    }
}

impl Engine {
    pub(super) fn sync_applied(&mut self, object: Sync, at: Moment, actions: &mut Vec<Action>) {
        let key = key(&object);
        let known = self.syncs.get(&key).map(|entry| Arc::clone(&entry.object));
        match known {
            Some(known) if known.uid() == object.uid() => {
                if !is_newer(&object, &*known) {
                    return;
                }
                self.sync_changed(&key, object, &known);
                self.wake_dependents(&key, Some(&known));
            }
            known => {
                if known.is_some() {
                    // Deleted and created again, and the watch missed the moment in between.
                    self.sync_gone(&key, actions);
                }
                let entry = SyncEntry::new(object, self.hold_of_new(&key), 0, at.now);
                self.syncs.insert(key.clone(), entry);
                self.index(&key);
                self.wake_dependents(&key, None);
            }
        }
        self.reckon_with(&key);
        self.offer_to(&key);
    }

    fn sync_changed(&mut self, key: &SyncKey, object: Sync, known: &Sync) {
        let Some(entry) = self.syncs.get_mut(key) else { return };
        let annotation = |sync: &Sync, name: &str| sync.annotations().get(name).cloned();
        let moved = |name: &str| annotation(&object, name) != annotation(known, name);
        let source_changed = object.spec.source_ref != known.spec.source_ref;
        let mut is_over = false;
        if object.metadata.generation != known.metadata.generation {
            // The running pass prunes and acts as the old spec says.
            is_over = entry.schedule.configure(settings(&object));
        } else if moved(api::ALLOW_DELETIONS) || moved(api::ACCEPT_INVENTORY) {
            entry.schedule.want(Trigger::Settings);
        } else if moved(api::REQUESTED_AT) {
            entry.schedule.want(Trigger::Request);
        }
        if source_changed {
            entry.schedule.change_source();
            (entry.settled, entry.ended) = (None, None);
        }
        let is_leaving = is_leaving(&object);
        is_over |= source_changed || (is_leaving && entry.schedule.leave()) || (object.spec.suspend && !is_leaving);
        if is_over && let Some(halt) = &entry.halt {
            halt.cancel();
        }
        entry.object = Arc::new(object);
        entry.explained = None;
    }

    pub(super) fn sync_gone(&mut self, key: &SyncKey, actions: &mut Vec<Action>) {
        if let Some(entry) = self.syncs.remove(key) {
            if let Some(halt) = entry.halt {
                halt.cancel();
                self.leaving.insert(key.clone());
            }
            self.wake_dependents(key, Some(&entry.object));
            if entry.hold != Hold::Others {
                actions.push(Action::Bury(Box::new((*entry.object).clone())));
            }
        }
        let contenders = locked(&self.shared.claims).contenders(key);
        self.index(key);
        self.reckon_with(key);
        // What it had can be taken over now.
        for other in contenders {
            if let Some(entry) = self.syncs.get_mut(&other) {
                entry.schedule.want(Trigger::Progress);
            }
        }
        self.shared.watches.forget_sync(key);
    }

    /// Offers a source's revision to all Syncs that work from it.
    pub(super) fn offer(&mut self, source: &SourceKey) {
        let keys: Vec<SyncKey> =
            self.syncs.iter().filter(|(_, entry)| entry.source() == *source).map(|(key, _)| key.clone()).collect();
        keys.iter().for_each(|key| self.offer_to(key));
    }

    pub(super) fn offer_to(&mut self, key: &SyncKey) {
        if self.syncs.get(key).is_none_or(|entry| self.denied(&entry.object).is_some()) {
            return;
        }
        let Some(entry) = self.syncs.get_mut(key) else { return };
        let Some(revision) = self.sources.get(&entry.source()).and_then(|s| s.revision.as_ref()) else { return };
        if entry.schedule.offer(revision.sequence)
            && let Some(halt) = &entry.halt
        {
            halt.cancel();
        }
    }
}
