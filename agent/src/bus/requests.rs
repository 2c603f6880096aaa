//! How often a request to reconcile is passed on.
//!
//! Knows requests and when each was passed on last. Must not know subjects. Anybody who may publish can ask as often as he
//! likes: the first request goes through at once, those that follow within the interval become one at its end. None is lost,
//! because what changed may have changed after the pass that the first one started.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A pass that changes nothing costs a dry-run per object: once a second is more than a person asks for.
const INTERVAL: Duration = Duration::from_secs(1);

/// More Syncs than most clusters have; whoever asks for so many within a second means all of them, and gets that.
const SYNCS_MAX: usize = 1024;

/// A Kubernetes name is no longer; a request for something longer names nothing.
const NAME_BYTES_MAX: usize = 253;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Request {
    All,
    Sync { namespace: String, name: String },
}

struct Passed {
    at: Instant,
    /// Whether it was asked for again since.
    again: bool,
}

#[derive(Default)]
pub(super) struct Requests {
    passed: BTreeMap<Request, Passed>,
}

impl Requests {
    /// What to pass on now, if anything.
    pub(super) fn ask(&mut self, request: Request, now: Instant) -> Option<Request> {
        if let Request::Sync { namespace, name } = &request
            && (namespace.len() > NAME_BYTES_MAX || name.len() > NAME_BYTES_MAX)
        {
            return None;
        }
        let known = self.passed.contains_key(&request);
        let request = if !known && self.passed.len() >= SYNCS_MAX { Request::All } else { request };
        match self.passed.get_mut(&request) {
            Some(passed) => {
                passed.again = true;
                None
            }
            None => {
                self.passed.insert(request.clone(), Passed { at: now, again: false });
                Some(request)
            }
        }
    }

    /// Requests whose interval is over and that were made again within it.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Request> {
        let over = |passed: &Passed| passed.at + INTERVAL <= now;
        self.passed.retain(|_, passed| passed.again || !over(passed));
        let due = self.passed.iter_mut().filter(|(_, passed)| over(passed));
        due.map(|(request, passed)| {
            *passed = Passed { at: now, again: false };
            request.clone()
        })
        .collect()
    }

    /// When [`Requests::due`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.passed.values().map(|passed| passed.at + INTERVAL).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sync(name: &str) -> Request {
        Request::Sync { namespace: "ns".to_owned(), name: name.to_owned() }
    }

    #[test]
    fn the_first_at_once_and_the_others_as_one() {
        let (mut requests, now) = (Requests::default(), Instant::now());
        assert_eq!(requests.ask(sync("a"), now), Some(sync("a")));
        assert_eq!(requests.ask(sync("b"), now), Some(sync("b")));
        assert_eq!(requests.ask(sync("a"), now), None);
        assert_eq!(requests.ask(sync("a"), now), None);
        assert!(requests.due(now + INTERVAL / 2).is_empty());
        assert_eq!(requests.deadline(), Some(now + INTERVAL));
        assert_eq!(requests.due(now + INTERVAL), [sync("a")]);
        assert_eq!(requests.ask(sync("a"), now + INTERVAL), None, "the one passed on late counts too");
        assert_eq!(requests.due(now + 2 * INTERVAL), [sync("a")]);
        assert!(requests.due(now + 3 * INTERVAL).is_empty() && requests.deadline().is_none());
    }

    #[test]
    fn a_flood_of_names_becomes_one_request_for_all() {
        let (mut requests, now) = (Requests::default(), Instant::now());
        for name in 0..SYNCS_MAX {
            assert!(requests.ask(sync(&name.to_string()), now).is_some());
        }
        assert_eq!(requests.ask(sync("x"), now), Some(Request::All));
        assert_eq!(requests.ask(sync("y"), now), None);
        assert_eq!(requests.passed.len(), SYNCS_MAX + 1);
        assert_eq!(requests.due(now + INTERVAL), [Request::All]);
        assert_eq!(requests.ask(sync(&"n".repeat(254)), now), None, "no such name");
    }
}
