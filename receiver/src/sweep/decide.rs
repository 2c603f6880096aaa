//! From the attempts that GitHub lists to the redeliveries to ask for. Pure: the time is an argument; knows no HTTP.
//!
//! A delivery is all attempts with the same guid. One good attempt and it is done. Otherwise its newest attempt says
//! whether another one can end better: not where the receiver understood and refused (401, 400, 404, …), but where it
//! was not reached, was too busy, or could not publish. Attempts are spaced wider and wider, and there are few.
//!
//! The listing does not say which ref a push was for, so nothing can be left out for a newer push of the same ref. The
//! newest deliveries are chosen, because they matter most, and asked for oldest first, so that of two pushes of one ref
//! the newer one arrives last. In another order nothing would break: an event only says "look at this ref".

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::pace;
use super::settings::Bounds;

/// Times the wait before, from one attempt to the next. From one minute on, five redeliveries are asked for after 1, 5,
/// 21, 85 and 341 minutes: as long as the default look back of six hours.
const WAIT_FACTOR: u32 = 4;

/// One attempt to deliver, as GitHub lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    /// Of the attempt.
    pub(super) id: u64,
    /// Of the delivery: all its attempts have the same.
    pub(super) guid: String,
    pub(super) delivered_at: Timestamp,
    pub(super) is_redelivery: bool,
    pub(super) event: Event,
    pub(super) result: AttemptResult,
}

/// What a delivery is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Refs have new values.
    Push,
    /// Nothing follows from it.
    Other,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttemptResult {
    /// GitHub has not said yet.
    Open,
    Delivered,
    /// Not reached, too slow, too busy, not published: another attempt may end better.
    Failed,
    /// Understood, and refused: it would be refused again.
    Refused,
}

/// What was asked for by this process, by guid.
#[derive(Debug, Default)]
pub(super) struct Asked {
    by_guid: BTreeMap<String, Vec<Timestamp>>,
}

/// What to do now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Decision {
    /// In this order.
    pub(super) ask: Vec<Redelivery>,
    /// Failed deliveries that are due and have no place in this sweep.
    pub(super) postponed: usize,
    /// Failed deliveries whose next attempt is not due.
    pub(super) waiting: usize,
    /// Deliveries that were refused.
    pub(super) refused: usize,
    /// Failed deliveries that had all their attempts.
    pub(super) exhausted: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Redelivery {
    /// The attempt to repeat.
    pub(super) id: u64,
    pub(super) guid: String,
}

enum Verdict {
    NothingToDo,
    Waiting,
    Refused,
    Exhausted,
    Due,
}

impl AttemptResult {
    /// `None` or zero: there was no answer.
    pub(super) fn of_status(status_code: Option<u16>) -> Self {
        match status_code {
            None => Self::Open,
            Some(200..=299) => Self::Delivered,
            // 408: the body did not come in time. 429: too much at once. 5xx is also what GitHub says of connections
            // that failed or took too long.
            Some(0 | 408 | 429 | 500..) => Self::Failed,
            Some(_) => Self::Refused,
        }
    }
}

impl Asked {
    pub(super) fn note(&mut self, guid: String, at: Timestamp) {
        self.by_guid.entry(guid).or_default().push(at);
    }

    /// Keeps what deliveries that are still looked at may need.
    pub(super) fn forget_before(&mut self, start: Timestamp) {
        self.by_guid.retain(|_, times| times.last().is_some_and(|last| *last >= start));
    }

    fn of(&self, guid: &str) -> &[Timestamp] {
        self.by_guid.get(guid).map(Vec::as_slice).unwrap_or_default()
    }
}

/// `places`: how many redeliveries may be asked for.
pub(super) fn decide(attempts: &[Attempt], asked: &Asked, now: Timestamp, bounds: &Bounds, places: usize) -> Decision {
    let mut deliveries: BTreeMap<&str, Vec<&Attempt>> = BTreeMap::new();
    for attempt in attempts {
        deliveries.entry(&attempt.guid).or_default().push(attempt);
    }
    let mut decision = Decision::default();
    let mut due: Vec<(Timestamp, &Attempt)> = Vec::new();
    for (guid, mut attempts) in deliveries {
        attempts.sort_by_key(|attempt| (attempt.delivered_at, attempt.id));
        let (Some(first), Some(last)) = (attempts.first(), attempts.last()) else { continue };
        match judge(&attempts, asked.of(guid), now, bounds) {
            Verdict::NothingToDo => {}
            Verdict::Waiting => decision.waiting += 1,
            Verdict::Refused => decision.refused += 1,
            Verdict::Exhausted => decision.exhausted += 1,
            Verdict::Due => due.push((first.delivered_at, last)),
        }
    }
    due.sort_by_key(|(first_at, last)| Reverse((*first_at, last.id)));
    decision.postponed = due.len().saturating_sub(places);
    due.truncate(places);
    decision.ask = due.iter().rev().map(|(_, last)| Redelivery { id: last.id, guid: last.guid.clone() }).collect();
    decision
}

/// All attempts of one delivery, the oldest first.
fn judge(attempts: &[&Attempt], asked: &[Timestamp], now: Timestamp, bounds: &Bounds) -> Verdict {
    let (Some(first), Some(last)) = (attempts.first(), attempts.last()) else { return Verdict::NothingToDo };
    // Without its first attempt it is older than what is looked at, and may have had attempts that are not seen.
    let is_too_old = first.is_redelivery || first.delivered_at < pace::before(now, bounds.lookback);
    if is_too_old || first.event == Event::Other || attempts.iter().any(|a| a.result == AttemptResult::Delivered) {
        return Verdict::NothingToDo;
    }
    match last.result {
        AttemptResult::Delivered => return Verdict::NothingToDo,
        AttemptResult::Refused => return Verdict::Refused,
        AttemptResult::Open => return Verdict::Waiting,
        AttemptResult::Failed => {}
    }
    let made = attempts.len().max(1 + asked.len());
    if made >= bounds.attempts_max {
        return Verdict::Exhausted;
    }
    let last_at = asked.last().map_or(last.delivered_at, |asked_at| last.delivered_at.max(*asked_at));
    if last_at > pace::before(now, wait_after(made, bounds.attempt_wait)) {
        return Verdict::Waiting;
    }
    Verdict::Due
}

/// From the newest of so many attempts to the next.
fn wait_after(made: usize, first: Duration) -> Duration {
    let exponent = u32::try_from(made.saturating_sub(1)).unwrap_or(u32::MAX);
    first.saturating_mul(WAIT_FACTOR.saturating_pow(exponent))
}

#[cfg(test)]
mod tests;
