//! Verified deliveries above their hook's rate: each waits for the hook's next token, and of one ref only the newest is
//! published. Knows messages and tokens; not NATS, and not what a delivery is.
//!
//! A message that has to wait gets a *slot* for its subject and a token that will be there in time, so slots take their
//! turns in the order in which they came, one for each ref however often it is pushed to. A newer message for the same
//! subject takes the slot over, and the answer to it is the answer to all whom it superseded. Who opened the slot leads:
//! he waits, publishes what the slot holds then, and tells the others. If he does not come to that, they are told so.
//!
//! **What is told as published is covered by an acknowledged message of the same subject, as new or newer.** One trap is
//! in the stream's deduplication: the newer message may be the repetition of one that was stored before the older one.
//! So a message that supersedes another one has an id of its own, made of both.
//!
//! What is not kept is the order of two messages of one ref that are both on their way: a slot that is closed and still
//! being published, tried again perhaps, does not keep back a newer message, and may be stored after it. That is as
//! without any rate, and costs nothing: an event makes an agent look at the ref, and is not what it will find there.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::publish::{Message, PublishError, Published};
use crate::rate::{Bucket, Empty, Rate};

/// Refs of one hook that wait; an event has some 700 bytes, 8 KiB at most: 3 MiB, and 32 MiB at most.
const SLOTS_MAX: usize = 4096;

/// One hook's way to the stream.
pub struct Lane {
    rate: Rate,
    /// Longer is not waited for.
    wait_max: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bucket: Bucket,
    slots: HashMap<String, Slot>,
    last_slot: u64,
}

struct Slot {
    number: u64,
    message: Message,
    /// How many messages it has had; the number of the newest one.
    arrivals: u64,
    outcome: watch::Receiver<Option<Outcome>>,
}

/// What became of a slot.
#[derive(Clone, Debug)]
struct Outcome {
    newest: u64,
    result: Result<Published, PublishError>,
}

/// What a message has to do.
pub enum Turn {
    /// There was a token.
    Now(Message),
    /// It opened a slot.
    Lead(Lead),
    /// There is a slot for its subject, which it took over.
    Follow(Follow),
}

/// Who opened a slot; dropped before the end, he gives it up.
pub struct Lead {
    lane: Arc<Lane>,
    subject: String,
    number: u64,
    turn_at: Instant,
    outcome: watch::Sender<Option<Outcome>>,
}

pub struct Follow {
    arrival: u64,
    outcome: watch::Receiver<Option<Outcome>>,
}

/// An acknowledged message that covers the one that was brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Covered {
    pub published: Published,
    /// It was a newer one.
    pub coalesced: bool,
}

impl Lane {
    pub fn new(rate: Rate, wait_max: Duration) -> Arc<Self> {
        Arc::new(Self { rate, wait_max, state: Mutex::default() })
    }

    /// The messages of one delivery, which costs a token for each, but for those that others lead: what is bounded is how
    /// often agents are woken. Nothing is left behind where there are not enough in time.
    pub fn enter(self: &Arc<Self>, messages: Vec<Message>, now: Instant) -> Result<Vec<Turn>, Empty> {
        let mut state = self.lock();
        let opened = messages.iter().filter(|message| !state.slots.contains_key(&message.subject)).count();
        let mut wait = Duration::ZERO;
        if opened > 0 {
            // Full is as good as too late: by then slots will have been given back.
            let wait_max = if state.slots.len() + opened > SLOTS_MAX { Duration::ZERO } else { self.wait_max };
            wait = state.bucket.reserve(self.rate, u32::try_from(opened).unwrap_or(u32::MAX), now, wait_max)?;
        }
        Ok(messages.into_iter().map(|message| self.place(&mut state, message, wait, now)).collect())
    }

    fn place(self: &Arc<Self>, state: &mut State, message: Message, wait: Duration, now: Instant) -> Turn {
        if let Some(slot) = state.slots.get_mut(&message.subject) {
            slot.arrivals += 1;
            slot.message = supersede(&slot.message, message);
            return Turn::Follow(Follow { arrival: slot.arrivals, outcome: slot.outcome.clone() });
        }
        if wait.is_zero() {
            return Turn::Now(message);
        }
        let (sender, outcome) = watch::channel(None);
        state.last_slot += 1;
        let (number, subject) = (state.last_slot, message.subject.clone());
        state.slots.insert(subject.clone(), Slot { number, message, arrivals: 1, outcome });
        Turn::Lead(Lead { lane: Arc::clone(self), subject, number, turn_at: now + wait, outcome: sender })
    }

