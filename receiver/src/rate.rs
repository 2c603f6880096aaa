//! Token buckets. Pure: the time is an argument. Knows rates, and keys that it can compare; not what is limited.
//!
//! A bucket is kept as the moment at which it will be full again. One that is full is as good as one that does not
//! exist, so a table of them forgets by itself, and its order by that moment is the order of who used the least.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// How much, and how much at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// What one token takes to come back.
    token: Duration,
    /// From empty to full.
    whole: Duration,
}

/// No token is there; one will be after this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Empty {
    pub wait: Duration,
}

/// The tokens of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// None: it never lacked any.
    full_at: Option<Instant>,
}

/// The tokens of many, of whom a bounded number is remembered.
///
/// Where the table is full, who is nearest to a full bucket is forgotten: an address under punishment is forgotten last,
/// and whoever wants it forgotten has to get every other entry punished more.
pub struct Buckets<K> {
    rate: Rate,
    keys_max: usize,
    full_at: HashMap<K, Instant>,
    by_moment: BTreeSet<(Instant, K)>,
}

impl Rate {
    /// `per_second` tokens come back in a second, until there are `burst`; both are at least one.
    pub fn new(per_second: u32, burst: u32) -> Self {
        let token = Duration::from_secs(1) / per_second.max(1);
        Self { token, whole: token * burst.max(1) }
    }

    /// The moment when the bucket is full after so many tokens more are taken, or how long that has to wait. More than
    /// there can be cost as much as there can be.
    fn take(self, count: u32, full_at: Option<Instant>, now: Instant) -> Result<Instant, Empty> {
        let cost = (self.token * count).min(self.whole);
        let after = full_at.filter(|at| *at > now).unwrap_or(now) + cost;
        match after.duration_since(now).checked_sub(self.whole) {
            Some(wait) if !wait.is_zero() => Err(Empty { wait }),
            Some(_) | None => Ok(after),
        }
    }
}

impl Bucket {
    /// Takes a token.
    pub fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Empty> {
        self.full_at = Some(rate.take(1, self.full_at, now)?);
        Ok(())
    }

    /// Takes tokens that may still have to come, at most after `wait_max`; returns how long until they are there.
    pub fn reserve(&mut self, rate: Rate, count: u32, now: Instant, wait_max: Duration) -> Result<Duration, Empty> {
        match rate.take(count, self.full_at, now) {
            Ok(full_at) => {
                self.full_at = Some(full_at);
                Ok(Duration::ZERO)
            }
            Err(Empty { wait }) if wait <= wait_max => {
                self.full_at = Some(now + rate.whole + wait);
                Ok(wait)
            }
            Err(empty) => Err(empty),
        }
    }
}

impl<K: Clone + Eq + Hash + Ord> Buckets<K> {
    pub fn new(rate: Rate, keys_max: usize) -> Self {
        Self { rate, keys_max, full_at: HashMap::new(), by_moment: BTreeSet::new() }
    }

    /// Takes one of the key's tokens.
    pub fn take(&mut self, key: &K, now: Instant) -> Result<(), Empty> {
        let known = self.full_at.get(key).copied();
        let full_at = self.rate.take(1, known, now)?;
        if let Some(known) = known {
            self.by_moment.remove(&(known, key.clone()));
        } else {
            self.forget(now);
        }
        self.full_at.insert(key.clone(), full_at);
        self.by_moment.insert((full_at, key.clone()));
        Ok(())
    }

    /// Whether the key has a token; takes none.
    pub fn look(&self, key: &K, now: Instant) -> Result<(), Empty> {
        self.rate.take(1, self.full_at.get(key).copied(), now).map(|_| ())
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.full_at.len()
    }

    pub fn is_empty(&self) -> bool {
        self.full_at.is_empty()
    }

