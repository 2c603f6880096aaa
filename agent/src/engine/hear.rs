//! What NATS tells the engine: refs to look at, requests, and whether events can arrive at all.
//!
//! An event wakes, and says nothing that is believed: which revision there is, Git says.

use jiff::Timestamp;
use towline_plan::schedule::sync::Trigger;

use super::members::Role;
use super::sync::SyncEntry;
use super::{Engine, Moment, SourceKey};
use crate::api::{ConditionStatus, Verdict};
use crate::bus::{BusEvent, Interest};

impl Engine {
    pub(super) fn bus(&mut self, event: BusEvent, at: Moment) {
        match event {
            BusEvent::Woken { repository, reference, event, undecodable } => {
                if let Some(problem) = undecodable {
                    tracing::warn!(%reference, problem, "an event could not be read; the ref is looked at all the same");
                }
                for entry in self.sources.values_mut() {
                    let is_its = entry.interest.as_ref().is_some_and(|interest| {
                        interest.repository.token() == repository && interest.covers(&reference)
                    });
                    if is_its && entry.following.as_ref().is_some_and(|following| following.is_moved_by(&reference)) {
                        entry.woken(event.as_ref(), at);
                    }
                }
            }
            BusEvent::ReconcileAll => {
                self.sources.values_mut().for_each(|entry| entry.schedule.wake(None, at.now));
                self.syncs.values_mut().for_each(|entry| entry.schedule.want(Trigger::Request));
            }
            BusEvent::Reconcile { namespace, name } => {
                let key = SourceKey { namespace, name };
                if let Some(entry) = self.syncs.get_mut(&key) {
                    entry.schedule.want(Trigger::Request);
                    let source = super::depends::source(&entry.object);
                    if let Some(source) = self.sources.get_mut(&source) {
                        source.schedule.wake(None, at.now);
                    }
                }
            }
            BusEvent::Connected => {
                self.bus_down = None;
            }
            BusEvent::Disconnected { reason } => self.no_events(&reason),
            BusEvent::Denied { what } => tracing::warn!(what, "the NATS server refuses"),
            BusEvent::Subscribed { interest } => {
                let verdict = Verdict {
                    status: ConditionStatus::True,
                    reason: "Subscribed".to_owned(),
                    message: format!("listening for events of {}", interest.repository),
                };
                self.set_events(&interest, &verdict);
            }
            BusEvent::Unsubscribable { interest, reason } => {
                let verdict = Verdict { status: ConditionStatus::False, reason: "Denied".to_owned(), message: reason };
                self.set_events(&interest, &verdict);
            }
        }
    }

    /// When the oldest event was heard that is not done with; `None`: all are. One is when its source has been looked at and
    /// each Sync of it has ended a pass at what was found, however that ended.
    #[must_use]
    pub fn oldest_event(&self) -> Option<Timestamp> {
        self.sources.values().filter_map(|source| source.heard).min()
    }

    pub(super) fn done_with_events(&mut self) {
        let heard = self.sources.iter().filter(|(_, source)| source.heard.is_some());
        let done: Vec<SourceKey> =
            heard.filter(|(key, _)| self.is_done_with(key)).map(|(key, _)| key.clone()).collect();
        for key in done {
            if let Some(source) = self.sources.get_mut(&key) {
                source.heard = None;
            }
        }
    }

    fn is_done_with(&self, key: &SourceKey) -> bool {
        let Some(source) = self.sources.get(key) else { return true };
        if source.role == Role::None || source.object.spec.suspend || source.invalid.is_some() {
            return true;
        }
        let is_published = match (&source.wanted.tip, &source.revision) {
            (Some(tip), Some(revision)) => *tip == revision.commit,
            (tip, _) => tip.is_none() && source.recorded().is_none(),
        };
        let sequence = source.revision.as_ref().map(|revision| revision.sequence);
        let of_it = || self.own_syncs().filter(|(_, sync)| sync.source() == *key && sync.is_wanted());
        let runs =
            |sync: &SyncEntry| !sync.object.spec.suspend && !sync.schedule.is_leaving() && self.can_run(sync).is_some();
        source.schedule.is_quiet() && is_published && of_it().all(|(_, sync)| sync.ended >= sequence || !runs(sync))
    }

    /// Has the status say again whether events can arrive.
    pub(super) fn say_events(&mut self, key: &SourceKey) {
        let interest = self.sources.get(key).and_then(|entry| entry.interest.clone());
        let events = self.events_of(interest.as_ref());
        if let Some(entry) = self.sources.get_mut(key) {
            entry.wanted.events = Some(events);
        }
    }

    /// Whether events can arrive for a ref, as far as is known.
    pub(super) fn events_of(&self, interest: Option<&Interest>) -> Verdict {
        let heard = interest.and_then(|interest| self.heard.get(interest)).cloned();
        heard.unwrap_or_else(|| events_verdict(self.bus_down.clone(), "not subscribed yet"))
    }

    fn no_events(&mut self, reason: &str) {
        self.bus_down = Some(reason.to_owned());
        self.heard.clear();
        for entry in self.sources.values_mut() {
            entry.wanted.events = Some(events_verdict(Some(reason.to_owned()), ""));
        }
    }

    fn set_events(&mut self, interest: &Interest, verdict: &Verdict) {
        self.heard.insert(interest.clone(), verdict.clone());
        for entry in self.sources.values_mut().filter(|e| e.interest.as_ref() == Some(interest)) {
            entry.wanted.events = Some(verdict.clone());
        }
    }
}

fn events_verdict(down: Option<String>, otherwise: &str) -> Verdict {
    let (reason, message) = match down {
        Some(why) => ("NotConnected", why),
        None => ("Progressing", otherwise.to_owned()),
    };
    Verdict { status: ConditionStatus::False, reason: reason.to_owned(), message }
}
