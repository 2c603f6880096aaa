//! How much is asked of a Git host at once, and when one that is down is asked again.
//!
//! Knows hosts by name, who works at each of them, how that ended, and what they ask for. Must not know what is fetched, nor when
//! a source wants to be: it only says when it may. An outage is found out by few, and its end by one at a time, so that a fleet
//! does not fall upon a host that has just come back.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::{after, backoff, jittered, rest};

/// So many sources in a row without one that was answered make an outage: one alone may be its own repository's trouble.
const SOURCES_DOWN: usize = 2;
/// First wait between two tries of a host that is down; doubles.
const PROBE: SignedDuration = SignedDuration::from_secs(2);
/// What a host that comes back is kept waiting for at the most; a thousand agents ask it eight times a second then.
const PROBE_MAX: SignedDuration = SignedDuration::from_mins(2);

/// Whose limits count together: one host, asked with one account.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Account {
    /// With its port.
    pub host: String,
    /// What names the credentials; `None` for whoever comes without.
    pub login: Option<String>,
}

/// How a fetch ended, as far as its host is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The host works, whatever it said.
    Answered,
    /// It could not be reached, did not answer in time, or said that it is broken.
    Outage,
    /// It was not asked, or what failed was on our side.
    NotAsked,
}

/// Why no fetch may start for longer than others take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// The host gave no answer.
    Down,
    /// It asked for it.
    Resting { until: Timestamp },
}

/// All hosts that something is known of. `S` names a source.
#[derive(Debug, Clone)]
pub struct Hosts<S> {
    at_once: usize,
    hosts: BTreeMap<String, Host<S>>,
    rests: BTreeMap<Account, Timestamp>,
    /// Which fetch is at which host.
    working: BTreeMap<u64, (Account, S)>,
}

#[derive(Debug, Clone)]
struct Host<S> {
    working: usize,
    /// Who got no answer since somebody did.
    failed: BTreeSet<S>,
    /// How often it was tried since it is down.
    tries: u32,
    /// Before, nobody asks it; only while it is down.
    next_try: Option<Timestamp>,
}

impl<S> Default for Host<S> {
    fn default() -> Self {
        Self { working: 0, failed: BTreeSet::new(), tries: 0, next_try: None }
    }
}

impl<S: Ord + Clone> Hosts<S> {
    /// So many fetches at one host at once.
    #[must_use]
    pub fn new(at_once: usize) -> Self {
        Self { at_once: at_once.max(1), hosts: BTreeMap::new(), rests: BTreeMap::new(), working: BTreeMap::new() }
    }

    /// When a fetch may start: a moment, which may be over; `None` while others have to end first.
    #[must_use]
    pub fn may_start(&self, account: &Account) -> Option<Timestamp> {
        let rest = self.rests.get(account).copied().unwrap_or(Timestamp::MIN);
        let Some(host) = self.hosts.get(&account.host) else { return Some(rest) };
        let at_once = if host.next_try.is_some() { 1 } else { self.at_once };
        (host.working < at_once).then(|| host.next_try.map_or(rest, |next| next.max(rest)))
    }

    /// What keeps an account's sources from their host, besides each other.
    #[must_use]
    pub fn holds(&self, account: &Account, now: Timestamp) -> Option<Hold> {
        let resting =
            self.rests.get(account).filter(|until| **until > now).map(|until| Hold::Resting { until: *until });
        let is_down = self.hosts.get(&account.host).is_some_and(|host| host.next_try.is_some());
        resting.or(is_down.then_some(Hold::Down))
    }

    /// A fetch starts; it was asked whether it may.
    pub fn started(&mut self, fetch: u64, account: &Account, source: &S) {
        self.hosts.entry(account.host.clone()).or_default().working += 1;
        self.working.insert(fetch, (account.clone(), source.clone()));
    }

    /// A fetch ended; every one that started does. `wait` is how long the host asks to be left alone: by all sources of the account.
    pub fn ended(&mut self, fetch: u64, answer: Answer, wait: Option<SignedDuration>, now: Timestamp, dice: f64) {
        let Some((account, source)) = self.working.remove(&fetch) else { return };
        self.rests.retain(|_, until| *until > now);
        if let Some(wait) = wait {
            let until = rest(wait, now, dice);
            let known = self.rests.entry(account.clone()).or_insert(until);
            *known = until.max(*known);
        }
        let Some(host) = self.hosts.get_mut(&account.host) else { return };
        host.working = host.working.saturating_sub(1);
        match answer {
            Answer::Answered => *host = Host { working: host.working, ..Host::default() },
            Answer::Outage => {
                host.failed.insert(source);
                // Those that were under way when it went down tell nothing new when they fail, too.
                if host.failed.len() >= SOURCES_DOWN && host.next_try.is_none_or(|next| next <= now) {
                    host.tries = host.tries.saturating_add(1);
                    host.next_try = Some(after(now, jittered(backoff(PROBE, PROBE_MAX, host.tries), dice)));
                }
            }
            Answer::NotAsked => {}
        }
        if host.working == 0 && host.failed.is_empty() {
            self.hosts.remove(&account.host);
        }
    }

    /// Only what these hosts did is remembered: no source is left at the others.
    pub fn keep(&mut self, hosts: &BTreeSet<String>) {
        self.hosts.retain(|name, host| host.working > 0 || hosts.contains(name));
        self.rests.retain(|account, _| hosts.contains(&account.host));
    }
}

/// The host of a URL, with its port where it names one: `https://git@host:8443/org/repo`, `git@host:org/repo`.
#[must_use]
pub fn host_of(url: &str) -> String {
    let (rest, is_scp) = url.split_once("://").map_or((url, true), |(_, rest)| (rest, false));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    // What follows the colon of a scp-like form is a path.
    let host = if is_scp && !host.starts_with('[') { host.split(':').next().unwrap_or_default() } else { host };
    host.to_ascii_lowercase()
}

#[cfg(test)]
mod tests;