    /// How many refs wait.
    pub fn waiting(&self) -> usize {
        self.lock().slots.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whole after each step: a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Waits for the turn, publishes or lets publish, and returns when a message is acknowledged that covers this one.
    pub async fn take<F>(self, publish: impl FnOnce(Message) -> F) -> Result<Covered, PublishError>
    where
        F: Future<Output = Result<Published, PublishError>>,
    {
        match self {
            Self::Now(message) => publish(message).await.map(|published| Covered { published, coalesced: false }),
            Self::Lead(lead) => lead.take(publish).await,
            Self::Follow(follow) => follow.wait().await,
        }
    }
}

impl Lead {
    async fn take<F>(self, publish: impl FnOnce(Message) -> F) -> Result<Covered, PublishError>
    where
        F: Future<Output = Result<Published, PublishError>>,
    {
        tokio::time::sleep_until(self.turn_at.into()).await;
        // From here on newer messages open a slot of their own: what they bring is not in this message.
        let Some(slot) = self.close() else { return Err(PublishError::Abandoned) };
        let result = publish(slot.message).await;
        self.outcome.send_replace(Some(Outcome { newest: slot.arrivals, result: result.clone() }));
        result.map(|published| Covered { published, coalesced: slot.arrivals > 1 })
    }

    fn close(&self) -> Option<Slot> {
        let mut state = self.lane.lock();
        // Only this slot; once closed, another one may have the subject.
        let is_ours = state.slots.get(&self.subject).is_some_and(|slot| slot.number == self.number);
        if is_ours { state.slots.remove(&self.subject) } else { None }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.close();
    }
}

impl Follow {
    async fn wait(mut self) -> Result<Covered, PublishError> {
        let outcome = match self.outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone(),
            Err(_gone) => None,
        };
        let Outcome { newest, result } = outcome.ok_or(PublishError::Abandoned)?;
        result.map(|published| Covered { published, coalesced: self.arrival < newest })
    }
}

