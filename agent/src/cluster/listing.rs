//! How far the watch of a kind is, judged by what it says.
//!
//! Pure: time is given. Knows how kube's watcher lists, watches and tries again. Must not know requests.

use std::time::Duration;

use tokio::time::Instant;

/// How long a first list that was not refused may be tried again before that is said: of a kind that was defined just now the
/// API server says for a second or two that its storage begins.
const FIRST_AFTER: Duration = Duration::from_secs(5);
/// A watch that was complete and has failed for this long is not one: a restart of an API server is over sooner.
const LOST_AFTER: Duration = Duration::from_secs(60);
/// The watcher tries again at most 30 s, and as much again of jitter, after a failure, and does not say when a watch goes on:
/// no more failures for this long say it.
const QUIET_AFTER: Duration = Duration::from_secs(90);

/// How far the watch of a kind is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listing {
    /// Neither has come: its first list, or a failure that lasts.
    NotYet,
    /// What it shows is not all there is, or not as it is now: why. It is tried again.
    Failed(String),
    /// A list is complete, and the watch goes on from there.
    Listed,
}

/// Judges one watch.
#[derive(Debug)]
pub(super) struct Health {
    listing: Listing,
    /// A list is under way: only its end says that the watch is complete.
    is_listing: bool,
    /// When the last list was complete.
    listed: Option<Instant>,
    /// Failures that followed each other closely: the first and the last.
    failing: Option<(Instant, Instant)>,
}

impl Health {
    pub(super) fn new() -> Self {
        Self { listing: Listing::NotYet, is_listing: true, listed: None, failing: None }
    }

    pub(super) fn listing(&self) -> &Listing {
        &self.listing
    }

    /// A list begins: at the start, or because what was watched from is too old.
    pub(super) fn list_begins(&mut self) {
        self.is_listing = true;
    }

    /// A list is complete: it is watched from there.
    pub(super) fn list_ends(&mut self, now: Instant) {
        self.listed = Some(now);
        self.goes_on();
    }

    /// A change came, or it has been quiet for long enough.
    pub(super) fn goes_on(&mut self) {
        (self.is_listing, self.failing, self.listing) = (false, None, Listing::Listed);
    }

    /// A try failed. What is refused stays refused; anything else may pass, and a watch that was complete and breaks is taken
    /// up again. A watch that is refused as soon as its list is there was never one: who may list may not watch. (Later it may be
    /// an API server that starts, and does not know its roles yet.)
    pub(super) fn failed(&mut self, why: String, is_refusal: bool, now: Instant) {
        let first = match self.failing {
            Some((first, last)) if now < last + QUIET_AFTER => first,
            _ => now,
        };
        self.failing = Some((first, now));
        let lasts = match self.listing {
            Listing::NotYet => is_refusal || now >= first + FIRST_AFTER,
            Listing::Listed => {
                let began = self.listed.is_none_or(|listed| now >= listed + FIRST_AFTER);
                now >= first + LOST_AFTER || (is_refusal && !began)
            }
            Listing::Failed(_) => true,
        };
        if lasts {
            self.listing = Listing::Failed(why);
        }
    }

    /// When, without another word, a failed watch can be taken to go on; `None`: it will say so.
    pub(super) fn quiet_at(&self) -> Option<Instant> {
        let (_, last) = self.failing.filter(|_| matches!(self.listing, Listing::Failed(_)) && !self.is_listing)?;
        Some(last + QUIET_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(why: &str) -> Listing {
        Listing::Failed(why.to_owned())
    }

    #[test]
    fn a_first_list_that_is_refused_is_said_at_once_until_one_is_complete() {
        let (mut health, start) = (Health::new(), Instant::now());
        health.list_begins();
        assert_eq!(health.listing(), &Listing::NotYet);
        health.failed("403".to_owned(), true, start);
        assert_eq!(health.listing(), &failed("403"));
        health.list_begins();
        assert_eq!((health.listing(), health.quiet_at()), (&failed("403"), None), "trying again is no success");
        health.failed("503".to_owned(), false, start + QUIET_AFTER);
        assert_eq!(health.listing(), &failed("503"), "the last reason is the one to know");
        health.list_begins();
        health.goes_on();
        assert_eq!(health.listing(), &Listing::Listed);
    }

    #[test]
    fn a_first_list_that_may_come_is_waited_for_a_little() {
        let (mut health, start) = (Health::new(), Instant::now());
        for milliseconds in [0, 800, 2400] {
            health.failed("storage is (re)initializing".to_owned(), false, start + Duration::from_millis(milliseconds));
            assert_eq!(health.listing(), &Listing::NotYet);
        }
        health.failed("500".to_owned(), false, start + FIRST_AFTER);
        assert_eq!(health.listing(), &failed("500"));
    }

    #[test]
    fn a_watch_that_breaks_and_goes_on_is_complete() {
        let (mut health, mut now) = (Health::new(), Instant::now());
        health.goes_on();
        for _ in 0..100 {
            now += QUIET_AFTER;
            health.failed("the connection broke".to_owned(), false, now);
            assert_eq!(health.listing(), &Listing::Listed);
        }
    }

    #[test]
    fn who_may_list_and_not_watch_is_told_at_once() {
        let (mut health, start) = (Health::new(), Instant::now());
        health.list_ends(start);
        health.failed("403".to_owned(), true, start);
        assert_eq!(health.listing(), &failed("403"));
        let mut health = Health::new();
        health.list_ends(start);
        health.failed("503".to_owned(), false, start);
        health.failed("403".to_owned(), true, start + FIRST_AFTER);
        assert_eq!(health.listing(), &Listing::Listed, "it was watched for a while");
    }

    /// As when the right to watch is taken away.
    #[test]
    fn a_watch_that_does_not_go_on_is_lost_and_found_by_its_silence() {
        let (mut health, start) = (Health::new(), Instant::now());
        health.goes_on();
        let mut now = start;
        while now < start + LOST_AFTER {
            assert_eq!((health.listing(), health.quiet_at()), (&Listing::Listed, None));
            health.failed("403".to_owned(), true, now);
            now += Duration::from_secs(30);
        }
        health.failed("403".to_owned(), true, now);
        assert_eq!((health.listing(), health.quiet_at()), (&failed("403"), Some(now + QUIET_AFTER)));
        health.goes_on();
        assert_eq!((health.listing(), health.quiet_at()), (&Listing::Listed, None));
    }

    #[test]
    fn a_later_list_that_fails_is_found_by_its_end_only() {
        let (mut health, start) = (Health::new(), Instant::now());
        health.goes_on();
        for seconds in [0, 30, 60] {
            health.list_begins();
            health.failed("500".to_owned(), false, start + Duration::from_secs(seconds));
        }
        health.list_begins();
        assert_eq!((health.listing(), health.quiet_at()), (&failed("500"), None));
        health.goes_on();
        assert_eq!(health.listing(), &Listing::Listed);
    }
}
