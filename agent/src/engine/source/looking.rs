//! Looking at sources: which there are, when they are fetched, and what a fetch means.
//!
//! Must not know how a tip becomes what Syncs work from: that is `publish`.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use towline_plan::schedule::hosts::Answer;
use towline_plan::schedule::source::{SourceSchedule, Verdict as Tip};

use super::telling::{Attempt, POLL, Told};
use super::wanted::{Wanted, revision_name};
use super::{SourceEntry, account, interval, spread, understand};
use crate::api::{self, ConditionStatus, GitSource, ResourceExt as _, Verdict};
use crate::engine::credentials::Named;
use crate::engine::members::Role;
use crate::engine::resources::is_newer;
use crate::engine::verifying::Asked;
use crate::engine::{Action, Brought, Engine, FetchFailure, Moment, OpenMirror, SourceKey, fetching, key};
use crate::pass::Revision;
use crate::signature::Verified;

impl Engine {
    pub(in crate::engine) fn source_applied(&mut self, object: GitSource, at: Moment) {
        let key = key(&object);
        let (following, interest, invalid) = match understand(&object) {
            Ok((following, interest)) => (Some(following), Some(interest), None),
            Err(problem) => (None, None, Some(problem)),
        };
        let (interval, suspend) = (interval(&object), object.spec.suspend);
        let requested = object.annotations().get(api::REQUESTED_AT).cloned();
        match self.sources.get(&key) {
            None => {
                let events = Some(self.events_of(interest.as_ref()));
                let schedule = super::schedule(&object, at.now);
                let mut entry = SourceEntry {
                    account: account(&key, &object),
                    object: Arc::new(object),
                    role: self.role_of_new(),
                    trouble: None,
                    asked: None,
                    schedule,
                    invalid,
                    following,
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
                    heard: None,
                    attempt: Attempt { trigger: POLL, began: at.now },
                    told: Told::default(),
                    write_after: None,
                };
                entry.told = Told::of(&entry.object);
                entry.say_invalid();
                self.sources.insert(key, entry);
            }
            Some(_) => {
                let events = self.events_of(interest.as_ref());
                let Some(entry) = self.sources.get_mut(&key).filter(|entry| is_newer(&object, &*entry.object)) else {
                    return;
                };
                let changed = entry.object.spec != object.spec;
                let is_demanded_otherwise = entry.object.spec.verify != object.spec.verify;
                let asked = requested.is_some() && requested != entry.requested;
                if entry.interest != interest
                    || entry.object.spec.reference != object.spec.reference
                    || is_demanded_otherwise
                {
                    // Another repository, ref or demand: what was known of the old one says nothing of it.
                    entry.schedule = SourceSchedule::new(interval, suspend, None, at.now);
                    entry.schedule.poll(entry.role == Role::Owner, at.now);
                    (entry.fetch, entry.fetched, entry.asked) = (0, None, None);
                    (entry.wanted.tip, entry.wanted.tag) = (None, None);
                    (entry.wanted.ready, entry.wanted.verified) = (None, None);
                    entry.recovering = false;
                    entry.wanted.events = Some(events);
                }
                entry.account = account(&key, &object);
                entry.schedule.spread_over(spread(&object));
                entry.object = Arc::new(object);
                (entry.following, entry.interest, entry.invalid) = (following, interest, invalid);
                if changed {
                    entry.schedule.configure(interval, suspend, at.now);
                }
                if asked {
                    entry.requested = requested;
                    entry.schedule.wake(None, at.now);
                }
                entry.say_invalid();
                if is_demanded_otherwise {
                    // Until it is judged by what is demanded now.
                    self.withdraw(&key);
                }
                self.follow(&key, at);
            }
        }
    }

    pub(in crate::engine) fn source_gone(&mut self, key: &SourceKey) {
        self.sources.remove(key);
        let hosts = self.sources.values().map(|entry| entry.account.host.clone()).collect();
        self.hosts.keep(&hosts);
    }

    pub(in crate::engine) fn recovered(
        &mut self,
        source: &SourceKey,
        revision: Revision,
        verified: &Verified,
        mirror: OpenMirror,
    ) {
        if let Some(entry) = self.sources.get_mut(source)
            && *verified.commit() == revision.commit
            && entry.revision.as_ref().is_none_or(|known| known.sequence < revision.sequence)
            && entry.object.status.as_ref().and_then(|s| s.revision.as_ref()) == Some(&revision.name)
        {
            entry.mirror = Some(mirror);
            entry.revision = Some(Revision { about: Some(Arc::clone(verified.about())), ..revision });
            (entry.trouble, entry.asked) = (None, None);
            self.offer(source);
        }
    }

