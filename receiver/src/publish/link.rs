//! Whether there is a connection to NATS, by what the client tells and by what it is found to be. Knows readiness and log;
//! not what is published.
//!
//! The client drops events where they come faster than they are taken, and the last one may be among them. So an event
//! only says it sooner: in each round of the stream watch the connection's real state counts.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use towline_daemon::admin::Readiness;
use towline_daemon::nats::Event;

/// The name of the readiness check.
const CHECK: &str = "nats";

/// A server repeats what it refuses with each message, thousands in a second; one line in a minute says as much.
const SERVER_ERROR_LOG_INTERVAL: Duration = Duration::from_secs(60);

pub(super) struct Link {
    connected: watch::Sender<bool>,
    readiness: Readiness,
    refusals: Mutex<Refusals>,
}

/// What the server refused: a missing permission is said beside the message, not in answer to it.
#[derive(Default)]
struct Refusals {
    last: Option<(Instant, String)>,
    logged_at: Option<Instant>,
    left_out: u64,
}

impl Link {
    pub(super) fn new(readiness: Readiness) -> Self {
        readiness.set(CHECK, Err("not connected yet".to_owned()));
        Self { connected: watch::channel(false).0, readiness, refusals: Mutex::default() }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<bool> {
        self.connected.subscribe()
    }

    pub(super) fn tell(&self, event: Event) {
        match event {
            Event::Connected => self.see(true),
            Event::Disconnected => self.see(false),
            Event::ServerError(text) => self.refused(text, Instant::now()),
            Event::ClientError(text) => {
                tracing::debug!(error = text, "nats client error");
                if !*self.connected.borrow() {
                    self.readiness.set(CHECK, Err(text));
                }
            }
            Event::SlowConsumer => {}
        }
    }

    /// What the connection is now.
    pub(super) fn see(&self, is_connected: bool) {
        let changed = self.connected.send_if_modified(|known| std::mem::replace(known, is_connected) != is_connected);
        if is_connected {
            self.readiness.set(CHECK, Ok(()));
        } else if changed {
            // Unless it is known already, with a better reason.
            self.readiness.set(CHECK, Err("disconnected".to_owned()));
        }
    }

    pub(super) fn refused_since(&self, moment: Instant) -> Option<String> {
        let refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        refusals.last.as_ref().filter(|(when, _)| *when >= moment).map(|(_, text)| text.clone())
    }

    fn refused(&self, text: String, now: Instant) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let left_out = refusals.note(text.clone(), now);
        drop(refusals);
        if let Some(left_out) = left_out {
            tracing::warn!(error = text, left_out, "nats server error");
        }
    }
}

impl Refusals {
    /// Some: it has a line of its own, which also tells how many before it had none.
    fn note(&mut self, text: String, now: Instant) -> Option<u64> {
        self.last = Some((now, text));
        if self.logged_at.is_some_and(|at| now.duration_since(at) < SERVER_ERROR_LOG_INTERVAL) {
            self.left_out += 1;
            return None;
        }
        self.logged_at = Some(now);
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_event_does_not_stick() {
        let readiness = Readiness::new();
        let link = Link::new(readiness.clone());
        let connected = link.subscribe();
        link.tell(Event::Connected);
        assert!(readiness.failing().is_empty());
        link.tell(Event::Disconnected);
        link.tell(Event::ClientError("refused".to_owned()));
        assert_eq!(readiness.failing(), ["nats: refused"]);
        link.see(false);
        assert_eq!(readiness.failing(), ["nats: refused"], "the better reason stays");
        // Its `Connected` is lost.
        link.see(true);
        assert!(readiness.failing().is_empty() && *connected.borrow());
        // And the next `Disconnected`.
        link.see(false);
        assert_eq!(readiness.failing(), ["nats: disconnected"]);
        assert!(!*connected.borrow());
    }

    #[test]
    fn what_the_server_repeats_has_a_line_in_each_interval() {
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        assert_eq!(refusals.note("one".to_owned(), start), Some(0));
        assert!((0..1_000).all(|_| refusals.note("two".to_owned(), start).is_none()));
        assert_eq!(
            refusals.last.as_ref().map(|(_, text)| text.as_str()),
            Some("two"),
            "its sender is told all the same"
        );
        assert_eq!(refusals.note("three".to_owned(), start + SERVER_ERROR_LOG_INTERVAL), Some(1_000));
        assert_eq!(refusals.note("four".to_owned(), start + SERVER_ERROR_LOG_INTERVAL), None);
    }
}
