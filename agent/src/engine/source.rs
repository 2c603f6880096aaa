//! Sources within the engine: from a ref to a published revision.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::api::ResourceExt as _;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use towline_plan::schedule::source::{SourceSchedule, Verdict as Tip};
use towline_proto::{CommitEvent, CommitId, RefName, RepositoryId};

use super::fetching;
use super::members::Role;
use super::{Action, Engine, FetchFailure, Moment, OpenMirror, SourceKey, is_newer, key};
use crate::api::{self, ConditionStatus, Conditions, GitSource, GitSourceStatus, LastEvent, Verdict};
use crate::bus::Interest;
use crate::pass::Revision;

/// One source.
pub(super) struct SourceEntry {
    pub object: Arc<GitSource>,
    /// What this replica does for it.
    pub role: Role,
    pub schedule: SourceSchedule,
    /// What is wrong with the spec: then nothing is fetched.
    pub invalid: Option<String>,
    pub interest: Option<Interest>,
    /// The fetch whose result counts.
    pub fetch: u64,
    /// The newest tip that was fetched, and where to.
    pub fetched: Option<(OpenMirror, CommitId)>,
    /// Why a follower does not have what the status names.
    pub trouble: Option<String>,
    /// What a follower looks for because the status names it.
    pub asked: Option<CommitId>,
    /// What Syncs work from: verified, and recorded in the status. Stays until there is a newer one, also where another
    /// repository or ref is to be followed.
    pub revision: Option<Revision>,
    /// Where that revision is.
    pub mirror: Option<OpenMirror>,
    /// A suspended source was looked for in its mirror: what was fetched stays in use, also over a restart.
    pub recovering: bool,
    /// What the status is to say; written when it differs.
    pub wanted: Wanted,
    pub writing: bool,
    /// The delivery of the last event, for the trail of what it leads to.
    pub delivery: Option<String>,
    /// The newest request for a look, and the one the running fetch began after: only that one does it answer.
    pub requested: Option<String>,
    pub answering: Option<String>,
    /// No write before this moment: the last one failed.
    pub write_after: Option<Timestamp>,
}

/// What a source's status is to say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    pub tip: Option<CommitId>,
    pub ready: Option<Verdict>,
    pub events: Option<Verdict>,
    pub last_event: Option<LastEvent>,
    pub handled: Option<String>,
}

/// A write of a source's status.
pub struct Write {
    pub source: SourceKey,
    pub object: Arc<GitSource>,
    pub wanted: Wanted,
}

impl SourceEntry {
    pub(super) fn next(&self) -> Option<Timestamp> {
        if self.writing || self.role == Role::None {
            return None;
        }
        let fetch = self.schedule.next().filter(|_| self.invalid.is_none());
        let write = self.write_after.filter(|_| self.is_unwritten());
        fetch.into_iter().chain(write).min()
    }

    pub(super) fn interest(&self) -> Option<Interest> {
        let listens = self.role != Role::None && self.invalid.is_none() && !self.object.spec.suspend;
        self.interest.clone().filter(|_| listens)
    }

    fn is_unwritten(&self) -> bool {
        if self.role != Role::Owner {
            return false;
        }
        let old = self.object.status.clone().unwrap_or_default();
        let new = status(&self.object, &self.wanted, Timestamp::UNIX_EPOCH);
        !says_the_same(&old, &new)
    }

    fn reference(&self) -> Option<RefName> {
        self.interest.as_ref().map(|interest| interest.reference.clone())
    }
}

/// The status a source is to have. The sequence counts on when the tip is another one than recorded.
pub(super) fn status(object: &GitSource, wanted: &Wanted, now: Timestamp) -> GitSourceStatus {
    let mut status = object.status.clone().unwrap_or_default();
    let generation = object.metadata.generation;
    let mut conditions = Conditions(std::mem::take(&mut status.conditions));
    for (kind, verdict) in [(api::READY, &wanted.ready), (api::EVENTS_READY, &wanted.events)] {
        if let Some(verdict) = verdict {
            conditions.set(kind, verdict.clone(), generation, now);
        }
    }
    status.conditions = conditions.0;
    if let Some(tip) = &wanted.tip {
        let name = revision_name(object, tip);
        if status.revision.as_ref() != Some(&name) {
            status.revision = Some(name);
            // Counted from the time of the first revision: a source that was deleted and created again, or restored
            // without its status, never counts behind what its Syncs attempted already.
            let first = u64::try_from(now.as_second()).unwrap_or_default();
            status.sequence = Some(status.sequence.map_or(first, |sequence| sequence + 1));
        }
    }
    if wanted.ready.is_some() {
        status.observed_generation = generation;
        status.last_attempt = Some(Time(now));
    }
    if wanted.last_event.is_some() {
        status.last_event.clone_from(&wanted.last_event);
    }
    if wanted.handled.is_some() {
        status.last_handled_reconcile_at.clone_from(&wanted.handled);
    }
    status
}

