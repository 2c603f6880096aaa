//! Syncs within the engine: when a pass runs, and at which revision.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::api::Duration;
use crate::api::ResourceExt as _;
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;
use towline_plan::object::{ObjectId, SyncKey};
use towline_plan::schedule::fights::Fights;
use towline_plan::schedule::sync::{Ended, Settings, Start, SyncSchedule, Trigger};
use towline_plan::wait::Wait;
use towline_proto::CommitId;

use super::depends::source;
use super::members::Hold;
use super::passing::{self, Passed};
use super::standing::{self, Standing};
use super::{Action, Engine, Moment, OpenMirror, SourceKey, is_newer, key};
use crate::api::{self, Sync};
use crate::cluster::{Moved, Movement, locked};
use crate::pass::{End, Failure, Needs, Pass, Reason, Revision, is_leaving};

/// How long after a failed write it is said again why a Sync does not run: long enough not to press an API server that is down.
const EXPLAIN_AGAIN: SignedDuration = SignedDuration::from_secs(5);

/// What stands for the commit of a Sync that is deleted before it was ever at one.
const NO_COMMIT: &str = "ffffffffffffffffffffffffffffffffffffffff";

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
    /// What others change back as often as it is put right.
    pub fights: Fights,
    /// What is to be said of it beside what passes say.
    pub standing: Standing,
    /// Whose claims its last pass waited to hear.
    pub unjudged: BTreeSet<SyncKey>,
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
            fights: Fights::default(),
            standing: Standing::default(),
            unjudged: BTreeSet::new(),
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        let conditions = self.object.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
        conditions.iter().any(|c| c.type_ == api::READY && c.status == "True")
    }

    /// Takes in what was put right, and answers with what is to be told of fights that begin by that.
    fn fought(&mut self, reverted: Vec<(ObjectId, String)>, now: Timestamp) -> Option<String> {
        let retry_interval = settings(&self.object).retry_interval;
        let begun = self.fights.corrected(reverted, retry_interval, now);
        self.schedule.put_off_drift(self.fights.drift_waits_until(retry_interval));
        if begun.is_empty() {
            return None;
        }
        let begun = self.fights.going_on().filter(|(id, _)| begun.contains(id));
        Some(standing::fights(begun))
    }

    pub(super) fn source(&self) -> SourceKey {
        source(&self.object)
    }

    /// Whether anything is to be done for it: not for one that is deleted and torn down, or was never held.
    pub(super) fn is_wanted(&self) -> bool {
        self.object.metadata.deletion_timestamp.is_none() || is_leaving(&self.object)
    }
}

