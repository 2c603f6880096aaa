//! Runs the loop: gathers what happens into one event enum, and does what the handler decides.
//!
//! Knows channels, timers and jobs. Decides nothing.

use std::hash::{BuildHasher as _, Hasher as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use towline_daemon::BoxError;
use towline_daemon::admin::Readiness;
use towline_daemon::shutdown::Shutdown;
use towline_daemon::tasks::{Tasks, WhenItEnds};
use towline_plan::members::Share;
use towline_plan::schedule::turns::Urgency;
use towline_proto::{ClusterName, Wire as _};

use super::credentials::Keyring;
use super::passing::Reporting;
use super::turns::Turns;
use super::{Action, Engine, Event, Moment, fetching, passing, reading, source, standing};
use crate::bus::{Bus, BusEvent, Report};
use crate::cluster::{Moved, ResourceEvent, SecretWatches};
use crate::metrics::Queue;
use crate::mirror::Limits;
use crate::pass::Context;
use crate::replicas::Membership;
use crate::report;

/// Passes that run at once. Each has up to 16 requests under way, and parses YAML on one core.
const PASSES_AT_ONCE: usize = 8;
/// Fetches that run at once, over all hosts: each holds a thread and a pack's worth of memory. At least twice what one host
/// may have, so that one which hangs leaves as much to the others.
const FETCHES_AT_ONCE: usize = 8;
/// So many more of either where they take long: they wait for somebody else, and hold little but memory.
const SLOW_MOST: usize = 24;

/// How long passes may take to stop where they stand: one request each, which is bounded itself, rarely takes long.
const DRAIN: Duration = Duration::from_secs(10);
/// How long the last reports may take.
const DRAIN_REPORTS: Duration = Duration::from_secs(3);

/// What the loop listens to and works with.
pub struct Parts {
    pub engine: Engine,
    pub fetches_per_host: usize,
    pub limits: Limits,
    pub context: Context,
    pub cluster_name: ClusterName,
    pub storage: Arc<Path>,
    pub keyring: Keyring,
    pub tasks: Tasks,
    pub shutdown: Shutdown,
    pub readiness: Readiness,
    pub resources: mpsc::Receiver<ResourceEvent>,
    pub moved: mpsc::UnboundedReceiver<Moved>,
    pub bus: Option<(Bus, mpsc::Receiver<BusEvent>)>,
    /// Where there may be other replicas.
    pub membership: Option<Membership>,
}

/// The running loop.
pub struct Driver {
    engine: Engine,
    context: Context,
    reporting: Reporting,
    storage: Arc<Path>,
    keyring: Keyring,
    limits: Limits,
    secrets: SecretWatches,
    tasks: Tasks,
    shutdown: Shutdown,
    jobs: mpsc::Sender<Event>,
    passes: Turns,
    fetches: Turns,
    readiness: Readiness,
    /// Passes under way.
    passing: usize,
}

impl Driver {
    /// Runs until shutdown is requested.
    ///
    /// # Errors
    /// None of its own; a watch that ends for good ends the process through its task.
    pub async fn run(parts: Parts) -> Result<(), BoxError> {
        let (fetches_per_host, limits) = (parts.fetches_per_host, parts.limits);
        let Parts { engine, context, cluster_name, storage, keyring, tasks, shutdown, readiness, .. } = parts;
        let Parts { mut resources, mut moved, bus, mut membership, .. } = parts;
        // Every running job sends one event, and one more on its way: this many at the most wait here.
        let (jobs, mut done) = mpsc::channel(256);
        let (bus, mut news) = bus.unzip();
        let reporting = Reporting { cluster: context.cluster.clone(), name: cluster_name, bus };
        let passes = Turns::new(PASSES_AT_ONCE, SLOW_MOST);
        let fetches = Turns::new(FETCHES_AT_ONCE.max(2 * fetches_per_host), SLOW_MOST);
        // Each watch has one on its way, and waits for the loop.
        let (seen, mut secrets_seen) = mpsc::channel(64);
        let secrets = SecretWatches::new(context.cluster.clone(), tasks.clone(), shutdown.clone(), seen);
        let mut driver = Self {
            engine,
            context,
            reporting,
            storage,
            keyring,
            limits,
            secrets,
            tasks,
            shutdown,
            jobs,
            passes,
            fetches,
            passing: 0,
            readiness,
        };
        loop {
            let due = driver.engine.next(Timestamp::now());
            let event = tokio::select! {
                () = driver.shutdown.requested() => break,
                Some(event) = done.recv() => event,
                Some(event) = resources.recv() => Event::Resource(event),
                Some(moved) = moved.recv() => Event::Moved(moved),
                Some(seen) = secrets_seen.recv() => Event::Secret(seen),
                Some(event) = next(&mut news) => Event::Bus(event),
                Some(share) = next_share(&mut membership) => driver.divided(share),
                () = until(due) => Event::Due,
            };
            driver.take(event);
            if driver.engine.is_listed()
                && let Some(ready) = membership.as_mut().and_then(|membership| membership.ready.take())
            {
                // The other end is gone only while the process ends.
                let _ = ready.send(());
            }
        }
        driver.readiness.set("shutdown", Err("draining".to_owned()));
        let all_ended = driver.end_passes(&mut done).await;
        // Before somebody else reports of the same Syncs.
        driver.end_reports().await;
        if let Some(membership) = membership.filter(|_| all_ended) {
            let _ = membership.leave.send(());
        }
        Ok(())
    }

    /// Waits for the passes that were cut short to say what they did, and answers whether all have.
    async fn end_passes(&mut self, done: &mut mpsc::Receiver<Event>) -> bool {
        let deadline = tokio::time::Instant::now() + DRAIN;
        while self.passing > 0 {
            match tokio::time::timeout_at(deadline, done.recv()).await {
                Ok(Some(Event::Passed { .. })) => self.passing -= 1,
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => {
                    tracing::warn!(passes = self.passing, "passes did not end in time; what they claimed is recorded");
                    return false;
                }
            }
        }
        true
    }

    /// Waits for what was said to be published.
    async fn end_reports(&self) {
        if let Some(bus) = &self.reporting.bus
            && let Err(error) = bus.drain(DRAIN_REPORTS).await
        {
            tracing::warn!(error = %towline_daemon::error::chain(&error), "reports were not published");
        }
    }

    fn take(&mut self, event: Event) {
        match &event {
            Event::Resource(event) => self.context.metrics.resource(event),
            Event::Bus(event) => self.context.metrics.bus(event),
            _ => {}
        }
        if matches!(event, Event::Passed { .. }) {
            self.passing = self.passing.saturating_sub(1);
        }
        let passed = if let Event::Passed { sync, .. } = &event { Some(sync.clone()) } else { None };
        let is_divided = matches!(event, Event::Divided(_));
        for action in self.engine.handle(event, moment()) {
            self.act(action);
        }
        if is_divided {
            self.context.metrics.divided(|sync| self.engine.is_own(sync));
        }
        if let Some(sync) = passed.filter(|sync| !self.engine.is_own(sync)) {
            self.context.metrics.lost(&sync);
        }
        self.context.metrics.oldest_event(self.engine.oldest_event());
        if self.engine.is_listed() {
            self.readiness.set("cluster", Ok(()));
        }
        if let Some(bus) = &self.reporting.bus {
            let (syncs, ready, sources) = self.engine.counts();
            match self.engine.speaks_for_all() {
                true => bus.heartbeat(syncs, ready, sources),
                false => bus.no_heartbeat(),
            }
        }
    }

    fn divided(&self, share: Share) -> Event {
        if let Some(bus) = &self.reporting.bus {
            // What was another replica's has to be told with a number above that replica's.
            bus.begin_again(crate::bus::incarnation(Timestamp::now()));
        }
        Event::Divided(share)
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Fetch(job) => {
                let (storage, jobs, shutdown) = (Arc::clone(&self.storage), self.jobs.clone(), self.shutdown.clone());
                let (turns, metrics) = (self.fetches.clone(), self.context.metrics.clone());
                let (keyring, limits) = (self.keyring.clone(), self.limits);
                self.job(format!("fetch {}", job.source), async move {
                    let waiting = metrics.wait_in(Queue::Fetches);
                    let turn = turns.turn(Urgency::Now).await;
                    drop(waiting);
                    turn.work(Box::pin(fetching::fetch(*job, storage, jobs, metrics, keyring, limits, shutdown))).await;
                });
            }
            Action::Recover { source, asked, url, revision } => {
                let (storage, jobs) = (Arc::clone(&self.storage), self.jobs.clone());
                let name = format!("recover {source}");
                let cluster = self.context.cluster.clone();
                self.job(name, fetching::recover((source, url, *asked), revision, storage, cluster, jobs));
            }
            Action::WriteSource(write) => {
                let (cluster, jobs) = (self.context.cluster.clone(), self.jobs.clone());
                self.job(format!("status of source {}", write.source), fetching::write(*write, cluster, jobs));
            }
            Action::Tell(tell) => {
                self.job("tell of a source".to_owned(), source::tell(*tell, self.reporting.clone()));
            }
            Action::Pass(job) => {
                self.passing += 1;
                let halt = job.pass.halt.clone();
                let (shutdown, turns) = (self.shutdown.clone(), self.passes.clone());
                let name = format!("pass {}", job.pass.key);
                let run = passing::run(*job, self.context.clone(), turns, self.reporting.clone(), self.jobs.clone());
                self.job(name, async move {
                    let mut run = std::pin::pin!(run);
                    tokio::select! {
                        () = &mut run => return,
                        () = shutdown.requested() => halt.cancel(),
                    }
                    run.await;
                });
            }
            Action::Read(read) => {
                let (cluster, jobs) = (self.context.cluster.clone(), self.jobs.clone());
                self.job("read".to_owned(), reading::read(read, cluster, jobs));
            }
            Action::Explain(explanation) => {
                let (reporting, jobs) = (self.reporting.clone(), self.jobs.clone());
                self.job("explain".to_owned(), passing::explain(*explanation, reporting, jobs));
            }
            Action::Stand(stand) => {
                let (reporting, jobs) = (self.reporting.clone(), self.jobs.clone());
                self.job("standing".to_owned(), standing::stand(*stand, self.context.clone(), reporting, jobs));
            }
            Action::Warn(warning) => {
                self.context.metrics.fought(&super::key(&*warning.sync));
                self.job("warn".to_owned(), passing::warn(*warning, self.reporting.clone()));
            }
            Action::Listen(interests) => {
                if let Some(bus) = &self.reporting.bus {
                    bus.interests(interests);
                }
            }
            Action::WatchSecrets(wanted) => self.secrets.set(&wanted),
            Action::Release(inventory) => {
                let cluster = self.context.cluster.clone();
                self.job("release an inventory".to_owned(), async move {
                    if let Err(error) = cluster.set_finalizer(&*inventory, false).await {
                        let error = towline_daemon::error::chain(&error);
                        tracing::warn!(%error, "failed to let go of an inventory whose Sync is gone");
                    }
                });
            }
            Action::Bury(sync) => {
                if let Some(bus) = &self.reporting.bus {
                    let status = report::sync_status(&sync, &self.reporting.name, true, Timestamp::now());
                    bus.report(Report::Status(status.bounded()));
                }
            }
        }
    }

    fn job(&self, name: String, job: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(name, WhenItEnds::IsFine, async move {
            job.await;
            Ok::<(), BoxError>(())
        });
    }
}

async fn next(news: &mut Option<mpsc::Receiver<BusEvent>>) -> Option<BusEvent> {
    match news {
        Some(news) => news.recv().await,
        None => std::future::pending().await,
    }
}

async fn next_share(membership: &mut Option<Membership>) -> Option<Share> {
    let Some(membership) = membership else { return std::future::pending().await };
    match membership.shares.changed().await {
        Ok(()) => Some(membership.shares.borrow_and_update().clone()),
        // It ends the process, or the process ends.
        Err(_) => std::future::pending().await,
    }
}

async fn until(due: Option<Timestamp>) {
    match due {
        Some(due) => {
            let wait = due.duration_since(Timestamp::now());
            tokio::time::sleep(std::time::Duration::try_from(wait).unwrap_or_default()).await;
        }
        None => std::future::pending().await,
    }
}

fn moment() -> Moment {
    // The standard library's hash keys are random per process and step: good enough for spreading waits, and no crate more.
    let dice = std::hash::RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64;
    Moment { now: Timestamp::now(), dice }
}
