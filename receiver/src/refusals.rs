//! Which refusals have a log line of their own. Pure. Anybody can be refused, as often as he likes, and must not fill a
//! disk with it; a person who sets up a webhook has to find the reason of each attempt.
//!
//! So the first few of an interval have their full lines, and the rest are counted and told of together at its end. What
//! counts as one: the hook, the client and the reason. Verified deliveries are none of this: they have their line always.
//!
//! Strangers, who can have many addresses, do not use up what others need: a kind (hook and reason) has a part of their
//! lines only, and a part of all lines, and of the memory, is left to known senders' addresses.

use std::collections::HashMap;
use std::net::IpAddr;

/// A person tries a few times in a minute, a Git host repeats a failed delivery up to four times.
const LINES_EACH: u32 = 5;

/// Lines of an interval in all: with 500 bytes each, and an interval of a minute, some 200 MB in a day.
const LINES_MAX: u32 = 300;

/// Of them for addresses of which nothing is known. The rest is enough for twenty known senders' addresses.
const LINES_OF_STRANGERS_MAX: u32 = 200;

/// Of those for one hook and reason: who floods one kind leaves the others theirs.
const LINES_OF_KIND_MAX: u32 = 75;

/// Who is counted apart in an interval; some 200 bytes each.
const COUNTED_MAX: usize = 1024;

/// Of them who is not known.
const STRANGERS_COUNTED_MAX: usize = 768;

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
    lines_of_strangers: u32,
    /// Strangers' lines, by hook and reason: as many entries as lines at most.
    lines_of_kinds: HashMap<(String, &'static str), u32>,
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
    /// Counts one, from a known sender's address or not; true: it has a line of its own.
    pub fn note(&mut self, alike: Alike, is_known: bool) -> bool {
        let counted_max = if is_known { COUNTED_MAX } else { STRANGERS_COUNTED_MAX };
        if self.alike.len() >= counted_max && !self.alike.contains_key(&alike) {
            self.others += 1;
            return false;
        }
        let has_line_left = self.alike.get(&alike).is_none_or(|count| count.lines < LINES_EACH);
        let has_line = has_line_left && self.take_line(&alike, is_known);
        let count = self.alike.entry(alike).or_default();
        count.lines += u32::from(has_line);
        count.left_out += u64::from(!has_line);
        has_line
    }

    fn take_line(&mut self, alike: &Alike, is_known: bool) -> bool {
        if self.lines >= LINES_MAX {
            return false;
        }
        if !is_known {
            if self.lines_of_strangers >= LINES_OF_STRANGERS_MAX {
                return false;
            }
            let of_kind = self.lines_of_kinds.entry((alike.hook.clone(), alike.reason)).or_default();
            if *of_kind >= LINES_OF_KIND_MAX {
                return false;
            }
            *of_kind += 1;
            self.lines_of_strangers += 1;
        }
        self.lines += 1;
        true
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
        assert!((0..LINES_EACH).all(|_| refusals.note(alike(1), false)));
        assert!((0..10).all(|_| !refusals.note(alike(1), false)));
        assert!(refusals.note(alike(2), false), "another client has its own");
        assert_eq!(refusals.take(), Summary { alike: vec![(alike(1), 10)], others: 0 });
        assert!(refusals.note(alike(1), false), "the next interval begins");
        assert_eq!(refusals.take(), Summary::default());
    }

    #[test]
    fn however_many_come_lines_and_memory_are_bounded_and_all_are_counted() {
        let mut refusals = Refusals::default();
        let mut lines = 0;
        for client in 0..5_000 {
            lines += u64::from(refusals.note(alike(client), false));
            lines += u64::from(refusals.note(alike(client), false));
        }
        assert_eq!((lines, refusals.alike.len()), (u64::from(LINES_OF_KIND_MAX), STRANGERS_COUNTED_MAX));
        let all_lines = u64::from(refusals.lines);
        let summary = refusals.take();
        assert_eq!(summary.alike.len(), SUMMARY_LINES_MAX);
        let told: u64 = summary.alike.iter().map(|(_, left_out)| left_out).sum();
        assert_eq!(told + summary.others + all_lines, 10_000);
    }

    #[test]
    fn however_many_strangers_come_others_have_their_lines() {
        let mut refusals = Refusals::default();
        for client in 0..5_000 {
            refusals.note(alike(client), false);
        }
        let elsewhere = |n| Alike { hook: "/hooks/gitlab".to_owned(), ..alike(n) };
        assert!(!refusals.note(elsewhere(1), false), "the memory is full of strangers");
        for client in 10_000..10_020 {
            assert!((0..LINES_EACH).all(|_| refusals.note(alike(client), true)), "a known sender's {client}");
        }
        // With few addresses, and every kind there is, lines are left all the same.
        let mut refusals = Refusals::default();
        for client in 0..60 {
            for _ in 0..LINES_EACH {
                refusals.note(alike(client), false);
            }
        }
        assert!(refusals.note(elsewhere(1), false), "a stranger's at another hook");
        for reason in ["unsigned", "busy", "no_such_hook", "rate_limited"] {
            for client in 0..60 {
                for _ in 0..LINES_EACH {
                    refusals.note(Alike { reason, ..alike(client) }, false);
                }
            }
        }
        assert_eq!(refusals.lines, LINES_OF_STRANGERS_MAX);
        let known = (0..5_000).filter(|client| refusals.note(alike(20_000 + client), true)).count();
        assert_eq!(known, (LINES_MAX - LINES_OF_STRANGERS_MAX) as usize);
    }
}
