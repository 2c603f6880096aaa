//! One source: when its ref is looked at, and which of the tips seen becomes the next revision.
//!
//! Hosts send the webhook before all their replicas serve the new ref, and some serve the old one again for a moment. So a
//! tip that is not what the event named is asked for again, and a tip that was superseded a moment ago needs a second look, whoever
//! names it. Events come from anybody: they make it look, and not more often than the host bears.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use towline_proto::CommitId;

use super::{after, backoff, jittered, part};

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
/// So many looks may begin within [`LOOKS_WITHIN`]: all that one event leads to, and a few more. Whoever can send events could
/// have the host asked without end otherwise.
const LOOKS_MAX: usize = 8;
const LOOKS_WITHIN: SignedDuration = SignedDuration::from_secs(8);

/// When one source is fetched.
#[derive(Debug, Clone)]
pub struct SourceSchedule {
    interval: SignedDuration,
    suspended: bool,
    /// Whether it is looked at without being asked to.
    polls: bool,
    due: Timestamp,
    fetching: bool,
    /// Woken during a fetch, for then: what it saw may be older than the event.
    again: Option<Timestamp>,
    /// A fleet that hears one event looks within this.
    spread: SignedDuration,
    /// When the events that were heard are looked after.
    drawn: Option<Timestamp>,
    /// The commit an event named and no fetch has seen yet, and how often it was looked for.
    expected: Option<(CommitId, usize)>,
    tip: Option<CommitId>,
    superseded: VecDeque<(CommitId, Timestamp)>,
    /// Until then it is not known what was superseded a moment ago: it may be any commit.
    forgetful_until: Option<Timestamp>,
    /// A tip that may come from a lagging replica, and when it was seen first.
    doubted: Option<(CommitId, Timestamp)>,
    /// When the last looks began, oldest first.
    looks: VecDeque<Timestamp>,
    failures: u32,
}

