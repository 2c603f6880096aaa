//! How healthy what a Sync applied is, and what else it was told to look at: after the apply, and between passes.
//!
//! Asks the watches' index first; a request is made only where that cannot know. Waits for nothing but for the watch to show
//! what was applied a moment ago: what is not healthy yet ends the pass.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt as _;
use serde_json::Value;
use towline_plan::health::{self, Health, HealthExprs, HealthRules};
use towline_plan::inventory::{Inventory as Owned, State};
use towline_plan::naming::list;
use towline_plan::object::{GroupKind, ObjectId, SyncKey, group_version};
use towline_plan::redact::Redactor;
use towline_plan::wait::Wait;
use towline_plan::watched::Scope;

use super::outcome::{End, Failure, Reason};
use super::{Context, Pass, blocking};
use crate::api::{ConditionStatus, HealthCheckReference, ResourceExt as _, Sync, SyncSpec, Verdict};
use crate::cluster::{CONCURRENT_REQUESTS, Listing, RequestError, Served, locked};

/// How long the watch may be behind what was applied a moment ago. It tells of it within some 10 ms; what it has not told by
/// then is looked at with the next pass.
const SHOWN_TIMEOUT: Duration = Duration::from_secs(2);
const SHOWN_POLL: Duration = Duration::from_millis(20);
/// What a look came to.
pub(super) struct Looked {
    /// What the Healthy condition says of it.
    pub verdict: Verdict,
    /// Why the pass ends here; `None`: everything is healthy.
    pub end: Option<End>,
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

/// The watches of objects that are somebody else's.
pub(super) fn scopes(sync: &Sync, served: &Served, owned: &Owned) -> BTreeSet<Scope> {
    let checks = checks(sync, |kind| served.kinds.is_namespaced(kind));
    checks.keys().filter(|id| !owned.0.contains_key(*id)).map(Scope::named).collect()
}

/// Looks at what was applied, each with its version. `None`: the Sync asks for nothing of it.
pub(super) async fn look<'a>(
    cx: &Context,
    pass: &Pass,
    served: &Served,
    applied: impl Iterator<Item = (&'a ObjectId, &'a str)>,
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
    let mut targets: BTreeMap<&ObjectId, &String> = checks.iter().collect();
    if spec.wait {
        targets.extend(own.iter());
    }
    shown(cx, pass, own.keys().filter(|id| targets.contains_key(id))).await;
    let judgements: Vec<_> = targets
        .iter()
        .map(|(id, version)| {
            let (rules, is_own) = (rules.clone(), own.contains_key(*id));
            async move {
                let health = judge(cx, pass, served, &rules, (id, version.as_str()), is_own).await;
                ((*id).clone(), health)
            }
        })
        .collect();
    let mut judged: Vec<(ObjectId, Health)> =
        futures::stream::iter(judgements).buffer_unordered(CONCURRENT_REQUESTS).collect().await;
    judged.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(Some(conclude(pass, judged, redactor)))
}