    pub(in crate::engine) fn fetched(
        &mut self,
        source: &SourceKey,
        number: u64,
        result: Result<Brought, FetchFailure>,
        at: Moment,
    ) {
        let answer = result.as_ref().map_or_else(|failure| failure.answer, |_| Answer::Answered);
        let wait = result.as_ref().err().and_then(|failure| failure.retry_after);
        let wait = wait.map(|wait| SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX));
        self.hosts.ended(number, answer, wait, at.now, at.dice);
        // One that was begun for another repository or ref, or for a source of that name before, says nothing of this one.
        let Some(entry) = self.sources.get_mut(source).filter(|entry| entry.fetch == number) else { return };
        if entry.role != Role::Owner {
            return self.fetched_to_follow(source, result, at);
        }
        entry.wanted.handled.clone_from(&entry.answering);
        match result {
            Ok(Brought { mirror, verified, tag }) => {
                entry.say_verified(&verified);
                let commit = verified.commit().clone();
                entry.fetched = Some((mirror, verified));
                let verdict = entry.schedule.fetched(&commit, at.now, at.dice);
                if verdict == Tip::Unchanged && !entry.schedule.is_expecting() {
                    // The event brought nothing new: what comes later does not come from its delivery.
                    entry.delivery = None;
                }
                if verdict != Tip::Doubt {
                    (entry.wanted.tip, entry.wanted.tag) = (Some(commit.clone()), tag);
                }
                if let Some(tip) = &entry.wanted.tip {
                    let name = revision_name(&entry.object, tip, entry.wanted.tag.as_deref());
                    let message = format!("stored artifact for revision '{name}'");
                    entry.wanted.ready =
                        Some(Verdict { status: ConditionStatus::True, reason: "Succeeded".to_owned(), message });
                }
            }
            Err(failure) => {
                tracing::warn!(%source, error = failure.message, "fetch failed; the last good state stays");
                entry.schedule.failed(failure.retryable, at.now, at.dice);
                entry.say_failure(&failure);
            }
        }
    }

    pub(in crate::engine) fn start_fetches(&mut self, at: Moment, actions: &mut Vec<Action>) {
        self.recover_suspended(actions);
        for key in self.due_sources(at.now) {
            let Some(entry) = self.sources.get_mut(&key) else { continue };
            let Some(following) = entry.following.clone() else { continue };
            // Those before it may have taken what its host bears.
            if entry.due(&self.hosts).is_none_or(|due| due > at.now) || !entry.schedule.start(at.now) {
                continue;
            }
            self.fetches += 1;
            self.hosts.started(self.fetches, &entry.account, &key);
            entry.fetch = self.fetches;
            entry.answering.clone_from(&entry.requested);
            entry.attempt = Attempt { trigger: entry.reason_to_look(), began: at.now };
            actions.push(Action::Fetch(Box::new(fetching::Job {
                number: entry.fetch,
                url: entry.object.spec.url.clone(),
                named: Named::of(&key, &entry.object.spec),
                following,
                timeout: entry.object.spec.timeout.into(),
                asked: Asked::of(&entry.object),
                recorded: entry.recorded(),
                in_use: entry.in_use(),
                source: key,
            })));
        }
    }

    fn recover_suspended(&mut self, actions: &mut Vec<Action>) {
        for (key, entry) in self.sources.iter_mut().filter(|(_, entry)| entry.role != Role::None) {
            if entry.following.is_some() && entry.object.spec.suspend && !entry.recovering {
                entry.recovering = true;
                actions.extend(entry.in_use().map(|revision| Action::Recover {
                    source: key.clone(),
                    asked: Box::new(Asked::of(&entry.object)),
                    url: entry.object.spec.url.clone(),
                    revision,
                }));
            }
        }
    }

    /// Those that are to be fetched, who has waited longest first: where a host bears few at once, each has its turn.
    fn due_sources(&self, now: Timestamp) -> Vec<SourceKey> {
        let may = self.sources.iter().filter(|(_, entry)| entry.role != Role::None && !entry.writing);
        let due = may.filter_map(|(key, entry)| {
            let due = entry.due(&self.hosts).filter(|due| *due <= now);
            due.and_then(|_| entry.schedule.next()).map(|since| (since, key))
        });
        let mut due: Vec<_> = due.collect();
        due.sort_unstable();
        due.into_iter().map(|(_, key)| key.clone()).collect()
    }
}