/// The revision the objects of a Sync were last brought to, as far as its status tells.
fn last_revision(sync: &Sync) -> Option<Revision> {
    let status = sync.status.as_ref();
    let name = status.and_then(|status| status.last_attempted_revision.clone());
    let commit = name.as_deref().and_then(|name| name.rsplit_once(':')).and_then(|(_, id)| CommitId::parse(id).ok());
    Some(Revision {
        // Nothing is read at it.
        commit: commit.or_else(|| CommitId::parse(NO_COMMIT).ok())?,
        name: name.unwrap_or_else(|| "no revision".to_owned()),
        sequence: status.and_then(|status| status.last_attempted_sequence).unwrap_or_default(),
        delivery: None,
    })
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
        if object.metadata.generation != known.metadata.generation {
            entry.schedule.configure(settings(&object));
        } else if moved(api::ALLOW_DELETIONS) || moved(api::ACCEPT_INVENTORY) {
            entry.schedule.want(Trigger::Settings);
        } else if moved(api::REQUESTED_AT) {
            entry.schedule.want(Trigger::Request);
        }
        if source_changed {
            entry.schedule.change_source();
            entry.settled = None;
            if let Some(halt) = &entry.halt {
                halt.cancel();
            }
        }
        let is_leaving = is_leaving(&object);
        let is_over = (is_leaving && entry.schedule.leave()) || (object.spec.suspend && !is_leaving);
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

    pub(super) fn moved(&mut self, moved: &Moved) {
        let Some(entry) = self.syncs.get_mut(&moved.sync) else { return };
        match moved.what {
            Movement::Drift => entry.schedule.want(Trigger::Drift),
            Movement::Progress => {
                // Where no pass waits for it, the condition may have to say it; whether one that runs will wait is not known.
                if !entry.schedule.progressed() || entry.schedule.is_running() {
                    entry.standing.look();
                }
            }
            Movement::Awaited => entry.schedule.want(Trigger::Progress),
        }
    }

    pub(super) fn passed(&mut self, key: &SyncKey, passed: Passed, at: Moment, actions: &mut Vec<Action>) {
        let Passed { uid, end, object, unwritten, inventory, reverted } = passed;
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
        let waits = if let End::Waiting(waits) = &end { waits.as_slice() } else { &[] };
        let unjudged = waits.iter().filter_map(|wait| if let Wait::Judged(syncs) = wait { Some(syncs) } else { None });
        entry.unjudged = unjudged.flatten().cloned().collect();
        let asked = entry.unjudged.clone();
        let how = match end {
            // As long as that is not said, nobody else can rely on it.
            End::Untouched | End::Succeeded if unwritten => Ended::Failed { retryable: true },
            End::Untouched | End::Succeeded => Ended::Succeeded,
            // Held until somebody acts, which wakes it; looked at again at the interval.
            End::Held(..) => Ended::Failed { retryable: false },
            // It ends when somebody changes one of them, who is one this Sync depends on.
            End::Failed(Failure { reason: Reason::DependencyCycle, .. }) => {
                Ended::Waiting { bounded: false, blind: false }
            }
            End::Failed(Failure { reason: Reason::HealthCheckFailed, .. }) => Ended::Overdue,
            End::Failed(failure) => Ended::Failed { retryable: failure.retryable },
            End::Waiting(waits) => Ended::Waiting {
                bounded: waits.iter().any(Wait::is_bounded),
                // What cannot be watched is read again.
                blind: waits.iter().any(|wait| matches!(wait, Wait::Unwatched(_))),
            },
            End::Superseded => Ended::Superseded,
            // It is there until whoever else holds it lets go.
            End::Left(_) => Ended::Succeeded,
        };
        let settles = (how == Ended::Succeeded).then(|| entry.schedule.running()).flatten();
        let is_news = settles > entry.settled;
        entry.settled = entry.settled.max(settles);
        entry.schedule.ended(how, at.now, at.dice);
        if let Some(message) = entry.fought(reverted, at.now) {
            actions.push(Action::Warn(Box::new(passing::Warning { sync: Arc::clone(&entry.object), message })));
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

    pub(super) fn explained(
        &mut self,
        key: &SyncKey,
        uid: Option<String>,
        written: Option<Box<Sync>>,
        at: Moment,
        actions: &mut Vec<Action>,
    ) {
        let Some(entry) = self.syncs.get_mut(key).filter(|entry| entry.object.uid() == uid) else { return };
        match written.filter(|written| written.uid() == uid) {
            Some(written) => {
                entry.explain_after = None;
                self.sync_applied(*written, at, actions);
            }
            None => {
                entry.explained = None;
                entry.explain_after = at.now.checked_add(EXPLAIN_AGAIN).ok();
            }
        }
    }

    /// What a Sync can work from now.
    pub(super) fn offered(&self, entry: &SyncEntry) -> Option<(&Revision, &OpenMirror)> {
        let source = self.sources.get(&entry.source()).filter(|_| self.denied(&entry.object).is_none())?;
        source.revision.as_ref().zip(source.mirror.as_ref())
    }

    pub(super) fn start_passes(&mut self, at: Moment, actions: &mut Vec<Action>) {
        let mut starting = Vec::new();
        let is_due = |entry: &SyncEntry| entry.schedule.next(at.now).is_some_and(|due| due <= at.now);
        let due = self.own_syncs().filter(|(_, entry)| entry.is_wanted());
        let due = due.filter(|(_, entry)| is_due(entry) || self.can_run(entry).is_none());
        let keys: Vec<SyncKey> = due.map(|(key, _)| key.clone()).collect();
        for key in keys {
            let Some(entry) = self.syncs.get(&key) else { continue };
            if self.can_run(entry).is_none() {
                let why = self.unoffered(entry);
                if let (Some(why), Some(entry)) = (why, self.syncs.get_mut(&key)) {
                    explain(entry, why, at, actions);
                }
                continue;
            }
            if self.leaving.contains(&key) {
                continue;
            }
            let start = self.syncs.get_mut(&key).and_then(|entry| entry.schedule.start(at.now));
            starting.extend(start.map(|start| (key, start)));
        }
        // Only when all are started it is known what each of them may have to wait for.
        for (key, start) in starting {
            actions.extend(self.pass(key, start, at));
        }
    }

    fn pass(&mut self, key: SyncKey, start: Start, at: Moment) -> Option<Action> {
        let entry = self.syncs.get(&key)?;
        let (needs, inventory, work) = match entry.schedule.is_leaving() {
            // What is deleted for good is read anew.
            true => (Needs::default(), None, (last_revision(&entry.object)?, None)),
            false => {
                let (revision, mirror) = self.offered(entry)?;
                debug_assert_eq!(start.sequence, revision.sequence, "the newest revision is what was offered");
                let needs = self.needs(entry, start.sequence);
                (needs, self.inventories.get(&key).cloned(), (revision.clone(), Some(mirror.0.clone())))
            }
        };
        let (revision, mirror) = work;
        let entry = self.syncs.get_mut(&key)?;
        let halt = CancellationToken::new();
        entry.halt = Some(halt.clone());
        entry.explained = None;
        let sync = Arc::clone(&entry.object);
        let fights = standing::all_fights(entry);
        let Start { trigger, look, waiting_since, .. } = start;
        let started_at = at.now;
        let pass = Pass {
            key,
            sync,
            revision,
            trigger,
            look,
            waiting_since,
            needs,
            fights,
            mirror,
            inventory,
            started_at,
            halt,
        };
        Some(Action::Pass(Box::new(passing::Job { pass })))
    }

    /// Whether a Sync has what its next pass works from.
    pub(super) fn can_run(&self, entry: &SyncEntry) -> Option<()> {
        (entry.schedule.is_leaving() || self.offered(entry).is_some()).then_some(())
    }

    /// Why a Sync has nothing to work from; `None`: it is on its way.
    fn unoffered(&self, entry: &SyncEntry) -> Option<Why> {
        if let Some(denied) = self.denied(&entry.object) {
            return Some(Why { reason: "AccessDenied", message: denied, stalled: true });
        }
        let key = entry.source();
        let not_ready = |message| Some(Why { reason: "SourceNotReady", message, stalled: false });
        let Some(source) = self.sources.get(&key) else { return not_ready(format!("GitSource {key} does not exist")) };
        if let Some(trouble) = &source.trouble {
            return not_ready(format!("GitSource {key}: {trouble}"));
        }
        let conditions = source.object.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
        // Else its first fetch is under way: nothing is wrong yet.
        let ready = conditions.iter().find(|c| c.type_ == api::READY && c.status == "False")?;
        not_ready(format!("GitSource {key} has no revision: {}", ready.message))
    }
}

/// Why a Sync does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    pub reason: &'static str,
    pub message: String,
    /// Only a change of the Sync, its source or the agent's configuration helps.
    pub stalled: bool,
}

/// Says why a Sync does not run, once per reason.
fn explain(entry: &mut SyncEntry, why: Why, at: Moment, actions: &mut Vec<Action>) {
    let said = entry.object.status.as_ref().and_then(|s| s.conditions.iter().find(|c| c.type_ == api::READY));
    let is_said = said.is_some_and(|ready| {
        let of_now = ready.observed_generation == entry.object.metadata.generation;
        of_now && (ready.reason.as_str(), &ready.message) == (why.reason, &why.message)
    });
    let is_early = entry.explain_after.is_some_and(|after| after > at.now);
    let is_underway = entry.explained.as_ref() == Some(&why.message) || entry.schedule.is_running();
    if is_said || is_early || is_underway || entry.object.spec.suspend {
        return;
    }
    entry.explained = Some(why.message.clone());
    actions.push(Action::Explain(Box::new(passing::Explanation { sync: Arc::clone(&entry.object), why })));
}
