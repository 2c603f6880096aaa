//! Reads a body within its bounds: length, time, rate, and the memory that all bodies share. Memory is taken as it
//! arrives, so a client that declares much and sends nothing costs nothing.
//!
//! The budget is shared twice: nobody gets more than a part of it, so that one client cannot fill it with large bodies
//! that it sends slowly; and a body has to keep coming, so that a byte now and then does not hold a connection's place
//! for the whole time that a large body may take. Strangers together get no more than half of it, so that, however many
//! they are, they refuse each other's large bodies and none of those from where something verified came. An ordinary push
//! needs nothing of it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::time::Instant;

use crate::answer::Answer;
use crate::forwarded;
use crate::limits::Limits;

/// An ordinary push is 10 KiB; growing starts here and doubles. So much of each body is not taken of the budget: it is
/// bounded by the number of connections, and part of what one of them is reckoned to cost.
const FIRST_BYTES: u64 = 16 * 1024;

/// What a request's head says about its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    Declared(u64),
    /// Chunked: known when it ends.
    Unknown,
}

/// The memory all bodies share.
#[derive(Clone)]
pub struct Budget {
    ledger: Arc<Mutex<Ledger>>,
    bytes_max: u64,
    bytes_of_one_max: u64,
    bytes_of_strangers_max: u64,
}

/// What is taken, and by whom. As many entries as there are bodies, at most.
#[derive(Default)]
struct Ledger {
    taken: u64,
    by_strangers: u64,
    by_client: HashMap<IpAddr, u64>,
}

/// A body in memory, and its share of the budget for as long as it is there.
pub struct Held {
    pub bytes: Bytes,
    share: Share,
}

/// What one body has of the budget; given back when dropped.
pub struct Share {
    budget: Budget,
    client: IpAddr,
    is_known: bool,
    taken: u64,
}

impl Budget {
    pub fn new(limits: &Limits) -> Self {
        let (bytes_max, bytes_of_one_max) = (limits.bodies_bytes_max, limits.bodies_bytes_per_address_max);
        // A first delivery may be one of the largest.
        let bytes_of_strangers_max = (bytes_max / 2).max(limits.body_bytes_max).min(bytes_max);
        Self { ledger: Arc::default(), bytes_max, bytes_of_one_max, bytes_of_strangers_max }
    }

    /// An empty share for a body of this client, of whom is known whether something verified came from him.
    pub fn share(&self, client: IpAddr, is_known: bool) -> Share {
        Share { budget: self.clone(), client: forwarded::subscriber(client), is_known, taken: 0 }
    }

