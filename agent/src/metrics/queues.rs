//! Who waits for a turn, and since when. Knows two queues; must not know who gets the turn.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::time::Instant;

use prometheus_client::registry::Unit;

use super::Metrics;
use super::scrape::Rows;
use crate::cluster::locked;

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    Passes,
    Fetches,
}

impl Queue {
    const ALL: [Self; 2] = [Self::Passes, Self::Fetches];

    fn word(self) -> &'static str {
        match self {
            Self::Passes => "passes",
            Self::Fetches => "fetches",
        }
    }
}

#[derive(Default)]
pub(super) struct Queues {
    passes: Mutex<Line>,
    fetches: Mutex<Line>,
}

/// Numbered in the order in which they came: the first is the oldest.
#[derive(Default)]
struct Line {
    came: u64,
    waiting: BTreeMap<u64, Instant>,
}

/// A place in a queue, given up when it is dropped.
pub struct Turn {
    metrics: Metrics,
    queue: Queue,
    number: u64,
}

impl Turn {
    pub(super) fn new(metrics: Metrics, queue: Queue) -> Self {
        let number = {
            let mut line = locked(metrics.0.queues.of(queue));
            line.came += 1;
            let number = line.came;
            line.waiting.insert(number, Instant::now());
            number
        };
        Self { metrics, queue, number }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let since = locked(self.metrics.0.queues.of(self.queue)).waiting.remove(&self.number);
        if let Some(since) = since {
            let waited = self.metrics.0.queue_wait.get_or_create_owned(&[("queue", self.queue.word())]);
            waited.observe(since.elapsed().as_secs_f64());
        }
    }
}

impl Queues {
    fn of(&self, queue: Queue) -> &Mutex<Line> {
        match queue {
            Queue::Passes => &self.passes,
            Queue::Fetches => &self.fetches,
        }
    }

    pub(super) fn write(&self, rows: &mut Rows<'_>) -> fmt::Result {
        let seen = Queue::ALL.map(|queue| {
            let line = locked(self.of(queue));
            let oldest = line.waiting.values().next().map_or(0.0, |since| since.elapsed().as_secs_f64());
            ([("queue", queue.word())], line.waiting.len() as f64, oldest)
        });
        let depth = seen.map(|(labels, depth, _)| (labels, depth));
        rows.gauge("queue_depth", "Passes and fetches that wait for their turn", None, depth)?;
        let oldest = seen.map(|(labels, _, oldest)| (labels, oldest));
        rows.gauge("queue_oldest_wait", "How long the oldest of them has waited", Some(&Unit::Seconds), oldest)
    }
}
