//! Missed deliveries: GitHub sends each one once. A sweep lists a webhook's deliveries, decides which of the failed ones
//! are worth another attempt, and asks GitHub to send them again; they come in by the front door like any other.
//!
//! - `settings`: one `[[sweeps]]` table, checked. `token`: its token, read again for each sweep.
//! - `github`: what to send and what came back, as values; pure. `wire` sends it: the only file with the HTTP client.
//!   `client` joins the two.
//! - `decide`: from attempts seen to redeliveries asked for; pure. `pace`: when to sweep next; pure.
//! - `metrics`: what is counted.
//!
//! Here is the loop. It knows nothing of signatures, payloads and NATS. It may fail for ever without the receiver being
//! less ready: polling is the guarantee, deliveries are the speed, and this only catches some that were dropped. It
//! keeps nothing that a restart may not lose: at worst something is delivered once more, which the stream recognises.

mod client;
mod decide;
mod github;
mod metrics;
mod pace;
mod settings;
mod token;
mod wire;

use std::convert::Infallible;

use jiff::Timestamp;
use tokio::time::sleep;
use towline_daemon::admin::Readiness;
use towline_daemon::error;
use towline_daemon::shutdown::Shutdown;

use client::{Client, Listing, SweepError};
use decide::{Asked, Decision, Redelivery};
pub(crate) use metrics::Metrics;
use metrics::Outcome;
pub use settings::Sweep;
pub(crate) use settings::{RawSweep, validate};

/// The loop of one `[[sweeps]]` table.
pub(crate) struct Sweeper {
    sweep: Sweep,
    /// A redelivery that comes while NATS is away fails again, and uses up one of its attempts.
    readiness: Readiness,
    metrics: Metrics,
    /// Found by the webhook's URL.
    hook_id: Option<u64>,
    /// What the last sweep saw, for a listing that has not changed since.
    listing: Option<Listing>,
    /// What was asked for: GitHub takes a while to make an attempt of it, or forgets.
    asked: Asked,
    /// Failed sweeps in a row.
    failures: u32,
    /// What was logged last.
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Works,
    Fails(&'static str),
}

impl Sweeper {
    pub(crate) fn new(sweep: Sweep, readiness: Readiness, metrics: Metrics) -> Self {
        metrics.appear(&sweep);
        let (hook_id, listing, asked, failures, state) = (sweep.id(), None, Asked::default(), 0, State::New);
        Self { sweep, readiness, metrics, hook_id, listing, asked, failures, state }
    }

    /// Sweeps until shutdown, which ends it at once: what was asked for is asked for, the rest is for the next start.
    pub(crate) async fn run(mut self, shutdown: Shutdown) -> Result<(), Infallible> {
        tokio::select! {
            () = shutdown.requested() => Ok(()),
            never = self.sweep_for_ever() => match never {},
        }
    }

    async fn sweep_for_ever(&mut self) -> Infallible {
        sleep(pace::first(self.sweep.bounds().interval, fastrand::f64())).await;
        loop {
            let demanded = if self.readiness.failing().is_empty() { self.sweep_and_tell().await } else { None };
            sleep(pace::next(self.sweep.bounds().interval, self.failures, demanded, fastrand::f64())).await;
        }
    }

    /// One sweep, counted, and logged where the state changed. Returns how long the API wants to be left alone.
    async fn sweep_and_tell(&mut self) -> Option<std::time::Duration> {
        let (hook, scope) = (self.sweep.hook().to_owned(), self.sweep.scope().to_string());
        match self.sweep_once().await {
            Ok(()) => {
                self.failures = 0;
                self.metrics.succeeded(&self.sweep, Timestamp::now());
                if self.state != State::Works {
                    tracing::info!(hook, scope, "missed deliveries are looked for");
                }
                self.state = State::Works;
                None
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                self.metrics.failed(&self.sweep, error.reason());
                let state = State::Fails(error.reason());
                if self.state != state {
                    tracing::warn!(hook, scope, error = error::chain(&error), "failed to look for missed deliveries");
                }
                self.state = state;
                error.wait()
            }
        }
    }

    async fn sweep_once(&mut self) -> Result<(), SweepError> {
        let sweep = self.sweep.clone();
        let mut client = Client::new(&sweep)?;
        let hook_id = match self.hook_id {
            Some(id) => id,
            None => *self.hook_id.insert(client.find_hook().await?),
        };
        self.list(&mut client, hook_id).await?;
        if self.decide(sweep.bounds().redeliveries_max).ask.is_empty() {
            return Ok(());
        }
        // Another replica has seen the same. Whoever draws the shorter time asks, and the other sees what comes of it.
        sleep(pace::aside(sweep.bounds().interval, fastrand::f64())).await;
        for places in (1..=sweep.bounds().redeliveries_max).rev() {
            if let Some(listing) = &mut self.listing {
                client.refresh(hook_id, listing).await?;
            }
            let Some(redelivery) = self.decide(places).ask.into_iter().next() else { break };
            self.ask(&mut client, hook_id, redelivery).await?;
            sleep(pace::BETWEEN_REDELIVERIES).await;
        }
        Ok(())
    }

    async fn list(&mut self, client: &mut Client<'_>, hook_id: u64) -> Result<(), SweepError> {
        let since = pace::before(Timestamp::now(), self.sweep.bounds().lookback);
        let listed = client.list(hook_id, since, self.listing.as_ref()).await;
        if listed.as_ref().is_err_and(SweepError::is_about_the_hook) {
            // It may have been made anew, under another id.
            self.hook_id = self.sweep.id();
            self.listing = None;
        }
        if let Some(listing) = listed? {
            self.listing = Some(listing);
        }
        self.asked.forget_before(since);
        Ok(())
    }

    fn decide(&self, places: usize) -> Decision {
        let attempts = self.listing.as_ref().map(|listing| listing.attempts.as_slice()).unwrap_or_default();
        let decision = decide::decide(attempts, &self.asked, Timestamp::now(), self.sweep.bounds(), places);
        self.metrics.saw(&self.sweep, &decision);
        decision
    }

    async fn ask(&mut self, client: &mut Client<'_>, hook_id: u64, redelivery: Redelivery) -> Result<(), SweepError> {
        let (hook, delivery, attempt) = (self.sweep.hook(), &redelivery.guid, redelivery.id);
        match client.redeliver(hook_id, redelivery.id).await {
            Ok(()) => {
                tracing::info!(hook, delivery, attempt, "asked for a redelivery");
                self.metrics.asked(&self.sweep, Outcome::Asked);
            }
            Err(error) if error.is_about_the_delivery() => {
                tracing::info!(hook, delivery, attempt, error = error::chain(&error), "no redelivery");
                self.metrics.asked(&self.sweep, Outcome::Refused);
            }
            Err(error) => {
                self.metrics.asked(&self.sweep, Outcome::Failed);
                return Err(error);
            }
        }
        // A refused one, too: it is not worth a request in each sweep.
        self.asked.note(redelivery.guid, Timestamp::now());
        Ok(())
    }
}
