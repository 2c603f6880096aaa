//! How healthy what a Sync applied is, and what else it was told to look at: after the apply, and between passes.
//!
//! Asks the watches' index; a request is made only for what cannot be watched. Waits for nothing but for the watch to show
//! what was applied a moment ago: what is not healthy yet ends the pass, and the watch tells when that goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt as _;
use serde_json::Value;
use towline_plan::health::{self, Health, HealthExprs, HealthRules};
use towline_plan::inventory::{Inventory as Owned, State};
use towline_plan::object::{GroupKind, ObjectId, SyncKey, group_version};
use towline_plan::redact::Redactor;
use towline_plan::watched::Scope;

use super::conclude::{Judged, Patience, conclude, verdict};
use super::outcome::{End, Failure, Reason};
use super::{Context, Pass, blocking};
use crate::api::{HealthCheckReference, ResourceExt as _, Sync, SyncSpec, Verdict};
use crate::cluster::{CONCURRENT_REQUESTS, Listing, RequestError, Served, locked};

/// How long the watch may be behind what was applied a moment ago. It tells of it within some 10 ms; a pass goes on when it
/// tells of it later.
const SHOWN_TIMEOUT: Duration = Duration::from_secs(2);
/// The objects that were looked at: `true` for those of the Sync itself, whose watch is another one.
pub type Objects = Vec<(ObjectId, bool)>;

/// What a look came to.
pub(super) struct Looked {
    /// What the Healthy condition says of it.
    pub verdict: Verdict,
    /// Why the pass ends here; `None`: everything is healthy.
    pub end: Option<End>,
    pub objects: Objects,
}

/// Whether a Sync asks for the health of anything.
#[must_use]
pub fn is_asked(spec: &SyncSpec) -> bool {
    spec.wait || !spec.health_checks.is_empty()
}

/// What else a Sync is told to look at.
fn checks(sync: &Sync, is_namespaced: impl Fn(&GroupKind) -> bool) -> BTreeMap<ObjectId, String> {
    let check = |check: &HealthCheckReference| {
        let (group, version) = group_version(&check.api_version);
        let kind = GroupKind::new(group, &check.kind);
        let namespace = check.namespace.clone().or_else(|| sync.namespace()).filter(|_| is_namespaced(&kind));
        (ObjectId { kind, namespace, name: check.name.clone() }, version.to_owned())
    };
    sync.spec.health_checks.iter().map(check).collect()
}

/// A Sync's own expressions.
pub(super) fn rules(spec: &SyncSpec) -> Result<HealthRules, Failure> {
    let given = spec.health_check_exprs.iter().map(|rule| HealthExprs {
        api_version: rule.api_version.clone(),
        kind: rule.kind.clone(),
        in_progress: rule.in_progress.clone(),
        failed: rule.failed.clone(),
        current: rule.current.clone(),
    });
    HealthRules::compile(&given.collect::<Vec<_>>()).map_err(|errors| {
        let message = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        Failure { reason: Reason::InvalidCelExpression, message, retryable: false }
    })
}

/// The watches of objects that are somebody else's: of those that were looked at, or that are to be.
pub(super) fn scopes(sync: &Sync, served: &Served, owned: &Owned, looked: Option<&Objects>) -> BTreeSet<Scope> {
    if let Some(objects) = looked {
        return objects.iter().filter(|(_, is_own)| !is_own).map(|(id, _)| Scope::named(id)).collect();
    }
    let checks = checks(sync, |kind| served.kinds.is_namespaced(kind));
    checks.keys().filter(|id| !owned.0.contains_key(*id)).map(Scope::named).collect()
}

/// Looks at what was applied, each with its version. `None`: the Sync asks for nothing of it.
pub(super) async fn look<'a>(
    cx: &Context,
    pass: &Pass,
    served: &Served,
    applied: impl Iterator<Item = (&'a ObjectId, &'a str)>,
    owned: &Owned,
    redactor: &Redactor,
) -> Result<Option<Looked>, Failure> {
    let spec = &pass.sync.spec;
    if !is_asked(spec) {
        return Ok(None);
    }
    let rules = rules(spec)?;
    let own: BTreeMap<ObjectId, String> = applied.map(|(id, version)| (id.clone(), version.to_owned())).collect();
    let checks = checks(&pass.sync, |kind| served.kinds.is_namespaced(kind));
    let foreign: Vec<&ObjectId> = checks.keys().filter(|id| !own.contains_key(*id)).collect();
    watch(cx, pass, served, &foreign).await;
    let mut versions: BTreeMap<&ObjectId, &String> = checks.iter().collect();
    if spec.wait {
        versions.extend(own.iter());
    }
    let targets: Vec<Target<'_>> = versions
        .into_iter()
        .map(|(id, version)| {
            let is_own = own.contains_key(id);
            let scope = if is_own { cx.watches.scope_of(id) } else { Scope::named(id) };
            Target { id, version, is_own, scope }
        })
        .collect();
    shown(cx, pass, served, &rules, &targets).await;
    let judgements: Vec<_> = targets.iter().map(|target| judge(cx, pass, served, &rules, target)).collect();
    let mut judged: Vec<Judged> =
        futures::stream::iter(judgements).buffer_unordered(CONCURRENT_REQUESTS).collect().await;
    // What ran to its end may be gone, and has no health any more; while it is there, it tells how it ended.
    let has_run = |id: &ObjectId| owned.0.get(id).is_some_and(|entry| entry.state == State::Finished);
    judged.retain(|judged| !(judged.health.is_absent() && has_run(&judged.id)));
    judged.sort_by(|a, b| a.id.cmp(&b.id));
    let is_own = |judged: &Judged| (judged.id.clone(), own.contains_key(&judged.id));
    let objects = judged.iter().map(is_own).collect();
    let timeout = spec.timeout.into();
    let waited = pass.waiting_since.map(|since| pass.started_at.duration_since(since));
    let patience = Patience { revision: &pass.revision.name, timeout, waited };
    let (verdict, end) = conclude(judged, &patience, redactor);
    Ok(Some(Looked { verdict, end, objects }))
}