fn revision_name(object: &GitSource, tip: &CommitId) -> String {
    format!("{}@sha1:{tip}", object.spec.reference.short_name())
}

/// Times of attempts and events aside: a poll that found nothing new is not worth a write.
fn says_the_same(old: &GitSourceStatus, new: &GitSourceStatus) -> bool {
    let plain = |status: &GitSourceStatus| {
        let conditions: BTreeMap<_, _> = status
            .conditions
            .iter()
            .map(|c| (c.type_.clone(), (c.status.clone(), c.reason.clone(), c.message.clone(), c.observed_generation)))
            .collect();
        (conditions, status.observed_generation, status.revision.clone(), status.last_handled_reconcile_at.clone())
    };
    plain(old) == plain(new)
}

impl Engine {
    pub(super) fn source_applied(&mut self, object: GitSource, at: Moment) {
        let key = key(&object);
        let (interest, invalid) = match understand(&object) {
            Ok(interest) => (Some(interest), None),
            Err(problem) => (None, Some(problem)),
        };
        let (interval, suspend) = (interval(&object), object.spec.suspend);
        let requested = object.annotations().get(api::REQUESTED_AT).cloned();
        match self.sources.get(&key) {
            None => {
                let events = Some(self.events_of(interest.as_ref()));
                let mut entry = SourceEntry {
                    object: Arc::new(object),
                    role: self.role_of_new(),
                    trouble: None,
                    asked: None,
                    schedule: SourceSchedule::new(interval, suspend, None, at.now),
                    invalid,
                    interest,
                    fetch: 0,
                    fetched: None,
                    revision: None,
                    mirror: None,
                    recovering: false,
                    wanted: Wanted { events, ..Wanted::default() },
                    requested,
                    answering: None,
                    writing: false,
                    delivery: None,
                    write_after: None,
                };
                entry.say_invalid();
                self.sources.insert(key, entry);
            }
            Some(_) => {
                let events = self.events_of(interest.as_ref());
                let Some(entry) = self.sources.get_mut(&key).filter(|entry| is_newer(&object, &*entry.object)) else {
                    return;
                };
                let changed = entry.object.spec != object.spec;
                let asked = requested.is_some() && requested != entry.requested;
                if entry.interest != interest || entry.object.spec.reference != object.spec.reference {
                    // Another repository or ref: what was known of the old one says nothing of it.
                    entry.schedule = SourceSchedule::new(interval, suspend, None, at.now);
                    entry.schedule.poll(entry.role == Role::Owner, at.now);
                    (entry.fetch, entry.fetched, entry.asked) = (0, None, None);
                    (entry.wanted.tip, entry.wanted.ready) = (None, None);
                    entry.wanted.events = Some(events);
                }
                entry.object = Arc::new(object);
                (entry.interest, entry.invalid) = (interest, invalid);
                if changed {
                    entry.schedule.configure(interval, suspend, at.now);
                }
                if asked {
                    entry.requested = requested;
                    entry.schedule.wake(None, at.now);
                }
                entry.say_invalid();
                self.follow(&key, at);
            }
        }
    }

    pub(super) fn source_gone(&mut self, key: &SourceKey) {
        self.sources.remove(key);
    }

    pub(super) fn recovered(&mut self, source: &SourceKey, revision: Revision, mirror: OpenMirror) {
        if let Some(entry) = self.sources.get_mut(source)
            && entry.revision.as_ref().is_none_or(|known| known.sequence < revision.sequence)
            && entry.object.status.as_ref().and_then(|s| s.revision.as_ref()) == Some(&revision.name)
        {
            entry.mirror = Some(mirror);
            entry.revision = Some(revision);
            (entry.trouble, entry.asked) = (None, None);
            self.offer(source);
        }
    }

