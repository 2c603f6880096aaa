//! Who is listened to, decided from the address alone, before a body is read. Knows addresses, rates and who has proven
//! himself; never a hook: a limit per hook, before anything is verified, would let a stranger shut out its sender.
//!
//! Behind one address there may be many: a NAT, an ingress that is not in `proxies`, the Git host itself, which sends
//! for whoever makes a repository there, with whatever secret he likes. So what strangers do must not count against a
//! sender who shares their address: **an address from which something verified came is a known sender's**, and only its
//! own request rate holds for it. Neither failures nor the rate of all strangers shut it out; it costs a secret to get
//! there, and what failures cost at that rate is bounded by the bounds of bodies. So are the networks that the
//! configuration names as senders', from the start. What remains where it names none: until its first verified delivery
//! after a start, or from a new address, a sender competes with all strangers, and with whom he shares it for ten
//! attempts a second.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::forwarded::subscriber;
use crate::limits::Rates;
use crate::networks::Networks;
use crate::rate::{Bucket, Buckets, Empty, Rate};

/// Addresses with a bucket that is not full; some 300 bytes each, 5 MiB. A punished one is forgotten only after as many
/// others were punished more, each of them a /64 of its own or an IPv4 address.
const ADDRESSES_MAX: usize = 16 * 1024;

/// Known senders, at least. GitHub's largest published range for webhooks has this many addresses, of which few send.
const SENDERS_MIN: usize = 4 * 1024;

/// Which limit it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    Address,
    Failures,
    Strangers,
}

/// Not now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}, for another {:.1} s", .limit.text(), .wait.as_secs_f64())]
pub struct Turned {
    pub limit: Limit,
    pub wait: Duration,
}

/// What is remembered of addresses.
pub struct Admission {
    strangers: Rate,
    /// Known by configuration.
    senders: Networks,
    memory: Mutex<Memory>,
}

struct Memory {
    connections: Buckets<IpAddr>,
    requests: Buckets<IpAddr>,
    failures: Buckets<IpAddr>,
    strangers: Bucket,
    senders: Senders,
}

/// From whom something verified came. When so many are in the newer half that it is full, the older one is forgotten.
#[derive(Default)]
struct Senders {
    newer: HashSet<IpAddr>,
    older: HashSet<IpAddr>,
}

impl Admission {
    pub fn new(rates: &Rates, senders: Networks) -> Self {
        let memory = Memory {
            connections: Buckets::new(rates.connections, ADDRESSES_MAX),
            requests: Buckets::new(rates.address, ADDRESSES_MAX),
            failures: Buckets::new(rates.failures, ADDRESSES_MAX),
            strangers: Bucket::default(),
            senders: Senders::default(),
        };
        Self { strangers: rates.strangers, senders, memory: Mutex::new(memory) }
    }

    /// A connection came, of which nothing was read yet. Known senders have no more of them: handshakes cost the same.
    pub(crate) fn connects(&self, peer: IpAddr, now: Instant) -> Result<(), Empty> {
        self.lock().connections.take(&subscriber(peer), now)
    }

    /// A request came whose body is not read yet.
    pub fn admit(&self, client: IpAddr, now: Instant) -> Result<(), Turned> {
        let turned = |limit| move |Empty { wait }: Empty| Turned { limit, wait };
        let is_configured = self.senders.contain(client);
        let client = subscriber(client);
        let mut memory = self.lock();
        let memory = &mut *memory;
        memory.requests.take(&client, now).map_err(turned(Limit::Address))?;
        if is_configured || memory.senders.know(&client) {
            return Ok(());
        }
        memory.failures.look(&client, now).map_err(turned(Limit::Failures))?;
        memory.strangers.take(self.strangers, now).map_err(turned(Limit::Strangers))
    }

    /// What it brought was not believed. Those in flight at once all count, and all get that far: their number is
    /// bounded by the connections and bodies that an address may have.
    pub fn failed(&self, client: IpAddr, now: Instant) {
        // An empty bucket stays empty.
        let _empty = self.lock().failures.take(&subscriber(client), now);
    }

    /// What it brought was signed with a hook's secret.
    pub fn verified(&self, client: IpAddr) {
        self.lock().senders.add(subscriber(client));
    }

    /// Whether it is a known sender's address.
    pub fn knows(&self, client: IpAddr) -> bool {
        self.senders.contain(client) || self.lock().senders.know(&subscriber(client))
    }

