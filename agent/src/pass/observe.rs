//! Reads the cluster for one pass: what an apply of each object would do, and what is left of what Git no longer has.
//!
//! Knows requests and the watches' index. Must not decide anything from what it sees.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt as _;
use towline_plan::desired::Desired;
use towline_plan::inventory::Inventory as Owned;
use towline_plan::object::{GroupKind, ObjectId};
use towline_plan::observed::{Judgement, Observed, Seen};
use towline_plan::redact::Redactor;
use towline_plan::schedule::sync::Look;

use super::outcome::Failure;
use super::{Context, Pass};
use crate::cluster::{Applied, CONCURRENT_REQUESTS, RequestError, Served, locked};

/// How long the first list of a kind may take: 20,000 objects' metadata come in about 2 s.
const FIRST_LIST_TIMEOUT: Duration = Duration::from_secs(30);

/// Observes everything a decision needs.
pub(super) async fn observe(
    cx: &Context,
    pass: &Pass,
    served: &Served,
    desired: &[Desired],
    owned: &Owned,
    redactor: &Redactor,
) -> Result<Observed, Failure> {
    let wanted: BTreeSet<&ObjectId> = desired.iter().map(|d| &d.id).collect();
    let left: Vec<&ObjectId> = owned.0.keys().filter(|id| !wanted.contains(id)).collect();
    let kinds = desired.iter().map(|d| &d.id).chain(left.iter().copied()).map(|id| &id.kind).collect();
    let unlisted = watch(cx, pass, served, kinds).await;
    let verified = verified(cx, pass, desired);
    let unverified = desired.iter().filter(|d| !verified.contains_key(&d.id));
    let questions: Vec<_> = unverified
        .map(|object| async move { (object.id.clone(), judge(cx, pass, served, object, redactor).await) })
        .collect();
    let judgements = futures::stream::iter(questions).buffer_unordered(CONCURRENT_REQUESTS).collect().await;
    let mut observed = Observed { judgements, left: BTreeMap::new() };
    observed.judgements.extend(verified);
    for id in left {
        let version = owned.0.get(id).map_or("", |entry| &entry.version);
        let seen = match unlisted.contains(&id.kind) {
            true => Seen::Unknown,
            false => look(cx, served, id, version).await?,
        };
        observed.left.insert(id.clone(), seen);
    }
    Ok(observed)
}

/// Starts the watches of all kinds in use and waits for their first lists. Answers with the kinds of which nothing is known.
async fn watch<'a>(
    cx: &Context,
    pass: &Pass,
    served: &Served,
    kinds: BTreeSet<&'a GroupKind>,
) -> BTreeSet<&'a GroupKind> {
    let started: Vec<_> = kinds.into_iter().map(|kind| (kind, cx.watches.ensure(&cx.cluster, served, kind))).collect();
    let deadline = tokio::time::Instant::now() + FIRST_LIST_TIMEOUT;
    let mut unlisted = BTreeSet::new();
    for (kind, synced) in started {
        let listed = match synced {
            None => false,
            Some(mut synced) => tokio::select! {
                listed = tokio::time::timeout_at(deadline, synced.wait_for(|synced| *synced)) => matches!(listed, Ok(Ok(_))),
                () = pass.halt.cancelled() => false,
            },
        };
        if !listed || !served.kinds.serves(kind) {
            unlisted.insert(kind);
        }
    }
    unlisted
}

/// The objects that need no request: found equal to Git before, and unmoved since. At the interval and after a change of
/// settings everything is asked anew.
fn verified(cx: &Context, pass: &Pass, desired: &[Desired]) -> BTreeMap<ObjectId, Judgement> {
    if pass.look == Look::All {
        return BTreeMap::new();
    }
    let watched = locked(&cx.watches.watched);
    let clean = desired.iter().filter(|d| watched.clean(&d.id, &d.digest).is_some());
    clean.map(|d| (d.id.clone(), Judgement::Clean)).collect()
}

/// Asks the API server what an apply would do.
pub(super) async fn judge(
    cx: &Context,
    pass: &Pass,
    served: &Served,
    object: &Desired,
    redactor: &Redactor,
) -> Judgement {
    // A definition of the same commit may bring the kind, or one more version of it.
    if !served.kinds.serves_in(&object.id.kind, &object.version) {
        return Judgement::Later;
    }
    if pass.halt.is_cancelled() {
        return Judgement::Unjudged("the pass was cut short".to_owned());
    }
    match cx.cluster.dry_run(served, object).await {
        Ok(answer) => compare(cx, pass, object, &answer),
        Err(error) => refused(object, &error, redactor),
    }
}

/// A dry-run that changes nothing answers with the live object to the byte; the watch has that object's metadata.
fn compare(cx: &Context, pass: &Pass, object: &Desired, answer: &Applied) -> Judgement {
    if answer.created {
        return Judgement::Absent;
    }
    let mut watched = locked(&cx.watches.watched);
    let seen = watched.live(&object.id);
    let last_writer = seen.and_then(|live| live.last_writer.clone());
    // Where the watch is not at the version the dry-run saw, nothing can be compared: the apply itself will tell.
    let same = seen.is_some_and(|live| {
        live.resource_version == answer.live.resource_version && live.fingerprint == answer.live.fingerprint
    });
    if !same {
        return Judgement::Differs { last_writer };
    }
    watched.remember(&pass.key, &object.id, &object.digest, &answer.live);
    Judgement::Clean
}

fn refused(object: &Desired, error: &RequestError, redactor: &Redactor) -> Judgement {
    if error.is_missing_namespace() && object.namespace_in_set {
        return Judgement::Later;
    }
    let about = object.id.to_string();
    let text = format!("{} ({}): {}", about, object.origin, redactor.clean(&about, &error.cause()));
    match error.is_refusal() {
        true => Judgement::Refused(text),
        false => Judgement::Unjudged(text),
    }
}

/// What is left of an object that Git no longer has.
async fn look(cx: &Context, served: &Served, id: &ObjectId, version: &str) -> Result<Seen, Failure> {
    if let Some(live) = locked(&cx.watches.watched).live(id) {
        return Ok(Seen::Present(live.clone()));
    }
    // Not among what carries owner labels: gone, or its labels are.
    Ok(match cx.cluster.look(served, id, version).await? {
        None => Seen::Absent,
        Some(live) if live.owner.is_none() => Seen::Unlabelled,
        Some(live) => Seen::Present(live),
    })
}
