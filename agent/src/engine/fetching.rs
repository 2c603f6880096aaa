//! Fetches and status writes of sources, as jobs beside the loop.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::mpsc;
use towline_daemon::error::chain;
use towline_daemon::shutdown::Shutdown;
use towline_plan::schedule::hosts::Answer;

use super::credentials::{Key, Keyring, Named, REFUSED};
use super::secrets::Versions;
use super::source::{Following, Write, status};
use super::verifying::{Asked, Judge};
use super::{Brought, Event, FetchFailure, OpenMirror, SourceKey, caught};
use crate::access::App;
use crate::api::{GitSource, ResourceExt as _};
use crate::cluster::Cluster;
use crate::metrics::Metrics;
use crate::mirror::{FetchError, Limits, Mirror};
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
    pub following: Following,
    pub timeout: Duration,
    /// What is demanded of it.
    pub asked: Asked,
    /// What the status recorded before a restart: offered before Git is asked, if the mirror still has it.
    pub recorded: Option<Revision>,
    /// What Syncs work from, or would: judged again, and what a new commit is compared with.
    pub in_use: Option<Revision>,
}

/// Runs a fetch on a thread of its own.
pub(super) async fn fetch(
    job: Job,
    storage: Arc<Path>,
    events: mpsc::Sender<Event>,
    metrics: Metrics,
    keyring: Keyring,
    limits: Limits,
    shutdown: Shutdown,
) {
    let (source, number) = (job.source.clone(), job.number);
    let interrupt = Arc::new(AtomicBool::new(false));
    let (work_interrupt, work_events) = (Arc::clone(&interrupt), events.clone());
    let (work, stop) = (Work { storage, events: work_events, metrics, keyring, limits }, shutdown.clone());
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
    (source, url, asked): (SourceKey, String, Asked),
    revision: Revision,
    storage: Arc<Path>,
    cluster: Cluster,
    events: mpsc::Sender<Event>,
) {
    let judge = match asked.judge(&cluster, &mut Versions::default()).await {
        Ok(judge) => judge,
        // Nothing can be said of it.
        Err(failure) => return tracing::warn!(%source, error = failure.message, "what is recorded cannot be verified"),
    };
    let look = tokio::task::spawn_blocking(move || {
        Mirror::open(&storage, &url)
            .ok()
            .filter(|mirror| judge.may_recall(mirror, &revision.commit))
            .map(|mirror| recall(&judge, source, revision, mirror))
    });
    // Without it the Syncs say that their source has no revision.
    if let Ok(Some(event)) = look.await {
        let _ = events.send(event).await;
    }
}

/// Judges what was a revision already.
fn recall(judge: &Judge, source: SourceKey, revision: Revision, mirror: Mirror) -> Event {
    match judge.again(&mirror, &revision) {
        Ok(verified) => Event::Recovered { source, revision, verified, mirror: OpenMirror(mirror) },
        Err(failure) => Event::Refused { source, commit: revision.commit, failure },
    }
}

/// What a fetch works with.
struct Work {
    storage: Arc<Path>,
    events: mpsc::Sender<Event>,
    metrics: Metrics,
    keyring: Keyring,
    limits: Limits,
}