/// What is known of a source by somebody who looked at it before: another process, or another replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    pub tip: CommitId,
    /// When that was recorded, or a later moment: what it superseded was superseded no later.
    pub at: Timestamp,
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
    /// A source that is fetched at once.
    #[must_use]
    pub fn new(interval: SignedDuration, suspended: bool, recorded: Option<Recorded>, now: Timestamp) -> Self {
        // By another machine's clock, which may be ahead.
        let forgetful_until = recorded.as_ref().map(|recorded| after(recorded.at.min(now), SUPERSEDED));
        Self {
            interval,
            suspended,
            polls: true,
            due: now,
            fetching: false,
            again: None,
            spread: SignedDuration::ZERO,
            drawn: None,
            expected: None,
            tip: recorded.map(|recorded| recorded.tip),
            superseded: VecDeque::new(),
            forgetful_until,
            doubted: None,
            looks: VecDeque::new(),
            failures: 0,
        }
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

    /// Events are looked after within this, at random, so that a large fleet does not come at once.
    pub fn spread_over(&mut self, spread: SignedDuration) {
        self.spread = spread.max(SignedDuration::ZERO);
    }

    /// A request or a reconnect: look now. `named` is the commit somebody spoke of, a hint only.
    pub fn wake(&mut self, named: Option<CommitId>, now: Timestamp) {
        self.wake_at(named, now);
    }

    /// An event, which the whole fleet has heard: look soon. Those that follow are looked after at the same time, or a burst
    /// of them would have everybody look at once.
    pub fn hear(&mut self, named: Option<CommitId>, now: Timestamp, dice: f64) {
        let at = *self.drawn.get_or_insert_with(|| after(now, part(self.spread, dice)));
        self.wake_at(named, at);
    }

    fn wake_at(&mut self, named: Option<CommitId>, at: Timestamp) {
        match named {
            // An event for what is known already: a duplicate, or one that the fetch overtook. Looking costs little, and
            // a forged event can do no more than this.
            Some(commit) if self.tip.as_ref() == Some(&commit) => {}
            Some(commit) => self.expected = Some((commit, 0)),
            None => {}
        }
        if self.fetching {
            self.again = Some(self.again.map_or(at, |again| again.min(at)));
        }
        self.due = self.due.min(at);
    }

    /// When the driver has to ask next; `None` while a fetch runs or the source is suspended.
    #[must_use]
    pub fn next(&self) -> Option<Timestamp> {
        let not_before = self.may_look();
        (!self.fetching && !self.suspended).then(|| not_before.map_or(self.due, |may| self.due.max(may)))
    }

    /// Before this moment there were looks enough.
    fn may_look(&self) -> Option<Timestamp> {
        let first = self.looks.front().filter(|_| self.looks.len() >= LOOKS_MAX);
        first.map(|first| after(*first, LOOKS_WITHIN))
    }

    /// Whether this is the tip as far as is known.
    #[must_use]
    pub fn is_tip(&self, commit: &CommitId) -> bool {
        self.tip.as_ref() == Some(commit)
    }

    #[must_use]
    pub fn is_fetching(&self) -> bool {
        self.fetching
    }

    /// Whether a fetch starts now.
    pub fn start(&mut self, now: Timestamp) -> bool {
        let start = self.next().is_some_and(|due| due <= now);
        if start {
            self.fetching = true;
            self.drawn = None;
            self.looks.push_back(now);
            let more = self.looks.len().saturating_sub(LOOKS_MAX);
            self.looks.drain(..more);
        }
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
        self.due = after(now, self.wait(tip, verdict, now, dice));
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
        self.due = self.again.take().map_or_else(|| after(now, jittered(wait, dice)), |again| again.max(now));
    }

    /// Whether an event named a commit that no fetch has seen yet.
    #[must_use]
    pub fn is_expecting(&self) -> bool {
        self.expected.is_some()
    }

    /// Whether nothing is looked for: what there was to see was seen.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        !self.fetching
            && self.drawn.is_none()
            && self.expected.is_none()
            && self.doubted.is_none()
            && self.failures == 0
    }

    fn judge(&mut self, tip: &CommitId, now: Timestamp) -> Verdict {
        self.superseded.retain(|(_, at)| now.duration_since(*at) < SUPERSEDED);
        if self.tip.as_ref() == Some(tip) {
            self.doubted = None;
            return Verdict::Unchanged;
        }
        // That an event names it proves nothing: events come late and again, and can be forged.
        let is_recent = self.superseded.iter().any(|(commit, _)| commit == tip)
            || (self.tip.is_some() && self.forgetful_until.is_some_and(|until| now < until));
        let first = self.doubted.as_ref().filter(|(commit, _)| commit == tip).map_or(now, |(_, first)| *first);
        if is_recent && now < after(first, SECOND_LOOK) {
            self.doubted = Some((tip.clone(), first));
            return Verdict::Doubt;
        }
        self.doubted = None;
        Verdict::Publish
    }

    fn wait(&mut self, tip: &CommitId, verdict: Verdict, now: Timestamp, dice: f64) -> SignedDuration {
        if let Some(again) = self.again.take() {
            return again.duration_since(now).max(SignedDuration::ZERO);
        }
        let doubted = self.doubted.as_ref().filter(|_| verdict == Verdict::Doubt);
        let second_look = doubted.map(|(_, first)| after(*first, SECOND_LOOK).duration_since(now));
        if let Some((commit, looks)) = &mut self.expected {
            if commit != tip
                && let Some(wait) = LOOK_AGAIN_MS.get(*looks)
            {
                *looks += 1;
                let wait = SignedDuration::from_millis(*wait);
                return second_look.map_or(wait, |second_look| wait.min(second_look));
            }
            self.expected = None;
        }
        if let Some(second_look) = second_look {
            return second_look;
        }
        match self.polls {
            true => jittered(self.interval, dice),
            false => SignedDuration::MAX,
        }
    }
}

#[cfg(test)]
mod tests;