    /// How many addresses are remembered.
    pub(crate) fn addresses(&self) -> usize {
        let memory = self.lock();
        memory.requests.len().max(memory.failures.len()).max(memory.connections.len())
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        // The tables are whole after each call, so a panic elsewhere does not spoil them.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Senders {
    fn know(&self, client: &IpAddr) -> bool {
        self.newer.contains(client) || self.older.contains(client)
    }

    fn add(&mut self, client: IpAddr) {
        if self.newer.insert(client) && self.newer.len() >= SENDERS_MIN {
            self.older = std::mem::take(&mut self.newer);
        }
    }
}

impl Limit {
    /// A word for metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Failures => "address_failures",
            Self::Strangers => "strangers",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Address => "too many requests from this address",
            Self::Failures => "too many failed authentications from this address",
            Self::Strangers => "too many requests from addresses of which nothing was ever verified",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission() -> Admission {
        let mut senders = Networks::default();
        senders.add("203.0.113.0/24").unwrap();
        senders.add("2001:db8:ffff::/120").unwrap();
        let rates = Rates {
            address: Rate::new(10, 20),
            strangers: Rate::new(10, 30),
            failures: Rate::new(1, 3),
            ..Rates::default()
        };
        Admission::new(&rates, senders)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_64_is_one_and_an_ipv4_address_is_one() {
        let (admission, now) = (admission(), Instant::now());
        for n in 0..20 {
            assert_eq!(admission.admit(address(&format!("2001:db8::{n}")), now), Ok(()));
        }
        let turned = admission.admit(address("2001:db8::99"), now).unwrap_err();
        assert_eq!((turned.limit, turned.wait), (Limit::Address, Duration::from_millis(100)));
        assert_eq!(turned.to_string(), "too many requests from this address, for another 0.1 s");
        assert_eq!(admission.admit(address("2001:db8:0:1::99"), now), Ok(()));
        assert_eq!(admission.admit(address("192.0.2.1"), now), Ok(()));
        assert_eq!(subscriber(address("::ffff:192.0.2.1")), address("192.0.2.1"));
    }

    #[test]
    fn failures_shut_a_stranger_out_and_no_known_sender() {
        let (admission, now) = (admission(), Instant::now());
        let (stranger, sender) = (address("192.0.2.1"), address("192.0.2.2"));
        admission.verified(sender);
        for client in [stranger, sender] {
            for _ in 0..9 {
                admission.failed(client, now);
            }
        }
        let turned = Err(Turned { limit: Limit::Failures, wait: Duration::from_secs(1) });
        assert_eq!(admission.admit(stranger, now), turned);
        assert_eq!(admission.admit(sender, now), Ok(()));
        assert_eq!(admission.admit(stranger, now + Duration::from_secs(1)), Ok(()), "one attempt, once a second");
    }

    #[test]
    fn strangers_use_up_what_is_theirs() {
        let (admission, now) = (admission(), Instant::now());
        let sender = address("192.0.2.2");
        admission.verified(sender);
        let admitted = (0..200).filter(|n| admission.admit(address(&format!("198.51.100.{n}")), now).is_ok()).count();
        assert_eq!(admitted, 30);
        assert_eq!(admission.admit(sender, now), Ok(()));
    }

    #[test]
    fn configured_senders_are_known_from_the_start_and_keep_their_own_rate() {
        let (admission, now) = (admission(), Instant::now());
        for n in 0..200 {
            let _turned = admission.admit(address(&format!("198.51.100.{n}")), now);
        }
        assert_eq!(admission.admit(address("198.51.100.250"), now).unwrap_err().limit, Limit::Strangers);
        for sender in ["203.0.113.7", "::ffff:203.0.113.8", "2001:db8:ffff::1"] {
            (0..9).for_each(|_| admission.failed(address(sender), now));
            assert!(admission.knows(address(sender)));
            for _ in 0..20 {
                assert_eq!(admission.admit(address(sender), now), Ok(()));
            }
            assert_eq!(admission.admit(address(sender), now).unwrap_err().limit, Limit::Address);
        }
        // In the same /64, and not in the network that was named.
        assert!(!admission.knows(address("2001:db8:ffff::1:1")));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (admission, now) = (admission(), Instant::now());
        for n in 0..(2 * ADDRESSES_MAX as u32) {
            let client = IpAddr::from(n.to_be_bytes());
            admission.failed(client, now);
            let _turned = admission.admit(client, now);
            admission.verified(client);
        }
        assert_eq!(admission.addresses(), ADDRESSES_MAX);
        let memory = admission.lock();
        assert!(memory.senders.newer.len() + memory.senders.older.len() < 2 * SENDERS_MIN);
        let newest = IpAddr::from((2 * ADDRESSES_MAX as u32 - SENDERS_MIN as u32).to_be_bytes());
        assert!(memory.senders.know(&newest));
    }
}
