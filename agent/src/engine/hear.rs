//! What NATS tells the engine: refs to look at, requests, and whether events can arrive at all.
//!
//! An event wakes, and says nothing that is believed: which revision there is, Git says.

use towline_plan::schedule::sync::Trigger;

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
                    let hit = entry.interest.as_ref().is_some_and(|interest| {
                        interest.repository.token() == repository && interest.reference == reference
                    });
                    if hit {
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