/// The newer message, in the older one's place.
fn supersede(older: &Message, newer: Message) -> Message {
    if older.id == newer.id {
        return newer;
    }
    let mut digest = Sha256::new();
    digest.update(&older.id);
    digest.update([0]);
    digest.update(&newer.id);
    Message { id: HEXLOWER.encode(&digest.finalize()), ..newer }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Message `n`: its number is its payload and, as a rule, its id.
    fn message(subject: &str, n: u64) -> Message {
        let payload = bytes::Bytes::from(n.to_string());
        Message { subject: subject.to_owned(), id: n.to_string(), payload, trace: None }
    }

    fn lane(per_second: u32, burst: u32, wait_max: Duration) -> Arc<Lane> {
        Lane::new(Rate::new(per_second, burst), wait_max)
    }

    fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    const MINUTE: Duration = Duration::from_secs(60);

    fn enter(lane: &Arc<Lane>, subject: &str, n: u64) -> Turn {
        lane.enter(vec![message(subject, n)], now()).unwrap().remove(0)
    }

    /// A stream that keeps what it acknowledges, and ids for ever.
    #[derive(Default)]
    struct Stream {
        stored: Mutex<Vec<Message>>,
        refuse: AtomicU64,
    }

    impl Stream {
        async fn publish(&self, message: Message) -> Result<Published, PublishError> {
            tokio::time::sleep(Duration::from_millis(3)).await;
            if self.refuse.load(Ordering::Relaxed) > 0 {
                return Err(PublishError::NoStream);
            }
            let mut stored = self.stored.lock().unwrap();
            let duplicate = stored.iter().any(|known| known.id == message.id);
            if !duplicate {
                stored.push(message);
            }
            Ok(Published { sequence: stored.len() as u64, duplicate })
        }

        fn numbers(&self) -> Vec<u64> {
            let number = |message: &Message| std::str::from_utf8(&message.payload).unwrap().parse().unwrap();
            self.stored.lock().unwrap().iter().map(number).collect()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_stands_for_all_of_its_ref_and_other_refs_have_their_turns() {
        let (lane, stream) = (lane(1, 1, MINUTE), Stream::default());
        let turns: Vec<_> = [("a", 1), ("a", 2), ("a", 3), ("b", 4), ("a", 5)]
            .into_iter()
            .map(|(subject, n)| enter(&lane, subject, n).take(|message| stream.publish(message)))
            .collect();
        assert_eq!(lane.waiting(), 2);
        let covered = futures::future::join_all(turns).await;
        let coalesced: Vec<_> = covered.into_iter().map(|covered| covered.unwrap().coalesced).collect();
        assert_eq!(coalesced, [false, true, true, false, false]);
        assert_eq!(stream.numbers(), [1, 5, 4]);
        assert_eq!(lane.waiting(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_repetition_that_supersedes_is_stored_for_what_it_supersedes() {
        let (lane, stream) = (lane(1, 1, MINUTE), Stream::default());
        // 1 is stored; 2 waits; 1 comes again, from a sender who repeats it.
        let turns = [("a", 1), ("a", 2), ("a", 1)].map(|(s, n)| enter(&lane, s, n).take(|m| stream.publish(m)));
        let covered = futures::future::join_all(turns).await;
        assert!(covered.iter().all(|covered| covered.as_ref().is_ok_and(|covered| !covered.published.duplicate)));
        assert_eq!(stream.stored.lock().unwrap().len(), 2, "something was stored after 2 had come");
    }

    #[tokio::test(start_paused = true)]
    async fn who_leads_and_goes_takes_nobody_with_him() {
        let (lane, stream) = (lane(1, 1, MINUTE), Stream::default());
        drop(enter(&lane, "a", 1));
        let lead = enter(&lane, "a", 2);
        let follow = enter(&lane, "a", 3).take(|message| stream.publish(message));
        drop(lead);
        assert_eq!(follow.await, Err(PublishError::Abandoned));
        assert_eq!(lane.waiting(), 0);
        let next = enter(&lane, "a", 4).take(|message| stream.publish(message)).await;
        assert!(next.is_ok());
        assert_eq!(stream.numbers(), [4]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_would_wait_too_long_is_told_when_and_leaves_nothing() {
        let lane = lane(1, 1, Duration::from_secs(2));
        let turns: Vec<_> = ["a", "b", "c"].into_iter().map(|subject| enter(&lane, subject, 1)).collect();
        let refused = lane.enter(vec![message("d", 1)], now()).err();
        assert_eq!(refused, Some(Empty { wait: Duration::from_secs(3) }));
        assert!(lane.enter(vec![message("c", 2)], now()).is_ok(), "its ref has a slot, so it needs no token");
        assert_eq!(lane.waiting(), 2);
        drop(turns);
        assert_eq!(lane.waiting(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_delivery_costs_as_much_as_it_has_events_for() {
        let lane = lane(1, 3, Duration::from_secs(2));
        let delivery = |refs: &[&str]| refs.iter().map(|subject| message(subject, 1)).collect::<Vec<_>>();
        let mut turns = lane.enter(delivery(&["a", "b", "c"]), now()).unwrap();
        assert!(turns.iter().all(|turn| matches!(turn, Turn::Now(_))));
        assert_eq!(lane.enter(delivery(&["d", "e", "f"]), now()).err(), Some(Empty { wait: Duration::from_secs(3) }));
        turns.extend(lane.enter(delivery(&["d", "e"]), now()).unwrap());
        assert_eq!(lane.waiting(), 2);
        assert!(lane.enter(delivery(&["d", "e"]), now()).is_ok(), "others lead both");
        // More than there can ever be is let through when all are there.
        tokio::time::sleep(Duration::from_secs(5)).await;
        drop(turns);
        assert!(lane.enter(delivery(&["a", "b", "c", "d", "e"]), now()).is_ok());
    }

    proptest! {
        /// Whoever comes when, whoever goes: all are answered; who is told "published" has something in the stream that
        /// came no earlier than he did; the stream's last message of a ref is the newest acknowledged; nothing stays.
        #[test]
        fn laws(arrivals in prop::collection::vec((0_u64..40, 0_usize..3, 0_u8..10, 0_u64..3), 1..60), failing in any::<bool>()) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let (lane, stream) = (lane(20, 2, Duration::from_secs(2)), Stream::default());
                let (lane, stream) = (&lane, &stream);
                let mut after = Duration::ZERO;
                let all = arrivals.iter().enumerate().map(|(n, (gap, subject, patience, burst))| {
                    after += Duration::from_millis(gap * burst);
                    let (after, subject) = (after, ["a", "b", "c"][*subject]);
                    async move {
                        tokio::time::sleep(after).await;
                        if failing && n % 7 == 3 {
                            stream.refuse.fetch_xor(1, Ordering::Relaxed);
                        }
                        let before = stream.stored.lock().unwrap().len() as u64;
                        let Ok(mut turns) = lane.enter(vec![message(subject, n as u64)], now()) else { return None };
                        let turn = turns.remove(0).take(|message| stream.publish(message));
                        // Some go before their turn.
                        let patience = if *patience == 0 { Duration::from_millis(20) } else { MINUTE };
                        let outcome = tokio::time::timeout(patience, turn).await.ok()?;
                        Some((subject, n as u64, before, outcome))
                    }
                });
                for (subject, n, before, outcome) in futures::future::join_all(all).await.into_iter().flatten() {
                    let Ok(covered) = outcome else { continue };
                    let stored = stream.stored.lock().unwrap();
                    let by = &stored[(covered.published.sequence - 1) as usize..];
                    prop_assert!(covered.published.sequence > before, "{n} of {subject} is covered by something older");
                    let number: u64 = std::str::from_utf8(&by[0].payload).unwrap().parse().unwrap();
                    prop_assert!(by[0].subject == subject && number >= n && covered.coalesced == (number > n));
                }
                prop_assert_eq!(lane.waiting(), 0);
                Ok(())
            })?;
        }
    }
}