    pub(super) fn fetched(
        &mut self,
        source: &SourceKey,
        number: u64,
        result: Result<(OpenMirror, CommitId), FetchFailure>,
        at: Moment,
    ) {
        // One that was begun for another repository or ref, or for a source of that name before, says nothing of this one.
        let Some(entry) = self.sources.get_mut(source).filter(|entry| entry.fetch == number) else { return };
        if entry.role != Role::Owner {
            return self.fetched_to_follow(source, result, at);
        }
        entry.wanted.handled.clone_from(&entry.answering);
        match result {
            Ok((mirror, commit)) => {
                entry.fetched = Some((mirror, commit.clone()));
                let verdict = entry.schedule.fetched(&commit, at.now, at.dice);
                if verdict == Tip::Unchanged && !entry.schedule.is_expecting() {
                    // The event brought nothing new: what comes later does not come from its delivery.
                    entry.delivery = None;
                }
                if verdict == Tip::Publish {
                    entry.wanted.tip = Some(commit.clone());
                }
                if let Some(tip) = &entry.wanted.tip {
                    let message = format!("stored artifact for revision '{}'", revision_name(&entry.object, tip));
                    entry.wanted.ready =
                        Some(Verdict { status: ConditionStatus::True, reason: "Succeeded".to_owned(), message });
                }
            }
            Err(failure) => {
                tracing::warn!(%source, error = failure.message, "fetch failed; the last good state stays");
                entry.schedule.failed(failure.retryable, at.now, at.dice);
                let reason = "GitOperationFailed".to_owned();
                entry.wanted.ready = Some(Verdict { status: ConditionStatus::False, reason, message: failure.message });
            }
        }
    }

    pub(super) fn written(&mut self, source: &SourceKey, result: Result<Box<GitSource>, String>, at: Moment) {
        let Some(entry) = self.sources.get_mut(source) else { return };
        entry.writing = false;
        entry.write_after = None;
        let uid = entry.object.uid();
        match result {
            Ok(object) => {
                // As the watch would tell: what was changed since the last event of the watch came along with the answer.
                if object.uid() == uid {
                    self.source_applied(*object, at);
                }
                self.publish(source);
            }
            Err(error) => {
                tracing::warn!(%source, error, "failed to write the source's status; its revision waits for that");
                // Long enough not to press an API server that is down, short enough not to be felt when it is back.
                entry.write_after = at.now.checked_add(SignedDuration::from_secs(2)).ok();
            }
        }
    }

    /// A tip becomes the revision Syncs work from once its place in the order is recorded.
    fn publish(&mut self, source: &SourceKey) {
        let Some(entry) = self.sources.get_mut(source).filter(|entry| entry.role == Role::Owner) else { return };
        let (Some(tip), Some(status)) = (&entry.wanted.tip, &entry.object.status) else { return };
        let (Some(name), Some(sequence)) = (&status.revision, status.sequence) else { return };
        if *name != revision_name(&entry.object, tip) || entry.revision.as_ref().is_some_and(|r| r.sequence == sequence)
        {
            return;
        }
        let delivery = entry.delivery.take();
        tracing::info!(%source, revision = name, sequence, delivery, "revision published");
        entry.mirror = entry.fetched.as_ref().map(|(mirror, _)| mirror.clone()).or(entry.mirror.take());
        entry.revision = Some(Revision { commit: tip.clone(), name: name.clone(), sequence, delivery });
        self.offer(source);
    }

    pub(super) fn start_fetches(&mut self, at: Moment, actions: &mut Vec<Action>) {
        for (key, entry) in self.sources.iter_mut().filter(|(_, entry)| entry.role != Role::None) {
            let Some(reference) = entry.reference() else { continue };
            if entry.object.spec.suspend && !entry.recovering {
                entry.recovering = true;
                actions.extend(entry.recorded().map(|revision| Action::Recover {
                    source: key.clone(),
                    url: entry.object.spec.url.clone(),
                    revision,
                }));
            }
            if entry.writing || entry.invalid.is_some() || !entry.schedule.start(at.now) {
                continue;
            }
            self.fetches += 1;
            entry.fetch = self.fetches;
            entry.answering.clone_from(&entry.requested);
            actions.push(Action::Fetch(fetching::Job {
                source: key.clone(),
                number: entry.fetch,
                url: entry.object.spec.url.clone(),
                reference,
                timeout: entry.object.spec.timeout.into(),
                recorded: entry.recorded(),
            }));
        }
    }

