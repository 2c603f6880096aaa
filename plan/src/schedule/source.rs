//! One source: when its ref is looked at, and which of the tips seen becomes the next revision.
//!
//! Hosts send the webhook before all their replicas serve the new ref, and some serve the old one again for a moment. So a
//! tip that is not what the event named is asked for again, and a tip that was superseded a moment ago needs a second look.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use towline_proto::CommitId;

use super::{after, backoff, jittered};

/// Waits, in milliseconds, before the ref is asked again when the tip is not the commit an event named. Together 16 s: what
/// hosts' replicas lag in practice; behind it the poll goes on.
const LOOK_AGAIN_MS: [i64; 6] = [250, 500, 1_000, 2_000, 4_000, 8_000];
/// For how long a superseded commit that comes back counts as a lagging replica until seen twice.
const SUPERSEDED: SignedDuration = SignedDuration::from_secs(60);
/// How long after the first look the second one is.
const SECOND_LOOK: SignedDuration = SignedDuration::from_secs(5);
/// First wait after a failed fetch; doubles up to the interval.
const RETRY: SignedDuration = SignedDuration::from_secs(2);
/// How many superseded commits are remembered: a branch pushed to faster than this in a minute is not hand-made.
const SUPERSEDED_MAX: usize = 64;

/// When one source is fetched.
#[derive(Debug, Clone)]
pub struct SourceSchedule {
    interval: SignedDuration,
    suspended: bool,
    /// Whether it is looked at without being asked to.
    polls: bool,
    due: Timestamp,
    fetching: bool,
    /// Woken during a fetch: what it saw may be older than the event.
    again: bool,
    /// The commit an event named and no fetch has seen yet, and how often it was looked for.
    expected: Option<(CommitId, usize)>,
    tip: Option<CommitId>,
    superseded: VecDeque<(CommitId, Timestamp)>,
    /// What was the tip before a restart, and when that was seen.
    before: Option<(CommitId, Timestamp)>,
    doubted: Option<CommitId>,
    failures: u32,
}

/// What becomes of a tip that was fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the newest revision.
    Publish,
    /// It is what was known already.
    Unchanged,
    /// It was superseded a moment ago: a lagging replica, unless it is still there at the second look.
    Doubt,
}

impl SourceSchedule {
    /// A source that is fetched at once. `tip` is what was known before a restart.
    #[must_use]
    pub fn new(interval: SignedDuration, suspended: bool, tip: Option<CommitId>, now: Timestamp) -> Self {
        Self {
            interval,
            suspended,
            polls: true,
            due: now,
            fetching: false,
            again: false,
            expected: None,
            tip,
            superseded: VecDeque::new(),
            before: None,
            doubted: None,
            failures: 0,
        }
    }

    /// What was the tip when somebody last looked: this process a life ago, or another replica. A host that serves another one
    /// so soon may lag behind that.
    pub fn remember(&mut self, tip: CommitId, seen_at: Timestamp) {
        self.before = Some((tip, seen_at));
    }

    /// Takes over changed settings; the ref is looked at now.
    pub fn configure(&mut self, interval: SignedDuration, suspended: bool, now: Timestamp) {
        (self.interval, self.suspended) = (interval, suspended);
        self.wake(None, now);
    }

    /// Whether the ref is looked at every interval, too, or only when somebody asks.
    pub fn poll(&mut self, polls: bool, now: Timestamp) {
        if polls && !self.polls {
            self.due = self.due.min(after(now, self.interval));
        }
        self.polls = polls;
    }

    /// An event, a request or a reconnect: look now. `named` is the commit an event spoke of, a hint only.
    pub fn wake(&mut self, named: Option<CommitId>, now: Timestamp) {
        match named {
            // An event for what is known already: a duplicate, or one that the fetch overtook. Looking costs little, and
            // a forged event can do no more than this.
            Some(commit) if self.tip.as_ref() == Some(&commit) => {}
            Some(commit) => self.expected = Some((commit, 0)),
            None => {}
        }
        self.again = self.fetching;
        self.due = self.due.min(now);
    }

