//! One source within the engine: what is known of it, what it is in the middle of, and what it waits for.
//!
//! `following` is what it follows, `looking` fetches it, `held` says that its host may not be asked, `judged` takes back what is not demanded any more, `publish` makes its tip a revision, `wanted` is what its status is to say, `telling` what is told of it besides.

mod following;
mod held;
mod judged;
mod looking;
mod publish;
mod telling;
mod wanted;

pub(in crate::engine) use following::Following;
pub(in crate::engine) use publish::Write;
pub(in crate::engine) use telling::{Tell, tell};
pub(in crate::engine) use wanted::status;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use towline_plan::schedule::hosts::{Account, Hosts};
use towline_plan::schedule::source::{Recorded, SourceSchedule};
use towline_proto::{CommitEvent, CommitId};

use super::members::Role;
use super::{Moment, OpenMirror, SourceKey, key};
use crate::api::{ConditionStatus, GitSource, LastEvent, Verdict};
use crate::bus::Interest;
use crate::pass::Revision;
use crate::signature::Verified;
use telling::{Attempt, Told};
use wanted::{Wanted, is_said, revision_name};

/// One source.
pub(super) struct SourceEntry {
    pub object: Arc<GitSource>,
    /// What this replica does for it.
    pub role: Role,
    /// Whom it is fetched from, and as whom.
    pub account: Account,
    pub schedule: SourceSchedule,
    /// What is wrong with the spec: then nothing is fetched.
    pub invalid: Option<String>,
    pub following: Option<Following>,
    pub interest: Option<Interest>,
    /// The fetch whose result counts.
    pub fetch: u64,
    /// The newest tip that was fetched, and where to.
    pub fetched: Option<(OpenMirror, Verified)>,
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
    /// When the first event was heard that not everything is done for yet.
    pub heard: Option<Timestamp>,
    /// The newest request for a look, and the one the running fetch began after: only that one does it answer.
    pub requested: Option<String>,
    pub answering: Option<String>,
    /// What the last fetch began by.
    pub attempt: Attempt,
    /// What was told of it, or what was so when it came to this replica.
    pub told: Told,
    /// No write before this moment: the last one failed.
    pub write_after: Option<Timestamp>,
}

impl SourceEntry {
    pub(super) fn next(&self, hosts: &Hosts<SourceKey>, now: Timestamp) -> Option<Timestamp> {
        if self.writing || self.role == Role::None {
            return None;
        }
        let fetch = self.due(hosts);
        let held = self.held_at(hosts, now).filter(|at| *at > now && self.invalid.is_none());
        let write = self.write_after.filter(|_| self.is_unwritten());
        fetch.into_iter().chain(held).chain(write).min()
    }

    /// When it may be fetched, by its own schedule and its host's.
    fn due(&self, hosts: &Hosts<SourceKey>) -> Option<Timestamp> {
        let due = self.schedule.next().filter(|_| self.invalid.is_none())?;
        hosts.may_start(&self.account).map(|from| from.max(due))
    }

    pub(super) fn interest(&self) -> Option<Interest> {
        let listens = self.role != Role::None && self.invalid.is_none() && !self.object.spec.suspend;
        self.interest.clone().filter(|_| listens)
    }

    /// What Syncs work from, or would after a restart.
    pub(super) fn in_use(&self) -> Option<Revision> {
        self.recorded().or_else(|| self.revision.clone())
    }

    fn is_unwritten(&self) -> bool {
        self.role == Role::Owner && !is_said(&self.object, &self.wanted)
    }

    pub(super) fn woken(&mut self, event: Option<&CommitEvent>, at: Moment) {
        let after = event.and_then(|event| event.after.clone());
        let tag = event.map(|event| event.reference.short().to_owned());
        if let Some(event) = event {
            // One that names what is known already brought nothing, as the last one of each ref after a start.
            if !after.as_ref().is_some_and(|commit| self.knows(commit)) {
                self.delivery = Some(event.delivery.clone());
            }
            let revision = after.as_ref().map(|commit| revision_name(&self.object, commit, tag.as_deref()));
            self.wanted.last_event = Some(LastEvent { revision, at: Time(at.now) });
        }
        if !after.as_ref().is_some_and(|commit| self.knows(commit)) {
            self.heard = self.heard.or(Some(at.now));
        }
        tracing::info!(source = %key(&*self.object), delivery = self.delivery, "woken by an event");
        self.schedule.hear(after, at.now, at.dice);
    }