    /// Makes room for one more. Two of those that are full again go with each that comes, so that the table shrinks by
    /// itself and no call has to walk through it.
    fn forget(&mut self, now: Instant) {
        for _ in 0..2 {
            let Some((full_at, _)) = self.by_moment.first() else { return };
            if *full_at > now && self.full_at.len() < self.keys_max {
                return;
            }
            if let Some((_, key)) = self.by_moment.pop_first() {
                self.full_at.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_and_then_the_rate() {
        let (rate, start) = (Rate::new(10, 3), Instant::now());
        let mut bucket = Bucket::default();
        assert!((0..3).all(|_| bucket.take(rate, start).is_ok()));
        assert_eq!(bucket.take(rate, start), Err(Empty { wait: SECOND / 10 }));
        assert_eq!(bucket.take(rate, start + SECOND / 20), Err(Empty { wait: SECOND / 20 }));
        assert_eq!(bucket.take(rate, start + SECOND / 10), Ok(()));
    }

    #[test]
    fn reserved_tokens_come_one_after_the_other() {
        let (rate, start) = (Rate::new(10, 1), Instant::now());
        let mut bucket = Bucket::default();
        let wait_max = SECOND / 5;
        let waits: Vec<_> = (0..4).map(|_| bucket.reserve(rate, 1, start, wait_max)).collect();
        let tenth = SECOND / 10;
        assert_eq!(waits, [Ok(Duration::ZERO), Ok(tenth), Ok(tenth * 2), Err(Empty { wait: tenth * 3 })]);
    }

    #[test]
    fn many_tokens_at_once_cost_as_many_and_never_more_than_there_are() {
        let (rate, start) = (Rate::new(10, 5), Instant::now());
        let mut bucket = Bucket::default();
        assert_eq!(bucket.reserve(rate, 4, start, SECOND), Ok(Duration::ZERO));
        assert_eq!(bucket.reserve(rate, 3, start, SECOND), Ok(SECOND / 5));
        assert_eq!(bucket.reserve(rate, 1_000_000, start, SECOND), Ok(SECOND * 7 / 10));
        assert_eq!(bucket.reserve(rate, 5, start, SECOND), Err(Empty { wait: SECOND * 12 / 10 }));
    }

    #[test]
    fn who_is_punished_is_forgotten_last() {
        let (rate, start) = (Rate::new(1, 5), Instant::now());
        let mut buckets = Buckets::new(rate, 10);
        while buckets.take(&0, start).is_ok() {}
        for stranger in 1..10_000 {
            assert!(buckets.take(&stranger, start).is_ok());
        }
        assert!(buckets.take(&0, start).is_err());
        assert_eq!(buckets.len(), 10);
        // Full again, all of them: others take their places.
        let later = start + SECOND * 10;
        assert!(buckets.take(&1, later).is_ok() && buckets.take(&2, later).is_ok());
        assert_eq!(buckets.len(), 8);
    }

    proptest! {
        #[test]
        fn never_more_than_the_burst_and_what_came_back(
            per_second in 1_u32..2_000, burst in 1_u32..50, steps in prop::collection::vec((0_u64..20_000, 0_u8..6), 1..400),
        ) {
            let (rate, start) = (Rate::new(per_second, burst), Instant::now());
            let mut buckets = Buckets::new(rate, 4);
            let mut alone = [Bucket::default(); 6];
            let (mut passed, mut passed_alone) = ([0_u64; 6], [0_u64; 6]);
            let mut now = start;
            for (micros, key) in steps {
                now += Duration::from_micros(micros);
                let seen = buckets.look(&key, now);
                let taken = buckets.take(&key, now);
                prop_assert_eq!(seen, taken);
                prop_assert!(buckets.len() <= 4);
                prop_assert_eq!(buckets.len(), buckets.by_moment.len());
                let key = usize::from(key);
                passed[key] += u64::from(taken.is_ok());
                if alone[key].take(rate, now).is_ok() {
                    passed_alone[key] += 1;
                    let most = u64::from(burst) + (now.duration_since(start).as_nanos() / rate.token.as_nanos()) as u64;
                    prop_assert!(passed_alone[key] <= most);
                }
                // Who is forgotten is forgiven, never punished.
                prop_assert!(passed[key] >= passed_alone[key]);
            }
        }

        #[test]
        fn after_the_wait_there_is_a_token(per_second in 1_u32..5_000, burst in 1_u32..100, taken in 1_u32..300) {
            let (rate, start) = (Rate::new(per_second, burst), Instant::now());
            let mut bucket = Bucket::default();
            for _ in 0..taken {
                if let Err(Empty { wait }) = bucket.take(rate, start) {
                    let mut early = bucket;
                    prop_assert!(early.take(rate, start + wait - Duration::from_nanos(1)).is_err());
                    prop_assert!(bucket.take(rate, start + wait).is_ok());
                    break;
                }
            }
        }
    }
}
