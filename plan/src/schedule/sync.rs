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

impl Trigger {
    fn look(self) -> Look {
        match self {
            Self::Revision => Look::IfTouched,
            Self::Drift | Self::Retry => Look::Moved,
            Self::Interval | Self::Settings | Self::Request => Look::All,
        }
    }
}

/// How closely a pass has to look: as closely as the most demanding of its reasons asks, whichever of them is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Look {
    /// Not at all where what the Sync reads from Git is what its last successful pass read.
    IfTouched,
    /// At what moved since it was last found to be as Git says.
    Moved,
    /// At everything.
    All,
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
    running: Option<Start>,
    /// What asks for the next pass, the strongest reason.
    wanted: Option<Trigger>,
    /// What all reasons together ask of the next pass, and what passes that did not succeed still owe.
    look: Look,
    due: Timestamp,
    due_trigger: Trigger,
    failures: u32,
}

/// A pass that starts now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    pub sequence: u64,
    pub trigger: Trigger,
    pub look: Look,
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
            // Nothing is watched yet, and what happened while nobody watched is unknown.
            look: Look::All,
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

    /// From now on another source is followed, which counts its revisions for itself.
    pub fn change_source(&mut self) {
        self.offered = None;
        self.attempted = 0;
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
        self.running.is_some_and(|running| running.sequence < sequence)
    }

    /// Something asks for a pass.
    pub fn want(&mut self, trigger: Trigger) {
        self.wanted = self.wanted.max(Some(trigger));
        self.look = self.look.max(trigger.look());
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
        let mut look = std::mem::replace(&mut self.look, Look::IfTouched);
        if self.due <= now {
            look = look.max(self.due_trigger.look());
        }
        let start = Start { sequence, trigger, look };
        self.running = Some(start);
        self.attempted = self.attempted.max(sequence);
        Some(start)
    }

    /// The running pass ended.
    pub fn ended(&mut self, how: Ended, now: Timestamp, dice: f64) {
        let look = self.running.take().map_or(Look::All, |start| start.look);
        let (wait, trigger) = match how {
            Ended::Superseded => {
                self.look = self.look.max(look);
                (SignedDuration::ZERO, Trigger::Revision)
            }
            Ended::Succeeded => {
                self.failures = 0;
                // The interval counts from the last look at everything: commits that come more often do not put it off.
                if look != Look::All && self.due_trigger == Trigger::Interval && self.due > now {
                    return;
                }
                (jittered(self.settings.interval, dice), Trigger::Interval)
            }
            Ended::Failed { retryable } => {
                // Half a pass may be done: an unchanged read set proves nothing.
                self.look = self.look.max(look).max(Look::Moved);
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
