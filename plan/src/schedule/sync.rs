//! One Sync: when a pass runs, at which revision, and what cuts it short.
//!
//! The order of revisions is the source's sequence. A revision with a smaller sequence than one already attempted is never
//! taken up; one with a larger sequence cuts a running pass short. Drift is reverted at once, unless there is a fight over an
//! object ([`super::fights`]): then it waits.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{after, backoff, jittered};

/// First wait after somebody else wrote first; doubles. Whoever did is mostly done by then.
const OUTRUN_WAIT: SignedDuration = SignedDuration::from_secs(1);
/// So many times in a row; after that it is a failure like any other. Together 15 s: what lasts longer is no accident.
const OUTRUN_MAX: u32 = 4;

/// So many passes in a row are cut short by newer revisions or settings; then one ends. Where commits come faster than a pass
/// is long, nothing would ever be done otherwise.
const CUTS_MAX: u32 = 3;

/// Between two passes that begin because what is waited for by name has come: what is read may be behind what was told, and
/// would be waited for again.
const AWAITED_APART: SignedDuration = SignedDuration::from_secs(1);

/// Why a pass runs. All of them run the same pass; the reason is for the trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    Interval,
    Retry,
    /// Something that was waited for has moved, or was waited for long enough.
    Progress,
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
            Self::Progress => "progress",
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
            Self::Drift | Self::Retry | Self::Progress => Look::Moved,
            Self::Interval => Look::Listed,
            Self::Settings | Self::Request => Look::All,
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
    /// At everything, as far as lists can show it: what was found to be as Git says is compared with what is there now.
    Listed,
    /// At everything, object by object.
    All,
}

/// How a Sync is to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    pub interval: SignedDuration,
    pub retry_interval: SignedDuration,
    /// How long what is applied may take to become healthy, and what is deleted to be gone.
    pub timeout: SignedDuration,
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
    /// The Sync is being deleted: what is left to do needs no revision.
    leaving: bool,
    /// Somebody waits to hear what it claims, also while it is suspended.
    asked: bool,
    /// What asks for the next pass, the strongest reason; drift aside, which may have to wait.
    wanted: Option<Trigger>,
    drifted: bool,
    /// What all reasons together ask of the next pass, and what passes that did not succeed still owe.
    look: Look,
    /// When everything is looked at again, whatever happens until then and however it ends.
    full: Timestamp,
    /// When what failed is tried again, if that is before everything is looked at.
    retry: Option<Timestamp>,
    failures: u32,
    /// Passes in a row in which somebody else wrote first.
    outrun: u32,
    /// Passes in a row that a newer revision or changed settings cut short, the running one counted.
    cuts: u32,
    /// The running one is.
    is_cut: bool,
    /// What passes at the offered revision wait for, if they do.
    waiting: Option<Waiting>,
    /// Something that may be waited for has moved while a pass runs.
    progressed: bool,
    /// When what was waited for by name is looked at, and when the last pass began that looked at such.
    awaited: Option<Timestamp>,
    awaited_last: Option<Timestamp>,
    /// Drift alone starts no pass before this moment: what it changes is fought over.
    drift_after: Option<Timestamp>,
}

/// A wait between passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Waiting {
    /// When a wait began that ends at the timeout; `None`: what is waited for now has none.
    since: Option<Timestamp>,
    /// The timeout has passed, or cannot help, and that is said.
    told: bool,
}

/// A pass that starts now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    pub sequence: u64,
    pub trigger: Trigger,
    pub look: Look,
    /// Since when passes at this revision have been waiting for what ends at the timeout.
    pub waiting_since: Option<Timestamp>,
}

