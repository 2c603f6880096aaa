//! One Sync: when a pass runs, at which revision, and what cuts it short.
//!
//! The order of revisions is the source's sequence. A revision with a smaller sequence than one already attempted is never
//! taken up; one with a larger sequence cuts a running pass short.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{after, backoff, jittered};

/// Why a pass runs. All of them run the same pass; the reason is for the trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    Interval,
    Retry,
    Settings,
    Drift,
    Request,
    Revision,
}

impl Trigger {
    /// The word used in logs and reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Interval => "interval",
            Self::Retry => "retry",
            Self::Settings => "settings",
            Self::Drift => "drift",
            Self::Request => "request",
            Self::Revision => "revision",
        }
    }
}

/// How a Sync is to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    pub interval: SignedDuration,
    pub retry_interval: SignedDuration,
    pub suspended: bool,
}

/// When one Sync's passes run.
#[derive(Debug, Clone)]
pub struct SyncSchedule {
    settings: Settings,
    /// The newest sequence offered by the source.
    offered: Option<u64>,
    /// The largest sequence ever attempted, also before a restart.
    attempted: u64,
    running: Option<u64>,
    /// What asks for the next pass, the strongest reason.
    wanted: Option<Trigger>,
    due: Timestamp,
    due_trigger: Trigger,
    failures: u32,
}

/// A pass that starts now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    pub sequence: u64,
    pub trigger: Trigger,
}

/// How a pass ended, as far as the schedule cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Succeeded,
    /// `retryable`: trying again before the interval can help.
    Failed {
        retryable: bool,
    },
    /// Cut short by a newer revision.
    Superseded,
}

impl SyncSchedule {
    /// A Sync that runs as soon as its source has a revision. `attempted` is what its status recorded.
    #[must_use]
    pub fn new(settings: Settings, attempted: u64, now: Timestamp) -> Self {
        Self {
            settings,
            offered: None,
            attempted,
            running: None,
            wanted: Some(Trigger::Settings),
            due: now,
            due_trigger: Trigger::Interval,
            failures: 0,
        }
    }

    /// Takes over changed settings; a pass runs, and it starts from a clean count of failures.
    pub fn configure(&mut self, settings: Settings) {
        self.settings = settings;
        self.failures = 0;
        self.want(Trigger::Settings);
    }

    /// The source has this revision. Says whether a running pass must be cut short.
    pub fn offer(&mut self, sequence: u64) -> bool {
        if self.offered.is_some_and(|offered| sequence <= offered) || sequence < self.attempted {
            return false;
        }
        self.offered = Some(sequence);
        self.failures = 0;
        self.want(Trigger::Revision);
        self.running.is_some_and(|running| running < sequence)
    }

    /// Something asks for a pass.
    pub fn want(&mut self, trigger: Trigger) {
        self.wanted = self.wanted.max(Some(trigger));
    }

    /// When the driver has to ask next: now if a pass is wanted; `None` while one runs or none can.
    #[must_use]
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        if self.running.is_some() || self.settings.suspended || self.offered.is_none() {
            return None;
        }
        Some(if self.wanted.is_some() { now } else { self.due })
    }

    /// Whether a pass starts now, and at which revision.
    pub fn start(&mut self, now: Timestamp) -> Option<Start> {
        if self.next(now)? > now {
            return None;
        }
        let sequence = self.offered?;
        let trigger = self.wanted.take().unwrap_or(self.due_trigger);
        self.running = Some(sequence);
        self.attempted = self.attempted.max(sequence);
        Some(Start { sequence, trigger })
    }

    /// The running pass ended.
    pub fn ended(&mut self, how: Ended, now: Timestamp, dice: f64) {
        self.running = None;
        let (wait, trigger) = match how {
            Ended::Superseded => (SignedDuration::ZERO, Trigger::Revision),
            Ended::Succeeded => {
                self.failures = 0;
                (jittered(self.settings.interval, dice), Trigger::Interval)
            }
            Ended::Failed { retryable } => {
                self.failures = self.failures.saturating_add(1);
                let wait = match retryable {
                    true => backoff(self.settings.retry_interval, self.settings.interval, self.failures),
                    false => self.settings.interval,
                };
                (jittered(wait, dice), Trigger::Retry)
            }
        };
        (self.due, self.due_trigger) = (after(now, wait), trigger);
    }

    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    #[must_use]
    pub fn is_suspended(&self) -> bool {
        self.settings.suspended
    }
}

#[cfg(test)]
mod tests;
