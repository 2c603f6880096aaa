//! One pass of one Sync: the same straight line for a push, a poll, drift, a retry and a restart.
//!
//! Starts from a verified revision in the mirror and never touches Git's network. Knows the order of the steps; what each
//! does stands in its own file.

mod apply;
mod barrier;
mod conclude;
mod depends;
pub mod drift;
mod established;
pub mod health;
mod inventory;
mod observe;
mod outcome;
mod prune;
mod teardown;
mod verify;
mod write;

pub use barrier::{peer, recorded, version};
pub use depends::{Dependency, Follows, Needs};
pub use outcome::{Action, Deed, End, Failure, Outcome, PANICKED, Reason};
pub use teardown::{is_leaving, release};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use towline_plan::barrier::Barrier;
use towline_plan::check::{Ceiling, check};
use towline_plan::claims::Claims;
use towline_plan::decide::{Situation, decide};
use towline_plan::desired::Desired;
use towline_plan::ignore::Rules;
use towline_plan::manifest::Manifest;
use towline_plan::object::{GroupKind, ObjectId, SyncKey};
use towline_plan::observed::Observed;
use towline_plan::part::PruneRules;
use towline_plan::redact::Redactor;
use towline_plan::schedule::sync::{Look, Trigger};
use towline_plan::tree::{Limits, Tree, normalise};
use towline_plan::watched::Scope;
use towline_plan::{desired, manifest, placed};
use towline_proto::{CommitId, CommitInfo};

use crate::api::{self, DriftDetection, Inventory, ResourceExt as _, Sync};
use crate::cluster::{Cluster, RequestError, Served, Watches, locked};
use crate::metrics::{Metrics, Stage};
use crate::mirror::Mirror;

/// How long what is known of the served kinds is good for. Unknown kinds and new definitions are asked for at once; this is
/// for kinds that came or went without us.
const DISCOVERY_AGE_MAX: Duration = Duration::from_secs(300);

/// What all passes of an agent share.
#[derive(Clone)]
pub struct Context {
    pub cluster: Cluster,
    pub watches: Watches,
    pub claims: Arc<Mutex<Claims>>,
    /// Which Sync has said what it claims at which revision.
    pub barrier: Arc<Mutex<Barrier>>,
    pub metrics: Metrics,
}

impl Context {
    /// The same, with every request for managed objects made as whoever the Sync acts as.
    #[must_use]
    pub fn acting_for(&self, sync: &Sync) -> Self {
        let namespace = sync.namespace().unwrap_or_default();
        let identity = self.cluster.identity(&namespace, sync.spec.service_account_name.as_deref());
        let (cluster, watches) = (self.cluster.acting_as(&identity), self.watches.acting_as(&identity));
        Self { cluster, watches, ..self.clone() }
    }

    /// Asks again which kinds there are, and ends the watches of those that are gone.
    async fn rediscover(&self) -> Result<Arc<Served>, RequestError> {
        let served = self.cluster.discover().await?;
        for kind in self.watches.kinds().into_iter().filter(|kind| served.is_gone(kind)) {
            self.watches.end(&kind);
        }
        Ok(served)
    }
}

/// A verified revision of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    pub commit: CommitId,
    /// As shown: `main@sha1:<40 hex digits>`.
    pub name: String,
    pub sequence: u64,
    /// Whose change it is; `None` until the commit was seen by this process.
    pub about: Option<Arc<CommitInfo>>,
    /// The delivery whose event led to it, for the trail.
    pub delivery: Option<String>,
}

/// One pass.
pub struct Pass {
    pub key: SyncKey,
    pub sync: Arc<Sync>,
    pub revision: Revision,
    pub trigger: Trigger,
    pub look: Look,
    /// Since when passes at this revision have been waiting; `None`: this is the first.
    pub waiting_since: Option<Timestamp>,
    /// What has to be ready before it.
    pub needs: Needs,
    /// What others fight over, in words.
    pub fights: Option<String>,
    /// `None`: the Sync is being deleted, and nothing is read from Git any more.
    pub mirror: Option<Mirror>,
    /// As last written or seen.
    pub inventory: Option<Inventory>,
    pub started_at: Timestamp,
    /// Cut short: a newer revision, the pass's own timeout, or the end of the process.
    pub halt: CancellationToken,
}

impl Pass {
    fn mirror(&self) -> Result<&Mirror, Failure> {
        self.mirror.as_ref().ok_or_else(Failure::internal)
    }

    /// Whether the Sync is being deleted.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.mirror.is_none()
    }
}