/// How a pass ended, as far as the schedule cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Succeeded,
    /// `retryable`: trying again before the interval can help.
    Failed {
        retryable: bool,
    },
    /// Somebody else wrote first: the next look sees what they did. Soon, but not for ever.
    Outrun,
    /// It goes on when something has moved. `bounded`: or fails when it has waited for the timeout. `blind`: not everything that
    /// it waits for can be seen to move. `looked`: it came to look at the cluster before.
    Waiting {
        bounded: bool,
        blind: bool,
        looked: bool,
    },
    /// All is applied, and the deletions wait for somebody, which wakes it.
    Held,
    /// What it waits for did not come in time, or cannot come. It goes on all the same when something has moved.
    Overdue,
    /// Cut short by a newer revision or changed settings.
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
            leaving: false,
            asked: false,
            wanted: Some(Trigger::Settings),
            drifted: false,
            // Nothing is watched yet, and what happened while nobody watched is unknown.
            look: Look::All,
            full: now,
            retry: None,
            failures: 0,
            outrun: 0,
            cuts: 0,
            is_cut: false,
            waiting: None,
            progressed: false,
            awaited: None,
            awaited_last: None,
            drift_after: None,
        }
    }

    /// Takes over changed settings; a pass runs, and it starts from a clean count of failures. Says whether a running pass,
    /// which works by the old ones, must be cut short.
    pub fn configure(&mut self, settings: Settings) -> bool {
        self.settings = settings;
        self.failures = 0;
        self.waiting = None;
        self.want(Trigger::Settings);
        self.running.is_some() && self.cut()
    }

    /// Whether the running pass, which is out of date, is cut short.
    fn cut(&mut self) -> bool {
        if !self.is_cut && self.cuts < CUTS_MAX {
            (self.is_cut, self.cuts) = (true, self.cuts + 1);
        }
        self.is_cut
    }

    /// From now on another source is followed, which counts its revisions for itself.
    pub fn change_source(&mut self) {
        self.offered = None;
        self.attempted = 0;
        self.waiting = None;
        self.want(Trigger::Settings);
    }

    /// From now on the Sync is being deleted, whatever its source has and whether or not it is suspended. Says whether a
    /// running pass must be cut short.
    pub fn leave(&mut self) -> bool {
        if !std::mem::replace(&mut self.leaving, true) {
            self.failures = 0;
            self.waiting = None;
            self.want(Trigger::Settings);
            return self.running.is_some();
        }
        false
    }

    /// Somebody waits to hear what it claims. Its next pass says so; it runs soon, and also while it is suspended.
    pub fn ask(&mut self) {
        self.asked = true;
        self.want(Trigger::Progress);
    }

    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// The source has this revision. Says whether a running pass must be cut short.
    pub fn offer(&mut self, sequence: u64) -> bool {
        if self.offered.is_some_and(|offered| sequence <= offered) || sequence < self.attempted {
            return false;
        }
        self.offered = Some(sequence);
        self.failures = 0;
        self.waiting = None;
        self.want(Trigger::Revision);
        let is_outdated = self.running.is_some_and(|running| running.sequence < sequence);
        is_outdated && self.cut()
    }

    /// The newest revision that it takes up.
    #[must_use]
    pub fn offered(&self) -> Option<u64> {
        self.offered
    }

    /// Nothing older is taken up.
    #[must_use]
    pub fn attempted(&self) -> u64 {
        self.attempted
    }

    /// Something asks for a pass.
    pub fn want(&mut self, trigger: Trigger) {
        match trigger {
            Trigger::Drift => self.drifted = true,
            trigger => self.wanted = self.wanted.max(Some(trigger)),
        }
        self.look = self.look.max(trigger.look());
    }

    /// Something that a pass may wait for has moved. A pass that waits goes on; one that runs has looked too early if it ends
    /// waiting; to any other it is nothing. Answers whether it is something to the schedule.
    pub fn progressed(&mut self) -> bool {
        match (self.running, self.waiting) {
            (Some(_), _) => self.progressed = true,
            (None, Some(_)) => self.want(Trigger::Progress),
            (None, None) => return false,
        }
        true
    }

    /// What its last pass ended waiting for, by name, has come.
    pub fn came(&mut self, now: Timestamp) {
        let soonest = self.awaited_last.map_or(now, |last| after(last, AWAITED_APART).max(now));
        self.awaited = Some(self.awaited.map_or(soonest, |due| due.min(soonest)));
        self.look = self.look.max(Trigger::Progress.look());
    }

    /// When the driver has to ask next: now if a pass is wanted; `None` while one runs or none can.
    #[must_use]
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        if self.running.is_some() || (!self.leaving && self.offered.is_none()) {
            return None;
        }
        if self.settings.suspended && !self.leaving {
            return self.asked.then_some(now);
        }
        let wanted = self.wanted.map(|_| now);
        let drift = self.drifted.then(|| self.drift_after.map_or(now, |after| after.max(now)));
        [wanted, drift, self.retry, self.overdue(), self.awaited].into_iter().flatten().chain([self.full]).min()
    }

    /// Whether a pass starts now, and at which revision.
    pub fn start(&mut self, now: Timestamp) -> Option<Start> {
        if self.next(now)? > now {
            return None;
        }
        self.asked = false;
        let sequence = if self.leaving { self.attempted } else { self.offered? };
        let is_full = self.full <= now;
        // Any pass looks at what drifted: it need not wait for a turn of its own.
        let drift = std::mem::take(&mut self.drifted).then_some(Trigger::Drift);
        let has_come = self.awaited.is_some_and(|at| at <= now);
        if self.awaited.take().is_some() {
            self.awaited_last = Some(now);
        }
        let due = match (is_full, has_come || self.overdue().is_some_and(|at| at <= now)) {
            (true, _) => Trigger::Interval,
            (false, true) => Trigger::Progress,
            (false, false) => Trigger::Retry,
        };
        let trigger = self.wanted.take().max(drift).unwrap_or(due);
        self.retry = None;
        (self.progressed, self.is_cut) = (false, false);
        let mut look = std::mem::replace(&mut self.look, Look::IfTouched);
        if is_full {
            look = look.max(Look::Listed);
        }
        let waiting_since = self.waiting.and_then(|waiting| waiting.since);
        let start = Start { sequence, trigger, look, waiting_since };
        self.running = Some(start);
        self.attempted = self.attempted.max(sequence);
        Some(start)
    }

    /// Drift alone starts no pass before this moment; `None`: at once.
    pub fn put_off_drift(&mut self, until: Option<Timestamp>) {
        self.drift_after = until;
    }

    /// The running pass ended.
    pub fn ended(&mut self, how: Ended, now: Timestamp, dice: f64) {
        let ran = self.running.take();
        self.conclude(how, ran.map_or(Look::All, |start| start.look), now, dice);
        let is_outdated =
            ran.is_some_and(|ran| !self.leaving && self.offered.is_some_and(|newer| newer > ran.sequence));
        if is_outdated {
            // The newer revision, which came meanwhile, has its own time.
            (self.waiting, self.retry, self.failures, self.outrun) = (None, None, 0, 0);
        }
    }

    fn conclude(&mut self, how: Ended, look: Look, now: Timestamp, dice: f64) {
        if how == Ended::Superseded {
            self.look = self.look.max(look);
            self.wanted = self.wanted.or(Some(Trigger::Revision));
            return;
        }
        self.cuts = 0;
        if how != Ended::Outrun {
            self.outrun = 0;
        }
        let waited = self.waiting.take();
        let progressed = std::mem::take(&mut self.progressed);
        if progressed && matches!(how, Ended::Waiting { .. } | Ended::Overdue) {
            self.want(Trigger::Progress);
        }
        // Counted from the last look at everything: passes that come more often do not put it off, and a Sync that is held
        // or fails all the time is owed one, too.
        if look >= Look::Listed {
            self.full = after(now, jittered(self.settings.interval, dice));
        }
        let retryable = match how {
            Ended::Failed { retryable } => retryable,
            Ended::Outrun if self.outrun < OUTRUN_MAX => {
                self.outrun += 1;
                self.look = self.look.max(look).max(Look::Moved);
                let wait =
                    backoff(OUTRUN_WAIT, self.settings.retry_interval, self.outrun).min(self.settings.retry_interval);
                self.retry = Some(after(now, jittered(wait, dice)));
                return;
            }
            Ended::Outrun => true,
            Ended::Waiting { bounded, blind, looked } => {
                self.failures = 0;
                // What is not done is not untouched; what was not looked at is owed.
                let owed = if looked { Look::Moved } else { look.max(Look::Moved) };
                self.look = self.look.max(owed);
                let since = waited.and_then(|waited| waited.since).unwrap_or(now);
                self.waiting = Some(Waiting { since: bounded.then_some(since), told: false });
                self.retry = blind.then(|| after(now, jittered(self.settings.retry_interval, dice)));
                return;
            }
            Ended::Held => {
                // Everything was looked at: that it is held is no reason to do so again.
                (self.failures, self.look) = (0, self.look.max(Look::Moved));
                return;
            }
            Ended::Overdue => {
                let since = waited.and_then(|waited| waited.since).unwrap_or(now);
                self.waiting = Some(Waiting { since: Some(since), told: true });
                true
            }
            Ended::Succeeded | Ended::Superseded => {
                self.failures = 0;
                return;
            }
        };
        // Half a pass may be done: an unchanged read set proves nothing.
        let owed = if how == Ended::Overdue { Look::Moved } else { look.max(Look::Moved) };
        self.look = self.look.max(owed);
        self.failures = self.failures.saturating_add(1);
        let wait = backoff(self.settings.retry_interval, self.settings.interval, self.failures);
        // Once the waits are that long, the look at everything is the next try.
        let sooner = retryable && wait < self.settings.interval;
        self.retry = sooner.then(|| after(now, jittered(wait, dice)));
    }

    /// When what is waited for has been waited for long enough.
    fn overdue(&self) -> Option<Timestamp> {
        let waiting = self.waiting.filter(|waiting| !waiting.told)?;
        waiting.since.map(|since| after(since, self.settings.timeout))
    }

    /// Whether the last pass waits for something to move.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// The sequence of the pass that runs.
    #[must_use]
    pub fn running(&self) -> Option<u64> {
        self.running.map(|start| start.sequence)
    }

    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }
}

#[cfg(test)]
mod tests;