/// An object to look at.
struct Target<'a> {
    id: &'a ObjectId,
    version: &'a str,
    is_own: bool,
    /// Of the watch that shows it.
    scope: Scope,
}

impl Target<'_> {
    /// What the watches show of it; `None`: not how it is now.
    fn known(&self, cx: &Context, sync: &SyncKey, rules: &HealthRules) -> Option<Health> {
        let (id, watched) = (self.id, locked(&cx.watches.watched));
        match self.is_own {
            // It was applied; that is all there is to know of it.
            true if !rules.contains(&id.kind) && !health::has_rule(&id.kind) => {
                Some(watched.health(id).unwrap_or_else(Health::exists))
            }
            true => watched.health(id),
            false => watched.foreign_health(id, sync),
        }
    }
}

/// Gives the watches the moment they need to show what was applied last. What they show later is told to the Sync.
async fn shown(cx: &Context, pass: &Pass, served: &Served, rules: &HealthRules, targets: &[Target<'_>]) {
    let deadline = tokio::time::Instant::now() + SHOWN_TIMEOUT;
    for target in targets.iter().filter(|target| served.kinds.serves(&target.id.kind)) {
        loop {
            // Asked for first, so that nothing is missed.
            let mut next = std::pin::pin!(cx.watches.next_shown());
            next.as_mut().enable();
            let is_known = target.known(cx, &pass.key, rules).is_some();
            if is_known || cx.watches.failure(&target.scope).is_some() {
                break;
            }
            tokio::select! {
                () = next => {}
                () = tokio::time::sleep_until(deadline) => return,
                () = pass.halt.cancelled() => return,
            }
        }
    }
}

/// Watches what is somebody else's, and waits for the first that is said of it, a moment only.
async fn watch(cx: &Context, pass: &Pass, served: &Served, foreign: &[&ObjectId]) {
    let deadline = tokio::time::Instant::now() + SHOWN_TIMEOUT;
    for id in foreign {
        let scope = Scope::named(id);
        let Some(mut listing) = cx.watches.ensure(&cx.cluster, served, &pass.key, &scope) else { continue };
        let first = listing.wait_for(|listing| *listing != Listing::NotYet);
        let _ = tokio::time::timeout_at(deadline, first).await;
    }
}

/// By what the watches show. Only what cannot be watched is read.
async fn judge(cx: &Context, pass: &Pass, served: &Served, rules: &HealthRules, target: &Target<'_>) -> Judged {
    let judged = |health, is_watched| Judged { id: target.id.clone(), health, is_watched };
    if let Some(health) = target.known(cx, &pass.key, rules) {
        return judged(health, true);
    }
    if !served.kinds.serves(&target.id.kind) {
        let health = Health::unknown("NotServed", format!("its kind {} is not served", target.id.kind));
        return judged(health, false);
    }
    if cx.watches.failure(&target.scope).is_none() {
        return judged(Health::unknown("NotShown", "its watch has not shown yet how it is now".to_owned()), true);
    }
    let health = match read(cx, served, rules, target).await {
        Ok(health) => health,
        Err(error) => Health::unknown("NotRead", error.cause()),
    };
    judged(health, false)
}

/// Judges an object by its body, and a workload that is on its way by its Pods, too.
async fn read(cx: &Context, served: &Served, rules: &HealthRules, target: &Target<'_>) -> Result<Health, RequestError> {
    let id = target.id;
    let Some(body) = cx.cluster.body(served, id, target.version).await? else { return Ok(Health::absent()) };
    let selector = health::selector_of(&body).filter(|_| !rules.contains(&id.kind));
    let pods = match &selector {
        Some(selector) => cx.cluster.pods(selector).await?,
        None => Vec::new(),
    };
    Ok(evaluate(rules.clone(), body, pods).await)
}

/// Expressions may take a while: not on a thread that others wait for.
async fn evaluate(rules: HealthRules, body: Value, pods: Vec<Value>) -> Health {
    let judged = blocking(move || Ok(health::judge_pods(&rules.judge(&body), &pods))).await;
    judged.unwrap_or_else(|failure| Health::unknown("NotJudged", failure.message))
}

/// What the Healthy condition is to say between passes of what the last one looked at, from what the watches show and nothing
/// else; `None`: that is not enough.
#[must_use]
pub fn between(cx: &Context, sync: &Sync, objects: &Objects) -> Option<Verdict> {
    if !is_asked(&sync.spec) {
        return None;
    }
    let cx = cx.acting_for(sync);
    let key = SyncKey { namespace: sync.namespace().unwrap_or_default(), name: sync.name_any() };
    let watched = locked(&cx.watches.watched);
    let mut judged = Vec::new();
    for (id, is_own) in objects {
        let health = match is_own {
            true => watched.health(id),
            false => watched.foreign_health(id, &key),
        }?;
        // It ran to its end: that it is gone then is how it should be.
        if !(health.is_absent() && watched.finished(id).is_some()) {
            judged.push(Judged { id: id.clone(), health, is_watched: true });
        }
    }
    Some(verdict(&judged))
}