/// Runs a pass. It can fail; it cannot be silent: whatever happens is in the outcome.
pub async fn run(cx: &Context, pass: &Pass) -> Outcome {
    let cx = &cx.acting_for(&pass.sync);
    // On the heap: what a pass holds over its waits is large, and everything that wraps it would hold it once more.
    let stages = async {
        match &pass.mirror {
            Some(_) => Box::pin(stages(cx, pass)).await,
            None => Box::pin(teardown::teardown(cx, pass)).await,
        }
    };
    let mut outcome = stages.await.unwrap_or_else(Outcome::failed);
    if pass.sync.spec.suspend && !pass.is_last() {
        if let End::Failed(failure) = &outcome.end {
            tracing::warn!(error = failure.message, "what the suspended Sync claims is not known");
        }
        outcome.end = End::Superseded;
    }
    if let End::Failed(failure) = &mut outcome.end
        && let Some(why) = cx.cluster.why_forbidden().await
    {
        failure.message = format!("{}\n{why}", failure.message);
    }
    outcome
}

async fn stages(cx: &Context, pass: &Pass) -> Result<Outcome, Failure> {
    let spec = &pass.sync.spec;
    let path = normalise(&spec.path).map_err(|e| Failure::build(e.to_string()))?;
    let timing = cx.metrics.time(Stage::Read);
    let is_done = pass.look == Look::IfTouched && depends::said(&pass.sync).is_some_and(|said| said.is_true);
    let is_same = (is_done || pass.needs.is_any()) && reads_the_same(pass, &path).await?;
    if is_same && is_done {
        barrier::judged_as_before(cx, pass);
        return Ok(Outcome::untouched());
    }
    // What is there already goes on whatever becomes of others: only what is new has to wait for them.
    let blocked = match is_same {
        // Somebody waits to hear what it claims; that is all it says.
        _ if spec.suspend => Some(End::Superseded),
        true => None,
        false => depends::blocked(pass).await?,
    };
    let (tree, manifests) = read(pass, &path).await?;
    let manifests = Arc::new(manifests);
    drop(timing);
    let timing = cx.metrics.time(Stage::Discover);
    let mut served = cx.cluster.served(DISCOVERY_AGE_MAX).await?;
    let mut wanted = want(pass, &manifests, &served).await;
    // A kind may be new since the last discovery: asked once more before anything is called unknown.
    if wanted.is_err() {
        served = cx.rediscover().await?;
        wanted = want(pass, &manifests, &served).await;
    }
    drop(manifests);
    let Wanted { desired, left_alone, redactor } = match (wanted, blocked.clone()) {
        (Ok(wanted), _) => wanted,
        // The kinds it needs may come with what it waits for. Until then nothing can be claimed of them, nor be there.
        (Err(failure), Some(end)) if failure.retryable => return Ok(Outcome::stopped(end, pass.inventory.clone())),
        (Err(failure), _) => return Err(failure),
    };
    drop(timing);
    let timing = cx.metrics.time(Stage::Observe);
    // Before anything is watched, or it would be listed twice.
    cx.watches.judge_by(&pass.key, &health::rules(spec)?);
    let mut owned = inventory::load(cx, pass, &desired).await?;
    let brings = barrier::brings(cx, &desired);
    owned.brings = barrier::to_lines(&brings);
    let observed = match &blocked {
        None => Box::pin(observe::observe(cx, pass, &served, &desired, &owned.inventory, &redactor)).await?,
        // Nothing is going to be done: nothing has to be asked.
        Some(_) => Observed::default(),
    };
    let prune =
        PruneRules { enabled: spec.prune, allow_kinds: spec.prune_policy.allow_kinds.iter().cloned().collect() };
    drop(timing);
    let timing = cx.metrics.time(Stage::Decide);
    let plan = {
        // Claimed under the lock it was decided under: of two passes at once the second sees the claims of the first.
        let mut claims = locked(&cx.claims);
        let plan = decide(Situation {
            sync: &pass.key,
            desired,
            left_alone: &left_alone,
            inventory: &owned.inventory,
            observed: &observed,
            claims: &claims,
            prune: &prune,
            on_drift: spec.drift_mode().into(),
            now: pass.started_at.as_second(),
        });
        claims.replace(&pass.key, &plan.inventory);
        barrier::judged(cx, pass, brings);
        plan
    };
    if let Some(end) = blocked {
        return inventory::claim(cx, pass, owned, &plan.inventory, end).await;
    }
    let plan = check(plan, ceiling(pass)?, owned.rebuilt.as_deref());
    drop(timing);
    let kinds_served = Arc::clone(&served);
    let outcome = Box::pin(apply::apply(cx, pass, served, owned, plan, &redactor)).await?;
    let _timing = cx.metrics.time(Stage::Settle);
    // What is owned from here on is what has to be watched; of what was pruned the watches may end.
    let scopes: BTreeSet<Scope> = outcome.owned.0.keys().map(|id| cx.watches.scope_of(id)).collect();
    let named = health::scopes(&pass.sync, &kinds_served, &outcome.owned, outcome.looked.as_ref());
    cx.watches.keep(&pass.key, &scopes.iter().cloned().chain(named).collect());
    let outcome = inventory::settle(cx, pass, outcome, Some(&tree)).await?;
    Ok(Outcome { unwatched: unwatched(cx, pass, scopes, &redactor), ..outcome })
}

