//! Sources that are due and may not be fetched for their host's sake: said, where it lasts.
//!
//! Knows since when they are due and what holds them. Who tried the host itself says what it met.

use jiff::{SignedDuration, Timestamp};
use towline_plan::schedule::hosts::{Answer, Hold, Hosts};

use super::SourceEntry;
use crate::api::ConditionStatus;
use crate::engine::members::Role;
use crate::engine::{Engine, FetchFailure, Moment, SourceKey, fetching};

/// A poll that is a little late is no failure.
const BORNE: SignedDuration = SignedDuration::from_mins(1);

impl SourceEntry {
    /// When it is said that it is held, if it is.
    pub(super) fn held_at(&self, hosts: &Hosts<SourceKey>, now: Timestamp) -> Option<Timestamp> {
        hosts.holds(&self.account, now)?;
        self.schedule.next()?.checked_add(BORNE).ok()
    }

    fn say_held(&mut self, hold: Hold) {
        let host = &self.account.host;
        let message = match hold {
            Hold::Down => {
                format!("fetch from {host}: it gave other sources no answer, and one at a time tries it until it does")
            }
            Hold::Resting { until } => {
                let until = Timestamp::from_second(until.as_second()).unwrap_or(until);
                format!("fetch from {host}: it asks to be left alone until {until}")
            }
        };
        if self.role == Role::Follower {
            self.trouble = Some(format!("the replica that runs this Sync cannot fetch: {message}"));
        }
        self.say_failure(&FetchFailure {
            message,
            retryable: true,
            retry_after: None,
            answer: Answer::NotAsked,
            reason: fetching::FAILED,
            verification: None,
        });
    }
}

impl Engine {
    pub(in crate::engine) fn say_held(&mut self, at: Moment) {
        for entry in self.sources.values_mut().filter(|entry| entry.role != Role::None && entry.invalid.is_none()) {
            let failed = entry.wanted.ready.as_ref().is_some_and(|ready| ready.status == ConditionStatus::False);
            let is_long = entry.held_at(&self.hosts, at.now).is_some_and(|held_at| held_at <= at.now);
            // What it met itself says more.
            if is_long
                && !failed
                && let Some(hold) = self.hosts.holds(&entry.account, at.now)
            {
                entry.say_held(hold);
            }
        }
    }
}
