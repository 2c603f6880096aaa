//! Which refusals have a log line of their own. Pure. Anybody can be refused, as often as he likes, and must not fill a
//! disk with it; a person who sets up a webhook has to find the reason of each attempt.
//!
//! So the first few of an interval have their full lines, and the rest are counted and told of together at its end. What
//! counts as one: the hook, the client and the reason. Verified deliveries are none of this: they have their line always.

use std::collections::HashMap;
use std::net::IpAddr;

/// A person tries a few times in a minute, a Git host repeats a failed delivery up to four times.
const LINES_EACH: u32 = 5;

/// Lines of an interval in all: with 500 bytes each, and an interval of a minute, some 200 MB in a day.
const LINES_MAX: u32 = 300;

/// Who is counted apart in an interval; some 200 bytes each.
const COUNTED_MAX: usize = 1024;

/// Lines of a summary: those with the most; the others together.
const SUMMARY_LINES_MAX: usize = 50;

/// Refusals that are alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Alike {
    pub hook: String,
    /// An IPv6 address stands for its /64.
    pub client: IpAddr,
    pub reason: &'static str,
}

/// The refusals of an interval.
#[derive(Debug, Default)]
pub struct Refusals {
    lines: u32,
    alike: HashMap<Alike, Count>,
    /// Of those for whom there was no room any more.
    others: u64,
}

#[derive(Debug, Default)]
struct Count {
    lines: u32,
    left_out: u64,
}

/// What was left out in an interval.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub alike: Vec<(Alike, u64)>,
    pub others: u64,
}

impl Refusals {
    /// Counts one; true: it has a line of its own.
    pub fn note(&mut self, alike: Alike) -> bool {
        let there_is_room = self.alike.len() < COUNTED_MAX;
        let count = match self.alike.get_mut(&alike) {
            Some(count) => count,
            None if there_is_room => self.alike.entry(alike).or_default(),
            None => {
                self.others += 1;
                return false;
            }
        };
        if count.lines < LINES_EACH && self.lines < LINES_MAX {
            count.lines += 1;
            self.lines += 1;
            return true;
        }
        count.left_out += 1;
        false
    }

    /// Ends the interval.
    pub fn take(&mut self) -> Summary {
        let Self { alike, mut others, .. } = std::mem::take(self);
        let mut alike: Vec<_> = alike.into_iter().map(|(alike, count)| (alike, count.left_out)).collect();
        alike.retain(|(_, left_out)| *left_out > 0);
        alike.sort_unstable_by(|(a, many), (b, more)| more.cmp(many).then_with(|| a.cmp(b)));
        others += alike.drain(alike.len().min(SUMMARY_LINES_MAX)..).map(|(_, left_out)| left_out).sum::<u64>();
        Summary { alike, others }
    }
}

impl Summary {
    /// One line for each, and one for the rest.
    pub fn log(&self, seconds: u64) {
        for (alike, left_out) in &self.alike {
            let Alike { hook, client, reason } = alike;
            tracing::warn!(hook, %client, reason, left_out, seconds, "more refusals like those before");
        }
        if self.others > 0 {
            tracing::warn!(left_out = self.others, seconds, "more refusals, of many clients");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alike(client: u32) -> Alike {
        Alike { hook: "/hooks/github".to_owned(), client: IpAddr::from(client.to_be_bytes()), reason: "wrong" }
    }

    #[test]
    fn the_first_few_have_their_lines_and_the_rest_is_counted() {
        let mut refusals = Refusals::default();
        assert!((0..LINES_EACH).all(|_| refusals.note(alike(1))));
        assert!((0..10).all(|_| !refusals.note(alike(1))));
        assert!(refusals.note(alike(2)), "another client has its own");
        assert_eq!(refusals.take(), Summary { alike: vec![(alike(1), 10)], others: 0 });
        assert!(refusals.note(alike(1)), "the next interval begins");
        assert_eq!(refusals.take(), Summary::default());
    }

    #[test]
    fn however_many_come_lines_and_memory_are_bounded_and_all_are_counted() {
        let mut refusals = Refusals::default();
        let mut lines = 0;
        for client in 0..5_000 {
            lines += u64::from(refusals.note(alike(client)));
            refusals.note(alike(client));
        }
        assert!(lines <= u64::from(LINES_MAX) && refusals.alike.len() <= COUNTED_MAX);
        let all_lines = u64::from(refusals.lines);
        let summary = refusals.take();
        assert_eq!(summary.alike.len(), SUMMARY_LINES_MAX);
        let told: u64 = summary.alike.iter().map(|(_, left_out)| left_out).sum();
        assert_eq!(told + summary.others + all_lines, 10_000);
    }
}