    /// When the driver has to ask next; `None` while a fetch runs or the source is suspended.
    #[must_use]
    pub fn next(&self) -> Option<Timestamp> {
        (!self.fetching && !self.suspended).then_some(self.due)
    }

    #[must_use]
    pub fn is_fetching(&self) -> bool {
        self.fetching
    }

    /// Whether a fetch starts now.
    pub fn start(&mut self, now: Timestamp) -> bool {
        let start = self.next().is_some_and(|due| due <= now);
        self.fetching |= start;
        start
    }

    /// A fetch succeeded and saw `tip`.
    pub fn fetched(&mut self, tip: &CommitId, now: Timestamp, dice: f64) -> Verdict {
        self.fetching = false;
        self.failures = 0;
        let verdict = self.judge(tip, now);
        if verdict == Verdict::Publish
            && let Some(old) = self.tip.replace(tip.clone())
        {
            self.superseded.push_back((old, now));
            if self.superseded.len() > SUPERSEDED_MAX {
                self.superseded.pop_front();
            }
        }
        self.due = after(now, self.wait(tip, verdict, dice));
        verdict
    }

    /// A fetch failed; `retryable` where trying sooner than the interval can help.
    pub fn failed(&mut self, retryable: bool, now: Timestamp, dice: f64) {
        self.fetching = false;
        self.failures = self.failures.saturating_add(1);
        let wait = match retryable {
            true => backoff(RETRY, self.interval, self.failures),
            false => self.interval,
        };
        let wait = if std::mem::take(&mut self.again) { SignedDuration::ZERO } else { jittered(wait, dice) };
        self.due = after(now, wait);
    }

    /// Whether an event named a commit that no fetch has seen yet.
    #[must_use]
    pub fn is_expecting(&self) -> bool {
        self.expected.is_some()
    }

    fn judge(&mut self, tip: &CommitId, now: Timestamp) -> Verdict {
        self.superseded.retain(|(_, at)| now.duration_since(*at) < SUPERSEDED);
        if self.tip.as_ref() == Some(tip) {
            self.doubted = None;
            return Verdict::Unchanged;
        }
        // An event that names the commit is a statement of the host that this is the newest: no lagging replica.
        let named = self.expected.as_ref().is_some_and(|(commit, _)| commit == tip);
        let recent = self.superseded.iter().any(|(commit, _)| commit == tip) || self.may_be_older(tip, now);
        if recent && !named && self.doubted.as_ref() != Some(tip) {
            self.doubted = Some(tip.clone());
            return Verdict::Doubt;
        }
        self.doubted = None;
        Verdict::Publish
    }

    /// Nothing was seen yet, and a moment ago the tip was another one: which of the two is newer is not known.
    fn may_be_older(&self, tip: &CommitId, now: Timestamp) -> bool {
        let recent = |(before, at): &(CommitId, Timestamp)| before != tip && now.duration_since(*at) < SUPERSEDED;
        self.tip.is_none() && self.before.as_ref().is_some_and(recent)
    }

    fn wait(&mut self, tip: &CommitId, verdict: Verdict, dice: f64) -> SignedDuration {
        if std::mem::take(&mut self.again) {
            return SignedDuration::ZERO;
        }
        if verdict == Verdict::Doubt {
            return SECOND_LOOK;
        }
        if let Some((commit, looks)) = &mut self.expected {
            if commit != tip
                && let Some(wait) = LOOK_AGAIN_MS.get(*looks)
            {
                *looks += 1;
                return SignedDuration::from_millis(*wait);
            }
            self.expected = None;
        }
        match self.polls {
            true => jittered(self.interval, dice),
            false => SignedDuration::MAX,
        }
    }
}

#[cfg(test)]
mod tests;