    pub fn used_bytes(&self) -> u64 {
        self.lock().taken
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    fn grow(&mut self, bytes: u64) -> Result<(), Answer> {
        let budget = &self.budget;
        let mut ledger = budget.lock();
        let of_client = ledger.by_client.get(&self.client).copied().unwrap_or_default() + bytes;
        let of_strangers = ledger.by_strangers + if self.is_known { 0 } else { bytes };
        let fits = ledger.taken + bytes <= budget.bytes_max
            && of_client <= budget.bytes_of_one_max
            && (self.is_known || of_strangers <= budget.bytes_of_strangers_max);
        if !fits {
            return Err(Answer::Busy);
        }
        ledger.taken += bytes;
        ledger.by_strangers = of_strangers;
        ledger.by_client.insert(self.client, of_client);
        drop(ledger);
        self.taken += bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut ledger = self.budget.lock();
        ledger.taken -= self.taken;
        ledger.by_strangers -= if self.is_known { 0 } else { self.taken };
        if let Some(of_client) = ledger.by_client.get_mut(&self.client) {
            *of_client -= self.taken;
            if *of_client == 0 {
                ledger.by_client.remove(&self.client);
            }
        }
    }
}

impl Held {
    /// The body, and what gives its memory back to the budget when it is dropped.
    pub fn into_parts(self) -> (Bytes, Share) {
        (self.bytes, self.share)
    }
}

/// Reads the whole body: what was declared, or what comes until it ends; or says why not.
pub async fn read<B>(mut body: B, length: Length, limits: &Limits, mut share: Share) -> Result<Held, Answer>
where
    B: Body<Data = Bytes> + Unpin,
{
    let most = match length {
        Length::Declared(bytes) => bytes.min(limits.body_bytes_max),
        Length::Unknown => limits.body_bytes_max,
    };
    let started = Instant::now();
    let mut bytes = Vec::new();
    loop {
        let deadline = started + time_allowed(limits, bytes.len() as u64);
        let frame = tokio::time::timeout_at(deadline, body.frame()).await.map_err(|_elapsed| Answer::BodyTimeout)?;
        let Some(frame) = frame else { break };
        let Ok(frame) = frame else { return Err(Answer::BodyIncomplete) };
        // Trailers say nothing that we want to know; hyper bounds them like headers.
        let Ok(data) = frame.into_data() else { continue };
        append(&mut bytes, &data, most, &mut share)?;
    }
    if let Length::Declared(declared) = length
        && (bytes.len() as u64) < declared
    {
        return Err(Answer::BodyIncomplete);
    }
    Ok(Held { bytes: Bytes::from(bytes), share })
}

/// How long a body may have taken when this much of it is there: the grace and what the rate gives for it, and never
/// more than the whole time.
fn time_allowed(limits: &Limits, received: u64) -> Duration {
    let earned = received.saturating_mul(1000) / limits.body_bytes_per_second_min;
    limits.body_grace.saturating_add(Duration::from_millis(earned)).min(limits.body_timeout)
}

fn append(bytes: &mut Vec<u8>, data: &[u8], most: u64, share: &mut Share) -> Result<(), Answer> {
    let needed = bytes.len() as u64 + data.len() as u64;
    if needed > most {
        return Err(Answer::BodyTooLarge);
    }
    let capacity = bytes.capacity() as u64;
    if needed > capacity {
        // Doubling, but never beyond what can come.
        let wanted = (capacity * 2).max(FIRST_BYTES).max(needed).min(most);
        share.grow(wanted.saturating_sub(FIRST_BYTES) - capacity.saturating_sub(FIRST_BYTES))?;
        bytes.reserve_exact(usize::try_from(wanted).map_err(|_| Answer::BodyTooLarge)? - bytes.len());
    }
    bytes.extend_from_slice(data);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{Empty, Full};
    use hyper::body::Frame;
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn limits() -> Limits {
        Limits { bodies_bytes_max: 80_000, bodies_bytes_per_address_max: 50_000, ..Limits::default() }
    }

    /// The same again and again, or nothing at all.
    struct Endless(&'static [u8]);

    impl Body for Endless {
        type Data = Bytes;
        type Error = Infallible;
        fn poll_frame(
            self: Pin<&mut Self>,
            _context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            if self.0.is_empty() {
                Poll::Pending
            } else {
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(self.0)))))
            }
        }
    }

    async fn outcome(sent: usize, length: Length, budget: &Budget, client: IpAddr) -> Result<usize, Answer> {
        let body = Full::new(Bytes::from(vec![b'x'; sent]));
        read(body, length, &limits(), budget.share(client, true)).await.map(|held| held.bytes.len())
    }

    #[tokio::test]
    async fn reads_what_was_declared_and_not_more() {
        let budget = Budget::new(&limits());
        assert_eq!(outcome(40_000, Length::Declared(40_000), &budget, ONE).await, Ok(40_000));
        assert_eq!(outcome(40_000, Length::Unknown, &budget, ONE).await, Ok(40_000));
        assert_eq!(outcome(11, Length::Declared(10), &budget, ONE).await, Err(Answer::BodyTooLarge));
        assert_eq!(outcome(9, Length::Declared(10), &budget, ONE).await, Err(Answer::BodyIncomplete));
        let empty = read(Empty::new(), Length::Declared(0), &limits(), budget.share(ONE, true)).await;
        assert_eq!(empty.map(|held| held.bytes.len()).ok(), Some(0));
        assert_eq!(budget.used_bytes(), 0);
    }

    #[tokio::test]
    async fn what_has_no_length_is_too_large_as_soon_as_it_is() {
        let limits = Limits { body_bytes_max: 10_000, ..limits() };
        let budget = Budget::new(&limits);
        let result = read(Endless(&[b'x'; 999]), Length::Unknown, &limits, budget.share(ONE, true)).await;
        assert_eq!(result.err(), Some(Answer::BodyTooLarge));
        assert!(budget.lock().by_client.is_empty());
    }

    #[tokio::test]
    async fn all_bodies_share_one_budget_and_give_it_back() {
        let budget = Budget::new(&limits());
        let body = || Full::new(Bytes::from(vec![0; 60_000]));
        let first = read(body(), Length::Declared(60_000), &limits(), budget.share(ONE, true)).await;
        assert!(first.is_ok());
        // One client's part is used up, what others may have is not.
        assert_eq!(outcome(30_000, Length::Declared(30_000), &budget, ONE).await, Err(Answer::Busy));
        assert_eq!(outcome(30_000, Length::Declared(30_000), &budget, OTHER).await, Ok(30_000));
        assert_eq!(outcome(60_000, Length::Declared(60_000), &budget, OTHER).await, Err(Answer::Busy));
        drop(first);
        assert_eq!(outcome(60_000, Length::Declared(60_000), &budget, OTHER).await, Ok(60_000));
        assert_eq!(budget.used_bytes(), 0);
    }

    #[tokio::test]
    async fn strangers_get_half_and_who_is_known_all() {
        let limits = Limits { body_bytes_max: 40_000, ..limits() };
        let budget = Budget::new(&limits);
        let mut stranger = budget.share(ONE, false);
        assert_eq!(stranger.grow(40_000), Ok(()));
        assert_eq!(budget.share(OTHER, false).grow(1), Err(Answer::Busy));
        assert_eq!(budget.share(OTHER, true).grow(40_000), Ok(()));
        drop(stranger);
        assert_eq!(budget.share(OTHER, false).grow(40_000), Ok(()));
        assert_eq!((budget.used_bytes(), budget.lock().by_strangers), (0, 0));
        // One of the largest fits, whatever half is.
        let budget = Budget::new(&Limits { body_bytes_max: 70_000, bodies_bytes_per_address_max: 70_000, ..limits });
        assert_eq!(budget.share(ONE, false).grow(70_000), Ok(()));
    }

    #[tokio::test]
    async fn an_ordinary_body_is_taken_when_the_budget_is_used_up() {
        let limits = Limits { bodies_bytes_max: 60_000 - FIRST_BYTES, ..limits() };
        let budget = Budget::new(&limits);
        let body = Full::new(Bytes::from(vec![0; 60_000]));
        let large = read(body, Length::Declared(60_000), &limits, budget.share(ONE, true)).await;
        assert_eq!(budget.used_bytes(), limits.bodies_bytes_max);
        for client in [ONE, OTHER] {
            assert_eq!(outcome(16_384, Length::Unknown, &budget, client).await, Ok(16_384));
            assert_eq!(outcome(16_385, Length::Declared(16_385), &budget, client).await, Err(Answer::Busy));
        }
        drop(large);
        assert!(budget.lock().by_client.is_empty());
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_costs_time_and_no_memory() {
        let limits = Limits { body_grace: Duration::from_millis(10), ..limits() };
        let budget = Budget::new(&limits);
        let result = read(Endless(b""), Length::Declared(60_000), &limits, budget.share(ONE, true)).await;
        assert_eq!(result.err(), Some(Answer::BodyTimeout));
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn a_body_has_to_keep_coming() {
        let limits = Limits {
            body_grace: Duration::from_secs(3),
            body_timeout: Duration::from_secs(10),
            body_bytes_per_second_min: 1000,
            ..limits()
        };
        for (received, seconds) in [(0, 3.0), (1, 3.001), (500, 3.5), (2000, 5.0), (1_000_000, 10.0), (u64::MAX, 10.0)]
        {
            assert_eq!(time_allowed(&limits, received).as_secs_f64(), seconds, "{received}");
        }
    }
}