/// Gives the watch the moment it needs to show what was applied last.
async fn shown<'a>(cx: &Context, pass: &Pass, own: impl Iterator<Item = &'a ObjectId>) {
    let deadline = tokio::time::Instant::now() + SHOWN_TIMEOUT;
    let is_shown = |id: &ObjectId| {
        let watched = locked(&cx.watches.watched);
        !watched.is_synced(&cx.watches.scope_of(id)) || watched.health(id).is_some()
    };
    for id in own {
        while !is_shown(id) && tokio::time::Instant::now() < deadline && !pass.halt.is_cancelled() {
            tokio::time::sleep(SHOWN_POLL).await;
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

async fn judge(
    cx: &Context,
    pass: &Pass,
    served: &Served,
    rules: &HealthRules,
    object: (&ObjectId, &str),
    is_own: bool,
) -> Health {
    let (id, version) = object;
    let has_own_rule = rules.contains(&id.kind);
    let known = {
        let watched = locked(&cx.watches.watched);
        match is_own {
            true => watched.health(id),
            false => watched.foreign_health(id, &pass.key),
        }
    };
    match known {
        // Everything there is to know of it.
        Some(health) if !has_own_rule => return health,
        None if is_own && !has_own_rule && !health::has_rule(&id.kind) => return Health::exists(),
        _ => {}
    }
    match read(cx, served, rules, id, version).await {
        Ok(health) => health,
        Err(error) => known.unwrap_or_else(|| Health::unknown("NotRead", error.cause())),
    }
}

/// Judges an object by its body, and a workload that is on its way by its Pods, too.
async fn read(
    cx: &Context,
    served: &Served,
    rules: &HealthRules,
    id: &ObjectId,
    version: &str,
) -> Result<Health, RequestError> {
    if !served.kinds.serves(&id.kind) {
        return Ok(Health::unknown("NotServed", format!("its kind {} is not served", id.kind)));
    }
    let Some(body) = cx.cluster.body(served, id, version).await? else { return Ok(Health::absent()) };
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

fn conclude(pass: &Pass, judged: Vec<(ObjectId, Health)>, redactor: &Redactor) -> Looked {
    let verdict = verdict(&judged);
    let count = judged.len();
    let unwell: Vec<(ObjectId, Health)> = judged.into_iter().filter(|(_, health)| !health.is_current()).collect();
    if unwell.is_empty() {
        tracing::debug!(count, "everything is healthy");
        return Looked { verdict, end: None };
    }
    let told = |(id, health): &(ObjectId, Health)| {
        let why = format!("{}: {}", health.reason, health.message);
        (id.clone(), redactor.clean(&id.to_string(), &why))
    };
    let is_failed = unwell.iter().any(|(_, health)| health.is_failed());
    let waits = Wait::Healthy(unwell.iter().map(told).collect());
    let timeout: Duration = pass.sync.spec.timeout.into();
    let waited = pass.waiting_since.map(|since| pass.started_at.duration_since(since).as_secs_f64());
    let is_overdue = waited.is_some_and(|waited| waited >= timeout.as_secs_f64());
    if !is_failed && !is_overdue {
        return Looked { verdict, end: Some(End::Waiting(vec![waits])) };
    }
    let failed: Vec<_> = unwell.iter().filter(|(_, health)| !is_failed || health.is_failed()).map(told).collect();
    let names = list(failed.iter().map(|(id, why)| format!("{id} ({why})")));
    let message = match is_failed {
        true => format!("{} is applied and not healthy, and waiting does not help: {names}", pass.revision.name),
        false => {
            format!("{} is applied and not healthy within {} s: {names}", pass.revision.name, timeout.as_secs_f64())
        }
    };
    let failure = Failure { reason: Reason::HealthCheckFailed, message: message.clone(), retryable: true };
    let verdict = Verdict { status: ConditionStatus::False, ..verdict };
    Looked { verdict, end: Some(End::Failed(failure)) }
}

/// What the Healthy condition says. Only names and reasons: it is also written where no redactor is at hand.
fn verdict(judged: &[(ObjectId, Health)]) -> Verdict {
    let unwell: Vec<&(ObjectId, Health)> = judged.iter().filter(|(_, health)| !health.is_current()).collect();
    let names = || list(unwell.iter().map(|(id, health)| format!("{id} ({})", health.reason)));
    let (status, reason, message) = if unwell.is_empty() {
        (ConditionStatus::True, "Succeeded", format!("{} healthy", judged.len()))
    } else if unwell.iter().any(|(_, health)| health.is_failed()) {
        (ConditionStatus::False, "HealthCheckFailed", format!("not healthy: {}", names()))
    } else {
        (ConditionStatus::Unknown, "Progressing", format!("not healthy yet: {}", names()))
    };
    Verdict { status, reason: reason.to_owned(), message }
}

/// What the Healthy condition is to say between passes, from what the watches show and nothing else; `None`: that is not
/// enough.
#[must_use]
pub fn between(cx: &Context, sync: &Sync, owned: &Owned) -> Option<Verdict> {
    let spec = &sync.spec;
    if !is_asked(spec) {
        return None;
    }
    let cx = cx.acting_for(sync);
    let key = SyncKey { namespace: sync.namespace().unwrap_or_default(), name: sync.name_any() };
    let served = |id: &ObjectId| locked(&cx.watches.watched).is_synced(&Scope::named(id));
    // A kind without namespaces is watched without one.
    let checks = checks(sync, |_| true).into_keys().map(|id| match served(&id) {
        true => id,
        false => ObjectId { namespace: None, ..id },
    });
    let applied = owned.0.iter().filter(|(_, entry)| spec.wait && entry.state == State::Applied).map(|(id, _)| id);
    let targets: BTreeSet<ObjectId> = checks.chain(applied.cloned()).collect();
    let watched = locked(&cx.watches.watched);
    let health = |id: ObjectId| {
        let known = watched.health(&id).filter(|_| owned.0.contains_key(&id));
        let known = known.or_else(|| watched.foreign_health(&id, &key))?;
        Some((id, known))
    };
    let judged: Option<Vec<_>> = targets.into_iter().map(health).collect();
    judged.map(|judged| verdict(&judged))
}
