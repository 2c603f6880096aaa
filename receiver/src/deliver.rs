//! Everything after the last byte of a body: judge, wait for the hook's turn, publish. It belongs to the receiver and
//! not to the client's connection, and has a bound of its own: who hangs up gives back his connection, not his delivery.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures::future::join_all;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use towline_daemon::shutdown::Shutdown;
use towline_proto::subject;

use crate::answer::Answer;
use crate::coalesce::{Covered, Lane, Turn};
use crate::config::Hook;
use crate::judge::{Delivery, Identified, Judged, Judgement};
use crate::limits::Limits;
use crate::metrics::{HookLabels, LimitLabels, Metrics, ReasonLabels};
use crate::publish::{Message, PublishError, Published, Publisher};
use crate::record::Record;

/// Hashing and parsing this much takes about a millisecond; larger bodies go to a thread of their own, so that others'
/// deliveries do not wait for them.
const INLINE_BYTES_MAX: usize = 256 * 1024;

/// What is left of the drain time when deliveries are given up: to answer and log them.
const DRAIN_REST: u32 = 10;

/// What becomes of complete deliveries.
pub(crate) struct Deliverer {
    publisher: Publisher,
    /// By the hook's path.
    lanes: HashMap<String, Arc<Lane>>,
    limits: Limits,
    places: Arc<Semaphore>,
    metrics: Metrics,
    shutdown: Shutdown,
    /// When deliveries are given up, once shutdown was requested.
    give_up_at: OnceLock<Instant>,
}

/// A delivery's place among those in work; given back when dropped.
pub(crate) struct Place {
    gauge: Gauge,
    _permit: OwnedSemaphorePermit,
}

impl Deliverer {
    pub(crate) fn new(
        hooks: &[Arc<Hook>],
        limits: Limits,
        publisher: Publisher,
        metrics: Metrics,
        shutdown: Shutdown,
    ) -> Self {
        // Half the time to wait for a turn, so that half is left to publish.
        let wait_max = limits.publish_timeout / 2;
        let lane =
            |hook: &Arc<Hook>| (hook.path().to_owned(), Lane::new(hook.rate().unwrap_or(limits.rates.hook), wait_max));
        let places = Arc::new(Semaphore::new(limits.rates.deliveries_in_flight_max));
        let lanes = hooks.iter().map(lane).collect();
        Self { publisher, lanes, limits, places, metrics, shutdown, give_up_at: OnceLock::new() }
    }

