//! Replicas of an agent: which of them are alive, whose a source or a Sync is, and until when this one may write.
//!
//! Knows Leases as a watch shows them, in the API server's order, and moments of this machine's own clock. Must not know
//! requests, and never compares clocks of two machines: what another replica wrote is only seen to change or not.
//!
//! Why no two replicas act for the same key, however late a watch runs:
//!
//! - A replica may write for half a lease after it *sent* the last renewal that its own watch has shown to it. So whoever has
//!   not seen another's Lease stops half a lease after that Lease was written, at the latest.
//! - Whoever begins, or begins again, waits a whole lease after its own Lease came back through its watch, unless it sees
//!   nobody else alive.
//! - Whoever is not seen to renew for a whole lease is taken for dead; it has not written for half of one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::object::SyncKey;

/// A moment: how long this machine has been up, with the time it was suspended.
pub type Uptime = Duration;

/// After each renewal a replica may write for this long: what is left of the lease until others take over is for requests
/// that are under way and for clocks that run at different speeds.
#[must_use]
pub fn holds_for(lease: Duration) -> Duration {
    lease / 2
}

/// Between two renewals: leaves a sixth of a lease for a second try before the first one runs out.
#[must_use]
pub fn renew_every(lease: Duration) -> Duration {
    lease / 3
}

/// Before a failed renewal is tried again: two more tries fit in before writing has to stop.
#[must_use]
pub fn retry_every(lease: Duration) -> Duration {
    lease / 15
}

/// What is divided among replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matter<'a> {
    Source(&'a SyncKey),
    Sync(&'a SyncKey),
    /// What one replica says or does for all of them.
    Cluster,
}

impl fmt::Display for Matter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(key) => write!(f, "source {key}"),
            Self::Sync(key) => write!(f, "sync {key}"),
            Self::Cluster => f.write_str("cluster"),
        }
    }
}

/// What a replica is to take care of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Share {
    /// There are no replicas: everything.
    All,
    /// Its Lease is not held, or others have to notice it first.
    Nothing,
    /// What falls to `own` among `members`.
    Part { own: String, members: BTreeSet<String> },
}

impl Share {
    #[must_use]
    pub fn owns(&self, matter: Matter<'_>) -> bool {
        match self {
            Self::All => true,
            Self::Nothing => false,
            Self::Part { own, members } => owner(members, matter) == Some(own),
        }
    }
}

/// Rendezvous hashing: whoever has the highest number for a key owns it. One member more or less moves nothing but what that
/// member gets or had.
fn owner<'m>(members: &'m BTreeSet<String>, matter: Matter<'_>) -> Option<&'m String> {
    let matter = matter.to_string();
    members.iter().max_by_key(|member| {
        let digest = Sha256::new().chain_update(member.as_bytes()).chain_update([0]).chain_update(&matter).finalize();
        <[u8; 32]>::from(digest)
    })
}

/// A Lease as the watch shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    pub name: String,
    /// The Pod it was taken in, where its replica knows that.
    pub pod: Option<String>,
    /// Another one after each renewal.
    pub renewal: String,
    pub lease: Duration,
    /// Its replica has given it up and writes nothing any more.
    pub released: bool,
}

#[derive(Debug, Clone)]
struct Other {
    renewal: String,
    lease: Duration,
    released: bool,
    /// The Lease was deleted.
    gone: bool,
    /// When this machine saw it change last.
    changed: Uptime,
}

impl Other {
    fn is_alive(&self, now: Uptime) -> bool {
        !self.released && now < self.changed + self.lease
    }
}

/// Own Lease, as far as the watch has shown it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    begin: Uptime,
    until: Uptime,
}

/// What one replica knows of itself and the others.
#[derive(Debug, Clone)]
pub struct Members {
    own: String,
    pod: Option<String>,
    lease: Duration,
    held: Option<Held>,
    others: BTreeMap<String, Other>,
    /// Containers that ran before in the same Pod: they are dead, because this one runs.
    predecessors: BTreeSet<String>,
}

impl Members {
    /// A replica whose Lease is called `own`; `pod` only if that can have no second container at the same time.
    #[must_use]
    pub fn new(own: String, pod: Option<String>, lease: Duration) -> Self {
        Self { own, pod, lease, held: None, others: BTreeMap::new(), predecessors: BTreeSet::new() }
    }