    pub(super) fn start_writes(&mut self, at: Moment, actions: &mut Vec<Action>) {
        let mut unchanged = Vec::new();
        for (key, entry) in &mut self.sources {
            if entry.writing || entry.write_after.is_some_and(|after| after > at.now) {
                continue;
            }
            if !entry.is_unwritten() {
                unchanged.push(key.clone());
                continue;
            }
            entry.writing = true;
            actions.push(Action::WriteSource(Box::new(Write {
                source: key.clone(),
                object: Arc::clone(&entry.object),
                wanted: entry.wanted.clone(),
            })));
        }
        // After a restart the status may say already what the first fetch found.
        unchanged.iter().for_each(|key| self.publish(key));
    }
}

impl SourceEntry {
    pub(super) fn woken(&mut self, event: Option<&CommitEvent>, at: Moment) {
        let after = event.and_then(|event| event.after.clone());
        if let Some(event) = event {
            self.delivery = Some(event.delivery.clone());
            let revision = after.as_ref().map(|commit| revision_name(&self.object, commit));
            self.wanted.last_event = Some(LastEvent { revision, at: Time(at.now) });
        }
        tracing::info!(source = %key(&*self.object), delivery = self.delivery, "woken by an event");
        self.schedule.wake(after, at.now);
    }

    /// This replica does something else for it from now on: it starts anew, and keeps what it has.
    pub(super) fn turn(&mut self, role: Role, at: Moment) {
        self.role = role;
        self.schedule = SourceSchedule::new(interval(&self.object), self.object.spec.suspend, None, at.now);
        self.schedule.poll(role == Role::Owner, at.now);
        self.wanted = Wanted::default();
        (self.fetch, self.recovering, self.delivery) = (0, false, None);
        (self.trouble, self.asked) = (None, None);
        self.say_invalid();
    }

    fn say_invalid(&mut self) {
        if let Some(problem) = &self.invalid {
            let (reason, message) = ("InvalidSpec".to_owned(), problem.clone());
            self.wanted.ready = Some(Verdict { status: ConditionStatus::False, reason, message });
        }
    }

    /// What the status names, by a process before or by the owner, if it is of this ref and not what Syncs work from already.
    pub(super) fn recorded(&self) -> Option<Revision> {
        let status = self.object.status.as_ref()?;
        let (name, sequence) = (status.revision.clone()?, status.sequence?);
        let (reference, commit) = name.rsplit_once("@sha1:")?;
        let commit = CommitId::parse(commit).ok().filter(|_| reference == self.object.spec.reference.short_name())?;
        let is_known = self.revision.as_ref().is_some_and(|known| match self.role {
            // Of what it has published itself the status may be a step behind.
            Role::Owner => true,
            Role::Follower | Role::None => known.sequence >= sequence,
        });
        (!is_known).then_some(Revision { commit, name, sequence, delivery: None })
    }
}

fn interval(source: &GitSource) -> SignedDuration {
    let interval =
        SignedDuration::try_from(std::time::Duration::from(source.spec.interval)).unwrap_or(SignedDuration::MAX);
    // A tenth of a second would be a denial of service of the host: the least that makes sense is a second.
    interval.max(SignedDuration::from_secs(1))
}

/// The repository and ref a source means.
fn understand(object: &GitSource) -> Result<Interest, String> {
    let spec = &object.spec;
    let name = spec.reference.full_name().ok_or("spec.ref needs exactly one of branch, tag and name")?;
    let reference = RefName::parse(&name).map_err(|e| format!("spec.ref: {}", towline_daemon::error::chain(&e)))?;
    let repository = match &spec.event_repository {
        Some(named) => RepositoryId::parse(named).map_err(|e| format!("spec.eventRepository: {e}")),
        None => RepositoryId::from_url(&spec.url).map_err(|e| format!("spec.url: {e}")),
    };
    Ok(Interest { repository: repository?, reference })
}