    /// A place for one more delivery.
    pub(crate) fn take_place(&self) -> Result<Place, Answer> {
        let permit = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Answer::Busy)?;
        self.metrics.deliveries_in_flight.inc();
        Ok(Place { gauge: self.metrics.deliveries_in_flight.clone(), _permit: permit })
    }

    /// All events of a delivery, at the same time; where one is not published, the sender is to try again with all.
    pub(crate) async fn publish(&self, hook: &Hook, events: Vec<Identified>, record: &mut Record) -> Answer {
        if events.is_empty() {
            return Answer::Ignored { reason: "it speaks of no ref".to_owned() };
        }
        let deadline = Instant::now() + self.limits.publish_timeout;
        let trace = record.trace().clone();
        let mut messages = Vec::with_capacity(events.len());
        for Identified { mut event, id } in events {
            event.traceparent = Some(trace.traceparent().to_owned());
            record.set_commit(&event);
            let subject = subject::commit(&event.repository, &event.reference);
            messages.push(Message { subject, id, payload: Bytes::from(event.encode()), trace: Some(trace.clone()) });
        }
        let Some(lane) = self.lanes.get(hook.path()) else { return Answer::NoSuchHook };
        let turns = match lane.enter(messages, std::time::Instant::now()) {
            Ok(turns) => turns,
            Err(empty) => {
                self.metrics.rate_limited.get_or_create(&LimitLabels { limit: "hook" }).inc();
                record.set_reason(
                    "verified deliveries of this hook come faster than its rate, and waiting takes too long",
                );
                return Answer::HookBusy { wait: empty.wait };
            }
        };
        tokio::select! {
            results = self.take_turns(turns, deadline) => self.conclude(hook, results, record),
            () = self.given_up() => {
                record.set_reason("shut down before JetStream acknowledged");
                Answer::NotPublished
            }
        }
    }

    async fn take_turns(&self, mut turns: Vec<Turn>, deadline: Instant) -> Vec<Result<Covered, PublishError>> {
        let take = |turn: Turn| turn.take(|message| self.publish_one(message, deadline));
        match turns.pop() {
            Some(only) if turns.is_empty() => vec![take(only).await],
            Some(last) => join_all(turns.into_iter().chain([last]).map(take)).await,
            None => Vec::new(),
        }
    }

    async fn publish_one(&self, message: Message, deadline: Instant) -> Result<Published, PublishError> {
        let started = Instant::now();
        let result = self.publisher.publish(message, deadline, &self.metrics.publish_attempts).await;
        match &result {
            Ok(_) => self.metrics.publish_duration.observe(started.elapsed().as_secs_f64()),
            Err(error) => {
                self.metrics.publish_errors.get_or_create(&ReasonLabels { reason: error.reason() }).inc();
            }
        }
        result
    }

    fn conclude(&self, hook: &Hook, results: Vec<Result<Covered, PublishError>>, record: &mut Record) -> Answer {
        let (mut duplicates, mut coalesced) = (0, 0);
        let all = results.len();
        for result in results {
            match result {
                Ok(covered) => {
                    record.set_sequence(covered.published.sequence);
                    coalesced += usize::from(covered.coalesced);
                    duplicates += usize::from(covered.published.duplicate);
                }
                Err(error) => {
                    record.set_reason(&error);
                    return Answer::NotPublished;
                }
            }
        }
        if coalesced > 0 {
            let labels = HookLabels { hook: hook.path().to_owned() };
            self.metrics.events_coalesced.get_or_create(&labels).inc_by(coalesced as u64);
        }
        if coalesced == all { Answer::Coalesced } else { Answer::Accepted { duplicate: duplicates == all } }
    }

    /// Returns when the time to drain is nearly over.
    async fn given_up(&self) {
        self.shutdown.requested().await;
        tokio::time::sleep_until(self.give_up_at()).await;
    }

    /// Counts from the first call: whoever sees the shutdown calls it at once.
    pub(crate) fn give_up_at(&self) -> Instant {
        let drain = self.limits.drain_timeout;
        *self.give_up_at.get_or_init(|| Instant::now() + drain - drain / DRAIN_REST)
    }

    /// How many refs wait for their hook's turn.
    pub(crate) fn waiting(&self) -> usize {
        self.lanes.values().map(|lane| lane.waiting()).sum()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

/// A delivery that matches no secret may be signed with one that has just been written to its file.
pub(crate) async fn judge_with_newest_secrets(delivery: Delivery, body: Bytes) -> Judged {
    let delivery = Arc::new(delivery);
    let secrets = delivery.hook.secrets();
    let tried = secrets.good();
    let judged = judge_off_the_loop(Arc::clone(&delivery), body.clone()).await;
    if judged.is_refused() && secrets.look_again(&tried).await {
        return judge_off_the_loop(Arc::clone(&delivery), body).await;
    }
    judged
}

async fn judge_off_the_loop(delivery: Arc<Delivery>, body: Bytes) -> Judged {
    if body.len() <= INLINE_BYTES_MAX {
        return delivery.judge(body);
    }
    let judged = tokio::task::spawn_blocking(move || delivery.judge(body)).await;
    judged.unwrap_or_else(|_panicked| {
        Judgement::answer(Answer::NotPublished, "judging the delivery panicked".to_owned()).into()
    })
}