/// The kinds of which drift cannot be seen now, and why.
fn unwatched(cx: &Context, pass: &Pass, scopes: BTreeSet<Scope>, redactor: &Redactor) -> Vec<(GroupKind, String)> {
    let failed = scopes.into_iter().filter_map(|scope| {
        let why = cx.watches.failure(&scope)?;
        // So that it is not said any longer than it is true.
        cx.watches.tell_when_listed(&scope, &pass.key);
        let why = redactor.clean(&scope.kind.to_string(), &why);
        Some((scope.kind, why))
    });
    failed.collect()
}

/// Whether what the Sync reads is the same as at its last successful pass.
async fn reads_the_same(pass: &Pass, path: &str) -> Result<bool, Failure> {
    let Some(read) = pass.inventory.as_ref().and_then(|i| i.spec.read.as_ref()) else { return Ok(false) };
    if read.settings != inventory::settings_digest(&pass.sync) || !read.paths.contains_key(path) {
        return Ok(false);
    }
    has_at(pass.mirror()?, &pass.revision.commit, read.paths.clone()).await
}

/// Whether all of this is at a commit as it was read.
async fn has_at(mirror: &Mirror, commit: &CommitId, read: BTreeMap<String, Option<String>>) -> Result<bool, Failure> {
    let (mirror, commit) = (mirror.clone(), commit.clone());
    blocking(move || {
        for (path, id) in read {
            if mirror.object_id(&commit, &path).map_err(Failure::from)? != id {
                return Ok(false);
            }
        }
        Ok(true)
    })
    .await
}

/// What stands in Git. The text of a whole tree is too much to be read on a thread that others wait for.
async fn read(pass: &Pass, path: &str) -> Result<(Tree, Vec<Manifest>), Failure> {
    let (mirror, commit, path) = (pass.mirror()?.clone(), pass.revision.commit.clone(), path.to_owned());
    blocking(move || {
        let tree = mirror.read(&commit, &path, &Limits::default())?;
        let manifests = manifest::read(&tree).map_err(Failure::mistakes)?;
        Ok((tree, manifests))
    })
    .await
}

/// What Git wants of a cluster.
struct Wanted {
    desired: Vec<Desired>,
    left_alone: BTreeSet<ObjectId>,
    redactor: Redactor,
}

/// What manifests become in the cluster that serves these kinds.
async fn want(pass: &Pass, manifests: &Arc<Vec<Manifest>>, served: &Arc<Served>) -> Result<Wanted, Failure> {
    let (key, manifests, served) = (pass.key.clone(), Arc::clone(manifests), Arc::clone(served));
    let target = pass.sync.spec.target_namespace.clone();
    let rules = pass.sync.spec.drift_detection.as_deref().map(DriftDetection::rules).unwrap_or_default();
    let rules = Rules::new(&rules).map_err(|e| Failure::build(e.to_string()))?;
    blocking(move || {
        let mut manifests = manifests.to_vec();
        if let Some(target) = target {
            placed::place(&mut manifests, &served.kinds, &key, &target);
        }
        let left_alone = desired::left_alone(&manifests, &served.kinds, &key);
        let mut desired = desired::resolve(manifests, &served.kinds, &key).map_err(Failure::mistakes)?;
        rules.mark(&mut desired);
        let redactor = Redactor::new(&desired);
        Ok(Wanted { desired, left_alone, redactor })
    })
    .await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(Failure::internal()))
}

fn ceiling(pass: &Pass) -> Result<Ceiling, Failure> {
    let annotations = pass.sync.metadata.annotations.as_ref();
    let lifted = annotations.and_then(|a| a.get(api::ALLOW_DELETIONS));
    if lifted.is_some_and(|r| *r == pass.revision.name || *r == pass.revision.commit.as_str()) {
        return Ok(Ceiling::Lifted);
    }
    let Some(max) = &pass.sync.spec.prune_policy.max_deletions else { return Ok(Ceiling::Default) };
    let text = match max {
        k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(count) => count.to_string(),
        k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::String(text) => text.clone(),
    };
    Ceiling::parse(&text).map_err(|e| Failure::build(e.to_string()))
}