impl Work {
    /// Blocks until done.
    fn fetch(&self, job: Job, shutdown: &Shutdown, interrupt: &Arc<AtomicBool>) -> Result<Brought, FetchFailure> {
        let started = Instant::now();
        let mirror = Mirror::open(&self.storage, &job.url).map_err(|e| failed(chain(&e), true))?.within(self.limits);
        let (judge, key) = self.keys(&job, shutdown);
        let judge = judge?;
        let known = if judge.demands() { &job.in_use } else { &job.recorded };
        if let Some(revision) = known.clone().filter(|revision| judge.may_recall(&mirror, &revision.commit)) {
            let _ = self.events.blocking_send(recall(&judge, job.source.clone(), revision, mirror.clone()));
        }
        let key = key.inspect_err(|_| {
            self.metrics.fetched(mirror.host(), "authentication", mirror.traffic(), started.elapsed());
        })?;
        let deadline = started + job.timeout;
        let named = match &job.following {
            Following::Ref(reference) => Ok(reference.clone()),
            Following::Newest(range) => mirror.newest_tag(range, &key.access, deadline, interrupt),
        };
        let fetched = named.and_then(|reference| {
            mirror.fetch(&reference, &key.access, deadline, interrupt).map(|tip| (tip, reference.short().to_owned()))
        });
        let outcome = fetched.as_ref().map_or_else(FetchError::word, |_| "succeeded");
        self.metrics.fetched(mirror.host(), outcome, mirror.traffic(), started.elapsed());
        let (tip, name) = fetched.map_err(|error| self.failure(&error, key.app.as_ref()))?;
        let tag = matches!(job.following, Following::Newest(_)).then_some(name);
        // What Syncs work from has to stay readable while newer tips come.
        let verified =
            judge.first(&mirror, &tip, tag.as_deref(), job.in_use.as_ref().map(|revision| &revision.commit))?;
        mirror.pin(&job.asked.pin(), &tip).map_err(|e| failed(chain(&e), true))?;
        tracing::info!(
            source = %job.source,
            commit = %tip.commit,
            author = tip.about.author,
            subject = tip.about.subject,
            signers = verified.signers().join(", "),
            received_bytes = tip.received_bytes,
            elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            "fetched"
        );
        Ok(Brought { mirror: OpenMirror(mirror), verified, tag })
    }

    /// Within the fetch's time, of which asking for a token may take much.
    fn keys(&self, job: &Job, shutdown: &Shutdown) -> (Result<Judge, FetchFailure>, Result<Key, FetchFailure>) {
        let (mut read, mut read_too) = (Versions::default(), Versions::default());
        let asked = job.asked.clone();
        let both = tokio::runtime::Handle::current().block_on(async {
            tokio::join!(
                within(job.timeout, shutdown, asked.judge(&self.keyring.cluster, &mut read)),
                within(job.timeout, shutdown, self.keyring.key(&job.named, &job.url, &mut read_too)),
            )
        });
        read.append(&mut read_too);
        let (source, number) = (job.source.clone(), job.number);
        // Before the fetch's end, so that what changed meanwhile is known by then.
        let _ = self.events.blocking_send(Event::SecretsRead { source, number, read });
        both
    }

    fn failure(&self, error: &FetchError, app: Option<&App>) -> FetchFailure {
        let reason = if error.is_refusal() { REFUSED } else { FAILED };
        let is_stale_token = matches!(error, FetchError::Unauthorized { .. }) && app.is_some();
        if let Some(app) = app.filter(|_| is_stale_token) {
            self.keyring.tokens.forget(app);
        }
        FetchFailure {
            message: chain(error),
            retryable: error.is_retryable() || is_stale_token,
            retry_after: error.retry_after(),
            answer: answer(error),
            reason,
            verification: None,
        }
    }
}

/// What is read from Secrets, or asked for with what they hold.
async fn within<T>(
    timeout: Duration,
    shutdown: &Shutdown,
    work: impl Future<Output = Result<T, FetchFailure>>,
) -> Result<T, FetchFailure> {
    tokio::select! {
        done = tokio::time::timeout(timeout, work) => {
            done.unwrap_or_else(|_| Err(failed("the credentials were not there in time".to_owned(), true)))
        }
        () = shutdown.requested() => Err(failed("interrupted".to_owned(), true)),
    }
}

/// What an error says of the host, besides of the repository.
fn answer(error: &FetchError) -> Answer {
    match (error.is_outage(), error.is_ours()) {
        (true, _) => Answer::Outage,
        (false, true) => Answer::NotAsked,
        (false, false) => Answer::Answered,
    }
}

/// Flux's reason for what is not about credentials.
pub(super) const FAILED: &str = "GitOperationFailed";

fn failed(message: String, retryable: bool) -> FetchFailure {
    FetchFailure { message, retryable, retry_after: None, answer: Answer::NotAsked, reason: FAILED, verification: None }
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
