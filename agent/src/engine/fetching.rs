//! Fetches and status writes of sources, as jobs beside the loop.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::mpsc;
use towline_daemon::error::chain;
use towline_daemon::shutdown::Shutdown;
use towline_proto::{CommitId, RefName};

use super::credentials::{Key, Keyring, Named, REFUSED};
use super::secrets::Versions;
use super::source::{Write, status};
use super::{Event, FetchFailure, OpenMirror, SourceKey, caught};
use crate::access::App;
use crate::api::{GitSource, ResourceExt as _};
use crate::cluster::Cluster;
use crate::metrics::Metrics;
use crate::mirror::{FetchError, Mirror};
use crate::pass::{PANICKED, Revision};

/// How often a status write is repeated because somebody else wrote in between: every time with what they wrote.
const CONFLICTS_MAX: usize = 5;

/// One fetch.
pub struct Job {
    pub source: SourceKey,
    pub number: u64,
    pub url: String,
    /// The Secrets it is fetched with.
    pub named: Named,
    pub reference: RefName,
    pub timeout: Duration,
    /// What the status recorded before a restart: offered before Git is asked, if the mirror still has it.
    pub recorded: Option<Revision>,
}

/// Runs a fetch on a thread of its own.
pub(super) async fn fetch(
    job: Job,
    storage: Arc<Path>,
    events: mpsc::Sender<Event>,
    metrics: Metrics,
    keyring: Keyring,
    shutdown: Shutdown,
) {
    let (source, number) = (job.source.clone(), job.number);
    let interrupt = Arc::new(AtomicBool::new(false));
    let (work_interrupt, work_events) = (Arc::clone(&interrupt), events.clone());
    let (work, stop) = (Work { storage, events: work_events, metrics, keyring }, shutdown.clone());
    let mut work = tokio::task::spawn_blocking(move || work.fetch(job, &stop, &work_interrupt));
    let result = tokio::select! {
        result = &mut work => result,
        () = shutdown.requested() => {
            interrupt.store(true, Ordering::Relaxed);
            work.await
        }
    };
    let result = result.unwrap_or_else(|_| Err(failed(PANICKED.to_owned(), true)));
    // The loop is gone only while the process ends.
    let _ = events.send(Event::Fetched { source, number, result }).await;
}

/// Offers what a status recorded, if the mirror still has it.
pub(super) async fn recover(
    source: SourceKey,
    url: String,
    revision: Revision,
    storage: Arc<Path>,
    events: mpsc::Sender<Event>,
) {
    let look = tokio::task::spawn_blocking(move || {
        Mirror::open(&storage, &url)
            .ok()
            .filter(|mirror| mirror.holds(&revision.commit))
            .map(|mirror| (mirror, revision))
    });
    // Without it the Syncs say that their source has no revision.
    if let Ok(Some((mirror, revision))) = look.await {
        let _ = events.send(Event::Recovered { source, revision, mirror: OpenMirror(mirror) }).await;
    }
}

/// What a fetch works with.
struct Work {
    storage: Arc<Path>,
    events: mpsc::Sender<Event>,
    metrics: Metrics,
    keyring: Keyring,
}

impl Work {
    /// Blocks until done.
    fn fetch(
        &self,
        job: Job,
        shutdown: &Shutdown,
        interrupt: &Arc<AtomicBool>,
    ) -> Result<(OpenMirror, CommitId), FetchFailure> {
        let started = Instant::now();
        let mirror = Mirror::open(&self.storage, &job.url).map_err(|e| failed(chain(&e), true))?;
        if let Some(revision) = job.recorded.clone().filter(|revision| mirror.holds(&revision.commit)) {
            let (source, mirror) = (job.source.clone(), OpenMirror(mirror.clone()));
            let _ = self.events.blocking_send(Event::Recovered { source, revision, mirror });
        }
        let key = self.key(&job, shutdown).inspect_err(|_| {
            self.metrics.fetched(mirror.host(), "authentication", mirror.traffic(), started.elapsed());
        })?;
        let fetched = mirror.fetch(&job.reference, &key.access, started + job.timeout, interrupt);
        let outcome = fetched.as_ref().map_or_else(FetchError::word, |_| "succeeded");
        self.metrics.fetched(mirror.host(), outcome, mirror.traffic(), started.elapsed());
        let tip = fetched.map_err(|error| self.failure(&error, key.app.as_ref()))?;
        // What Syncs work from has to stay readable while newer tips come.
        let name = format!("{}/{}", job.source.namespace, job.source.name);
        mirror.pin(&name, &tip.commit).map_err(|e| failed(chain(&e), true))?;
        tracing::info!(
            source = %job.source,
            commit = %tip.commit,
            author = tip.author,
            subject = tip.subject,
            received_bytes = tip.received_bytes,
            elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            "fetched"
        );
        Ok((OpenMirror(mirror), tip.commit))
    }