    fn knows(&self, commit: &CommitId) -> bool {
        let worked_from = self.revision.as_ref().map(|revision| revision.commit.clone());
        self.schedule.is_tip(commit) || worked_from.or_else(|| recorded_tip(&self.object)).as_ref() == Some(commit)
    }

    /// This replica does something else for it from now on: it starts anew, and keeps what it has.
    pub(super) fn turn(&mut self, role: Role, at: Moment) {
        self.role = role;
        self.schedule = match role {
            Role::Owner => schedule(&self.object, at.now),
            // What the status names is what a follower looks for.
            Role::Follower | Role::None => {
                SourceSchedule::new(interval(&self.object), self.object.spec.suspend, None, at.now)
            }
        };
        self.schedule.spread_over(spread(&self.object));
        self.schedule.poll(role == Role::Owner, at.now);
        self.wanted = Wanted::default();
        (self.fetch, self.recovering, self.delivery) = (0, false, None);
        (self.trouble, self.asked, self.heard) = (None, None, None);
        self.told = Told::of(&self.object);
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
        let commit = recorded_tip(&self.object)?;
        let status = self.object.status.as_ref()?;
        let (name, sequence) = (status.revision.clone()?, status.sequence?);
        let is_known = self.revision.as_ref().is_some_and(|known| match self.role {
            // Of what it has published itself the status may be a step behind.
            Role::Owner => true,
            Role::Follower | Role::None => known.sequence >= sequence,
        });
        (!is_known).then_some(Revision { commit, name, sequence, about: None, delivery: None })
    }
}

/// The commit a status names, if it is of the ref that is followed.
fn recorded_tip(source: &GitSource) -> Option<CommitId> {
    let name = source.status.as_ref()?.revision.as_ref()?;
    let (called, commit) = name.rsplit_once("@sha1:")?;
    let reference = &source.spec.reference;
    let is_of_it = Following::of(reference).is_ok_and(|following| following.can_be_called(called, reference));
    CommitId::parse(commit).ok().filter(|_| is_of_it)
}

/// One that goes on where the status says that somebody has come to.
fn schedule(source: &GitSource, now: Timestamp) -> SourceSchedule {
    // What was found for another spec may be another repository's.
    let status = source.status.as_ref().filter(|status| status.observed_generation == source.metadata.generation);
    // The tip was written with it or before.
    let at = status.and_then(|status| status.last_attempt.as_ref()).map(|at| at.0);
    let recorded = at.and_then(|at| Some(Recorded { tip: recorded_tip(source)?, at }));
    let mut schedule = SourceSchedule::new(interval(source), source.spec.suspend, recorded, now);
    schedule.spread_over(spread(source));
    schedule
}

fn spread(source: &GitSource) -> SignedDuration {
    let spread = source.spec.wake_spread.map(|spread| SignedDuration::try_from(std::time::Duration::from(spread)));
    spread.and_then(Result::ok).unwrap_or_default()
}

/// Whom a source is fetched from, and as whom.
fn account(key: &SourceKey, source: &GitSource) -> Account {
    let (url, secret) = (&source.spec.url, &source.spec.secret_ref);
    let login = secret.as_ref().map(|secret| format!("{}/{}", key.namespace, secret.name));
    Account { host: towline_plan::schedule::hosts::host_of(url), login }
}

fn interval(source: &GitSource) -> SignedDuration {
    let interval =
        SignedDuration::try_from(std::time::Duration::from(source.spec.interval)).unwrap_or(SignedDuration::MAX);
    // A tenth of a second would be a denial of service of the host: the least that makes sense is a second.
    interval.max(SignedDuration::from_secs(1))
}

/// The repository and ref a source means.
fn understand(object: &GitSource) -> Result<(Following, Interest), String> {
    let following = Following::of(&object.spec.reference)?;
    let interest = following.interest(object)?;
    Ok((following, interest))
}
