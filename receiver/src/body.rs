//! Reads a body within its bounds: declared length, time, and the memory that all bodies share. Memory is taken as it
//! arrives, so a client that declares much and sends nothing costs nothing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::answer::Answer;

/// The budget is counted in these: a semaphore's permits are 32 bits wide when taken at once.
const BUDGET_UNIT_BYTES: u64 = 1024;

/// An ordinary push is 10 KiB; growing starts here and doubles.
const FIRST_BYTES: u64 = 16 * 1024;

/// The memory all bodies share.
#[derive(Clone)]
pub struct Budget {
    units: Arc<Semaphore>,
    units_max: usize,
}

/// A body in memory, and its share of the budget for as long as it is there.
pub struct Held {
    pub bytes: Bytes,
    share: Share,
}

struct Share {
    permits: Vec<OwnedSemaphorePermit>,
}

impl Budget {
    pub fn new(bytes_max: u64) -> Self {
        let units = usize::try_from(bytes_max / BUDGET_UNIT_BYTES).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { units: Arc::new(Semaphore::new(units)), units_max: units }
    }

    /// What bodies have of it now.
    pub fn used_bytes(&self) -> u64 {
        self.units_max.saturating_sub(self.units.available_permits()) as u64 * BUDGET_UNIT_BYTES
    }

    fn take(&self, bytes: u64, share: &mut Share) -> Result<(), Answer> {
        let units = u32::try_from(bytes.div_ceil(BUDGET_UNIT_BYTES)).map_err(|_| Answer::Busy)?;
        let permit = Arc::clone(&self.units).try_acquire_many_owned(units).map_err(|_| Answer::Busy)?;
        share.permits.push(permit);
        Ok(())
    }
}

impl Held {
    /// The body, and what gives its memory back to the budget when it is dropped.
    pub fn into_parts(self) -> (Bytes, impl Send + 'static) {
        (self.bytes, self.share.permits)
    }
}

/// Reads exactly the declared length, or says why not.
pub async fn read<B>(body: B, declared: u64, timeout: Duration, budget: &Budget) -> Result<Held, Answer>
where
    B: Body<Data = Bytes> + Unpin,
{
    match tokio::time::timeout(timeout, fill(body, declared, budget)).await {
        Ok(result) => result,
        Err(_elapsed) => Err(Answer::BodyTimeout),
    }
}

async fn fill<B>(mut body: B, declared: u64, budget: &Budget) -> Result<Held, Answer>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut bytes = Vec::new();
    let mut share = Share { permits: Vec::new() };
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Err(Answer::BodyIncomplete) };
        let Ok(data) = frame.into_data() else { continue };
        let needed = bytes.len() as u64 + data.len() as u64;
        if needed > declared {
            return Err(Answer::BodyTooLarge);
        }
        let capacity = bytes.capacity() as u64;
        if needed > capacity {
            // Doubling, but never beyond what was declared.
            let wanted = (capacity * 2).max(FIRST_BYTES).max(needed).min(declared);
            budget.take(wanted - capacity, &mut share)?;
            bytes.reserve_exact(usize::try_from(wanted).map_err(|_| Answer::BodyTooLarge)? - bytes.len());
        }
        bytes.extend_from_slice(&data);
    }
    if (bytes.len() as u64) < declared {
        return Err(Answer::BodyIncomplete);
    }
    Ok(Held { bytes: Bytes::from(bytes), share })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{Empty, Full};

    const SOON: Duration = Duration::from_secs(5);

    async fn outcome(sent: usize, declared: u64, budget: &Budget) -> Result<usize, Answer> {
        let body = Full::new(Bytes::from(vec![b'x'; sent]));
        read(body, declared, SOON, budget).await.map(|held| held.bytes.len())
    }

    #[tokio::test]
    async fn reads_what_was_declared_and_not_more() {
        let budget = Budget::new(1 << 20);
        assert_eq!(outcome(40_000, 40_000, &budget).await, Ok(40_000));
        assert_eq!(outcome(11, 10, &budget).await, Err(Answer::BodyTooLarge));
        assert_eq!(outcome(9, 10, &budget).await, Err(Answer::BodyIncomplete));
        assert_eq!(read(Empty::new(), 0, SOON, &budget).await.map(|held| held.bytes.len()).ok(), Some(0));
    }

    #[tokio::test]
    async fn all_bodies_share_one_budget_and_give_it_back() {
        let budget = Budget::new(64 * 1024);
        let first = read(Full::new(Bytes::from(vec![0; 60_000])), 60_000, SOON, &budget).await;
        assert!(first.is_ok());
        assert_eq!(outcome(10_000, 10_000, &budget).await, Err(Answer::Busy));
        drop(first);
        assert_eq!(outcome(10_000, 10_000, &budget).await, Ok(10_000));
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_costs_time_and_no_memory() {
        struct Silent;
        impl Body for Silent {
            type Data = Bytes;
            type Error = std::convert::Infallible;
            fn poll_frame(
                self: std::pin::Pin<&mut Self>,
                _context: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
                std::task::Poll::Pending
            }
        }
        let budget = Budget::new(64 * 1024);
        let result = read(Silent, 60_000, Duration::from_millis(10), &budget).await;
        assert_eq!(result.err(), Some(Answer::BodyTimeout));
        assert_eq!(budget.units.available_permits(), 64);
    }
}