    /// Within the fetch's time, of which asking for a token may take much.
    fn key(&self, job: &Job, shutdown: &Shutdown) -> Result<Key, FetchFailure> {
        let mut read = Versions::default();
        let key = tokio::runtime::Handle::current().block_on(async {
            tokio::select! {
                key = tokio::time::timeout(job.timeout, self.keyring.key(&job.named, &job.url, &mut read)) => {
                    key.unwrap_or_else(|_| Err(failed("the credentials were not there in time".to_owned(), true)))
                }
                () = shutdown.requested() => Err(failed("interrupted".to_owned(), true)),
            }
        });
        let (source, number) = (job.source.clone(), job.number);
        // Before the fetch's end, so that what changed meanwhile is known by then.
        let _ = self.events.blocking_send(Event::SecretsRead { source, number, read });
        key
    }

    fn failure(&self, error: &FetchError, app: Option<&App>) -> FetchFailure {
        let reason = if error.is_refusal() { REFUSED } else { FAILED };
        let is_stale_token = matches!(error, FetchError::Unauthorized { .. }) && app.is_some();
        if let Some(app) = app.filter(|_| is_stale_token) {
            self.keyring.tokens.forget(app);
        }
        FetchFailure { message: chain(error), retryable: error.is_retryable() || is_stale_token, reason }
    }
}

/// Flux's reason for what is not about credentials.
const FAILED: &str = "GitOperationFailed";

fn failed(message: String, retryable: bool) -> FetchFailure {
    FetchFailure { message, retryable, reason: FAILED }
}

/// Writes what a source's status is to say, and tells the loop whatever happens: until then the source rests.
pub(super) async fn write(write: Write, cluster: Cluster, events: mpsc::Sender<Event>) {
    let source = write.source.clone();
    let result = caught(put(write, &cluster)).await.unwrap_or_else(Err);
    let _ = events.send(Event::Written { source, result }).await;
}

/// Somebody else's write in between is taken in, unless it is a revision: that may be newer than ours.
async fn put(write: Write, cluster: &Cluster) -> Result<Box<GitSource>, String> {
    let Write { source, mut object, wanted } = write;
    for _ in 0..CONFLICTS_MAX {
        let mut new = (*object).clone();
        new.status = Some(status(&object, &wanted, Timestamp::now()));
        match cluster.write_status(&new).await {
            Ok(written) => return Ok(Box::new(written)),
            Err(error) if error.is_conflict() => {
                let current = cluster.read(&source.namespace, &source.name).await.map_err(|e| chain(&e))?;
                let current = current.ok_or("the source is gone")?;
                if !is_still(&object, &current) {
                    return Err(
                        "its spec or its revision was changed meanwhile: what was found is judged anew".to_owned()
                    );
                }
                object = Arc::new(current);
            }
            Err(error) => return Err(chain(&error)),
        }
    }
    Err("the source is written by others all the time".to_owned())
}

/// Whether what was found for one may be written to the other: the tip of a ref is named after the ref it was found at, and its
/// place in the order is behind the revision it was judged against.
pub(super) fn is_still(judged: &GitSource, current: &GitSource) -> bool {
    let revision = |source: &GitSource| source.status.as_ref().map(|status| (status.revision.clone(), status.sequence));
    (judged.uid(), judged.metadata.generation) == (current.uid(), current.metadata.generation)
        && revision(judged).unwrap_or_default() == revision(current).unwrap_or_default()
}