    /// The watch shows a Lease. Own ones come by [`Members::renewed`].
    pub fn seen(&mut self, sighting: Sighting, now: Uptime) {
        let Sighting { name, pod, renewal, lease, released } = sighting;
        if name == self.own {
            return;
        }
        if pod.is_some() && pod == self.pod {
            self.predecessors.insert(name);
            return;
        }
        // Those that went and would not be alive any more need not be remembered.
        self.others.retain(|_, other| !other.gone || other.is_alive(now));
        match self.others.get_mut(&name) {
            Some(other) if other.renewal == renewal => (other.released, other.gone) = (released, false),
            _ => drop(self.others.insert(name, Other { renewal, lease, released, gone: false, changed: now })),
        }
    }

    /// The watch shows that a Lease was deleted. One that was not released may be deleted by hand: its replica does not know yet,
    /// and may write as long as if it were there.
    pub fn gone(&mut self, name: &str) {
        if name == self.own {
            self.held = None;
        }
        match self.others.get_mut(name) {
            Some(other) if !other.released => other.gone = true,
            _ => drop(self.others.remove(name)),
        }
        self.predecessors.remove(name);
    }

    /// The watch has listed all Leases: what is not among them is gone. Answers with the names that are.
    pub fn listed(&mut self, names: &BTreeSet<String>) {
        let known = self.others.keys().chain(&self.predecessors).chain([&self.own]);
        let gone: Vec<String> = known.filter(|name| !names.contains(*name)).cloned().collect();
        gone.iter().for_each(|name| self.gone(name));
    }

    /// The watch shows the own renewal that was sent at `sent`: so it has shown everything that was written before it.
    pub fn renewed(&mut self, sent: Uptime, now: Uptime) {
        let until = sent + holds_for(self.lease);
        if until <= now {
            return;
        }
        match &mut self.held {
            Some(held) if now < held.until => held.until = held.until.max(until),
            _ => {
                let alive = self.others.values().filter(|other| other.is_alive(now));
                // As long as the longest of them may take to notice.
                let wait = alive.map(|other| other.lease.max(self.lease)).max().unwrap_or_default();
                self.held = Some(Held { begin: now + wait, until });
            }
        }
    }

    /// Until when this replica may write; `None`: not now.
    #[must_use]
    pub fn deadline(&self, now: Uptime) -> Option<Uptime> {
        self.held.filter(|held| held.begin <= now && now < held.until).map(|held| held.until)
    }

    /// What this replica is to take care of.
    #[must_use]
    pub fn share(&self, now: Uptime) -> Share {
        match self.deadline(now) {
            None => Share::Nothing,
            Some(_) => Share::Part {
                own: self.own.clone(),
                members: self.alive(now).map(str::to_owned).chain([self.own.clone()]).collect(),
            },
        }
    }

    /// Why it takes care of nothing, in words.
    #[must_use]
    pub fn problem(&self, now: Uptime) -> Option<String> {
        match self.held.filter(|held| now < held.until) {
            None => Some(format!("Lease {} is not held", self.own)),
            Some(held) if now < held.begin => {
                let others = self.alive(now).collect::<Vec<_>>().join(", ");
                Some(format!("other replicas have to notice this one first: {others}"))
            }
            Some(_) => None,
        }
    }

    /// When the answers change without anything being seen.
    #[must_use]
    pub fn next(&self, now: Uptime) -> Option<Uptime> {
        let own = self.held.into_iter().flat_map(|held| [held.begin, held.until]);
        let others = self.others.values().flat_map(|other| {
            let dead = other.changed + other.lease;
            [dead, dead + other.lease]
        });
        own.chain(others).filter(|moment| *moment > now).min()
    }

    /// Leases nobody renews any more and nobody waits for: to be deleted.
    #[must_use]
    pub fn abandoned(&self, now: Uptime) -> Vec<String> {
        let dead = self.others.iter().filter(|(_, other)| !other.gone && other.changed + other.lease * 2 <= now);
        dead.map(|(name, _)| name).chain(&self.predecessors).cloned().collect()
    }

    fn alive(&self, now: Uptime) -> impl Iterator<Item = &str> {
        self.others.iter().filter(move |(_, other)| other.is_alive(now)).map(|(name, _)| name.as_str())
    }
}

#[cfg(test)]
mod tests;
