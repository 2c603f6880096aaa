//! Reads the cluster for one pass: what an apply of each object would do, and what is left of what Git no longer has.
//!
//! Knows requests and the watches' index. Must not decide anything from what it sees.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt as _;
use towline_plan::desired::Desired;
use towline_plan::diff::Detail;
use towline_plan::inventory::{Entry, Inventory as Owned, State};
use towline_plan::letting::Letting;
use towline_plan::object::{GroupKind, ObjectId, SyncKey};
use towline_plan::observed::{Found, Judgement, Live, Observed, Seen};
use towline_plan::ownership::Other;
use towline_plan::part::is_precious;
use towline_plan::policy::Ssa;
use towline_plan::redact::Redactor;
use towline_plan::schedule::sync::Look;
use towline_plan::watched::Scope;

use super::outcome::Failure;
use super::{Context, Pass, verify};
use crate::api::{DriftMode, Inventory, ResourceExt as _, Sync};
use crate::cluster::{Applied, CONCURRENT_REQUESTS, Listing, RequestError, Served, locked};

/// How long the first list of a kind may take: 20,000 objects' metadata come in about 2 s.
const FIRST_LIST_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a live object is left alone.
const ASKS: &str = "the live object has towline.dev/reconcile: disabled or towline.dev/ssa: Ignore";

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
    let ids = desired.iter().map(|d| &d.id).chain(left.iter().copied());
    let scopes: BTreeSet<Scope> = ids.map(|id| cx.watches.scope_of(id)).collect();
    let unserved = watch(cx, pass, served, &scopes).await;
    if pass.look == Look::Listed && pass.sync.spec.drift_mode() != DriftMode::Disabled {
        verify::verify(cx, pass, served, &scopes).await;
    }
    let verified = verified(cx, pass, desired, owned);
    let unverified = desired.iter().filter(|d| !verified.contains_key(&d.id));
    let questions: Vec<_> = unverified
        .map(|object| async move {
            (object.id.clone(), judge(cx, pass, served, object, owned.0.get(&object.id), redactor).await)
        })
        .collect();
    let finished = finished(cx, desired);
    let mut observed = Observed { judgements: verified, finished, ..Observed::default() };
    let mut answers = futures::stream::iter(questions).buffer_unordered(CONCURRENT_REQUESTS);
    while let Some((id, seen)) = answers.next().await {
        if let Some(owner) = seen.owner.filter(|owner| *owner != pass.key) {
            observed.owners.insert(id.clone(), owner);
        }
        observed.judgements.insert(id, seen.judgement);
    }
    drop(answers);
    observed.defined = left.iter().filter_map(|id| Some(((*id).clone(), served.defined_by(id)?.clone()))).collect();
    observed.others = others(cx, observed.owners.values()).await;
    let looks: Vec<_> = left
        .into_iter()
        .map(|id| {
            let version = owned.0.get(id).map_or("", |entry| &entry.version);
            let unserved = &unserved;
            async move {
                let seen = match unserved.get(&id.kind) {
                    Some(why) => Seen::Unknown(why.clone()),
                    // What cannot be looked at holds up itself, not the objects Git wants.
                    None => look(cx, pass, served, id, version)
                        .await
                        .unwrap_or_else(|e| Seen::Unknown(towline_daemon::error::chain(&e))),
                };
                (id.clone(), seen)
            }
        })
        .collect();
    observed.left = futures::stream::iter(looks).buffer_unordered(CONCURRENT_REQUESTS).collect().await;
    Ok(observed)
}

/// Starts the watches of all kinds in use and waits until each has its first list or has failed: an object that cannot be
/// watched is looked at by its name. Answers with the kinds of which nothing can be known, and why.
async fn watch<'a>(
    cx: &Context,
    pass: &Pass,
    served: &Served,
    scopes: &'a BTreeSet<Scope>,
) -> BTreeMap<&'a GroupKind, String> {
    let start = |scope| (scope, cx.watches.ensure(&cx.cluster, served, &pass.key, scope));
    let started: Vec<(&Scope, _)> = scopes.iter().map(start).collect();
    let deadline = tokio::time::Instant::now() + FIRST_LIST_TIMEOUT;
    let mut unserved = BTreeMap::new();
    for (scope, listing) in started {
        let Some(mut listing) = listing.filter(|_| served.kinds.serves(&scope.kind)) else {
            unserved.insert(&scope.kind, not_served(served, &scope.kind));
            continue;
        };
        let seen = tokio::select! {
            seen = tokio::time::timeout_at(deadline, listing.wait_for(|listing| *listing != Listing::NotYet)) => {
                // A watch that ended meanwhile is as good as none yet: the next pass starts another.
                seen.ok().and_then(Result::ok).map_or(Listing::NotYet, |listing| listing.clone())
            }
            () = pass.halt.cancelled() => Listing::NotYet,
        };
        if seen != Listing::Listed {
            cx.watches.tell_when_listed(scope, &pass.key);
        }
    }
    unserved
}

fn not_served(served: &Served, kind: &GroupKind) -> String {
    match served.is_gone(kind) {
        true => "its kind is not served now: nothing is known of it".to_owned(),
        false => format!("the API group {} does not answer: nothing is known of it", kind.group),
    }
}

/// The objects that need no request: found equal to Git before, and unmoved since. After a change of settings everything is
/// asked anew.
fn verified(cx: &Context, pass: &Pass, desired: &[Desired], owned: &Owned) -> BTreeMap<ObjectId, Judgement> {
    let mode = pass.sync.spec.drift_mode();
    if mode == DriftMode::Disabled {
        // What was applied as it is now is not looked at, whatever became of it.
        let applied = desired.iter().filter(|d| is_applied(d, owned.0.get(&d.id)));
        return applied.map(|d| (d.id.clone(), Judgement::Clean(None))).collect();
    }
    if pass.look == Look::All {
        return BTreeMap::new();
    }
    let watched = locked(&cx.watches.watched);
    let known = |d: &Desired| match watched.found_clean(&d.id, &d.digest) {
        Some(found) => Some(Judgement::Clean(Some(found))),
        None if mode == DriftMode::Warn || d.policy.ssa == Ssa::IfNotPresent => {
            watched.drift(&d.id, &d.digest).cloned()
        }
        None => None,
    };
    desired.iter().filter_map(|d| Some((d.id.clone(), known(d)?))).collect()
}

/// Whether Git did not change since it was applied.
fn is_applied(object: &Desired, entry: Option<&Entry>) -> bool {
    entry.is_some_and(|entry| entry.digest.as_deref() == Some(&object.digest))
}

/// The Jobs and Pods that were seen to have run to their end.
fn finished(cx: &Context, desired: &[Desired]) -> BTreeMap<ObjectId, String> {
    let watched = locked(&cx.watches.watched);
    desired.iter().filter_map(|d| Some((d.id.clone(), watched.finished(&d.id)?.to_owned()))).collect()
}

/// What an apply of one object would do, and whose the object is by its labels now: the answer to a forced apply shows ours.
pub(super) struct Judged {
    pub judgement: Judgement,
    pub owner: Option<SyncKey>,
}

/// Asks the API server what an apply would do.
pub(super) async fn judge(
    cx: &Context,
    pass: &Pass,
    served: &Served,
    object: &Desired,
    entry: Option<&Entry>,
    redactor: &Redactor,
) -> Judged {
    let only = |judgement| Judged { judgement, owner: None };
    // A definition of the same commit may bring the kind, or one more version of it.
    if !served.kinds.serves_in(&object.id.kind, &object.version) {
        return only(Judgement::Later);
    }
    if pass.halt.is_cancelled() {
        return only(Judgement::Unjudged("the pass was cut short".to_owned()));
    }
    let known = match known(cx, served, object).await {
        Ok(known) => known,
        Err(error) => return only(refused(object, &error, redactor)),
    };
    let has_run = entry.is_some_and(|e| e.state == State::Finished && e.digest.as_deref() == Some(&object.digest));
    if has_run && known.is_none() {
        return only(Judgement::Absent);
    }
    let owner = known.as_ref().and_then(|live| live.owner.clone());
    let judgement = match left_alone(cx, pass, object, known.as_ref()) {
        Some(judgement) => judgement,
        None => match cx.cluster.dry_run(served, object, known.is_some()).await {
            Ok(answer) => {
                let judgement = compare(cx, pass, object, known.as_ref(), &answer);
                detailed(cx, pass, served, object, entry, judgement, redactor).await
            }
            Err(error) if error.is_invalid() && object.policy.force => {
                immutable(cx, pass, served, object, &error, redactor).await
            }
            Err(error) => match &known {
                Some(live) if error.is_refusal() => still_held(cx, served, object, live, &error, redactor).await,
                _ => refused(object, &error, redactor),
            },
        },
    };
    Judged { judgement, owner }
}

/// A dry-run without a field that is Towline's alone removes it, and what must have it is refused. The write lets go of it
/// first, so what counts is whether the object could be with it.
async fn still_held(
    cx: &Context,
    served: &Served,
    object: &Desired,
    live: &Live,
    error: &RequestError,
    redactor: &Redactor,
) -> Judgement {
    if object.ignored.rest.is_none() {
        return refused(object, error, redactor);
    }
    match cx.cluster.holds_ignored(served, object).await {
        Ok(false) => refused(object, error, redactor),
        Ok(true) => match cx.cluster.dry_run(served, object, false).await {
            Ok(_) => Judgement::Differs(found(live)),
            Err(error) => refused(object, &error, redactor),
        },
        Err(error) => refused(object, &error, redactor),
    }
}

/// The live object before anything is asked of it: as the watch has it, or, where there is no watch or that is not enough, as
/// it is looked at.
async fn known(cx: &Context, served: &Served, object: &Desired) -> Result<Option<Live>, RequestError> {
    let (seen, is_synced) = {
        let watched = locked(&cx.watches.watched);
        (watched.live(&object.id).cloned(), watched.is_synced(&cx.watches.scope_of(&object.id)))
    };
    // What nobody owns is not in the watch. What a watch showed that is lost may be long ago.
    // Whether it exists decides what is applied of it.
    let matters = object.policy.ssa == Ssa::IfNotPresent || object.ignored.rest.is_some();
    if is_synced && (seen.is_some() || !matters) {
        return Ok(seen);
    }
    match cx.cluster.look(served, &object.id, &object.version).await {
        // Who may apply and not look does without.
        Err(error) if error.is_refusal() && object.ignored.rest.is_none() => Ok(None),
        answer => answer,
    }
}

/// An object that is not to be applied as it is. That it changes is told all the same. What is only to be there, and is nobody's,
/// no watch shows: it is looked at again at the interval.
fn left_alone(cx: &Context, pass: &Pass, object: &Desired, known: Option<&Live>) -> Option<Judgement> {
    let live = known.filter(|live| live.left_alone || object.policy.ssa == Ssa::IfNotPresent)?;
    let found = found(live);
    match &live.owner {
        None if !live.left_alone => {
            cx.watches.remember_drift(&pass.key, &object.id, &object.digest, live, found.clone())
        }
        _ => locked(&cx.watches.watched).look_out(&pass.key, &object.id, live),
    }
    Some(match live.left_alone {
        true => Judgement::LeftAlone(ASKS.to_owned()),
        false => Judgement::Differs(found),
    })
}

fn found(live: &Live) -> Found {
    let Live { uid, resource_version, owner, deleting, last_writer, .. } = live.clone();
    Found { uid, resource_version, owner, deleting, last_writer, detail: None, remembered: false }
}

/// A dry-run that changes nothing answers with the live object to the byte; `known` is that object's metadata.
fn compare(cx: &Context, pass: &Pass, object: &Desired, known: Option<&Live>, answer: &Applied) -> Judgement {
    if answer.created {
        return Judgement::Absent;
    }
    // Of an object that nobody owns yet only this answer tells.
    if answer.live.left_alone {
        return Judgement::LeftAlone(ASKS.to_owned());
    }
    let mut watched = locked(&cx.watches.watched);
    let is_watched = watched.is_synced(&cx.watches.scope_of(&object.id));
    let seen = watched.live(&object.id).filter(|_| is_watched).or(known);
    let last_writer = seen.and_then(|live| live.last_writer.clone());
    // The answer to a forced apply shows our labels.
    let owner = known.and_then(|live| live.owner.clone());
    let found = Found { last_writer, owner, ..found(&answer.live) };
    // Where the watch is not at the version the dry-run saw, nothing can be compared: the apply itself will tell.
    let same = seen.is_some_and(|live| {
        live.resource_version == answer.live.resource_version && live.fingerprint == answer.live.fingerprint
    });
    if !same {
        return Judgement::Differs(found);
    }
    watched.remember(&pass.key, &object.id, &object.digest, &answer.live);
    Judgement::Clean(Some(found))
}

/// What drifted, where Git did not change: only such objects are read as a whole. What is to stay so is remembered, so that it
/// is not asked about again.
async fn detailed(
    cx: &Context,
    pass: &Pass,
    served: &Served,
    object: &Desired,
    entry: Option<&Entry>,
    judgement: Judgement,
    redactor: &Redactor,
) -> Judgement {
    let stays = pass.sync.spec.drift_mode() == DriftMode::Warn;
    match judgement {
        Judgement::Differs(found) if is_applied(object, entry) => {
            // That it drifted is known; what cannot be told is left out.
            let Some((live, seen, wanted)) = cx.cluster.compared(served, object).await.ok().flatten() else {
                return Judgement::Differs(found);
            };
            let detail = Detail::of(&object.id, &seen, &wanted, redactor);
            if stays && detail.fields.is_empty() {
                // Only the record of who has what is another one: nothing is to be reported.
                cx.watches.remember(&pass.key, &object.id, &object.digest, &live);
                return Judgement::Clean(Some(found));
            }
            let found = Found { detail: Some(detail), ..found };
            if stays {
                cx.watches.remember_drift(&pass.key, &object.id, &object.digest, &live, found.clone());
            }
            Judgement::Differs(found)
        }
        Judgement::Absent if stays && is_applied(object, entry) => {
            let mut watched = locked(&cx.watches.watched);
            if watched.is_synced(&cx.watches.scope_of(&object.id)) {
                watched.remember_absence(&pass.key, &object.id, &object.digest);
            }
            Judgement::Absent
        }
        judgement => judgement,
    }
}

/// An object that allows to be created anew, and that the API server finds wrong: if it would create it so, then what is wrong
/// is the change.
async fn immutable(
    cx: &Context,
    pass: &Pass,
    served: &Served,
    object: &Desired,
    error: &RequestError,
    redactor: &Redactor,
) -> Judgement {
    if is_precious(&object.id.kind) {
        return refused(object, error, redactor);
    }
    match cx.cluster.look(served, &object.id, &object.version).await {
        Ok(Some(live)) if live.deleting => Judgement::Going,
        // What may not be pruned may not be deleted for this either.
        Ok(Some(live)) if !is_ours_to_delete(pass, &live) => refused(object, error, redactor),
        Ok(Some(live)) => match cx.cluster.would_create(served, object).await {
            Ok(()) => Judgement::Immutable(told(object, error, redactor), found(&live)),
            Err(other) if other.is_refusal() => refused(object, error, redactor),
            Err(other) => refused(object, &other, redactor),
        },
        Ok(None) => refused(object, error, redactor),
        Err(other) => refused(object, &other, redactor),
    }
}

/// Whether what protects objects from being pruned lets this one be deleted.
pub(super) fn is_ours_to_delete(pass: &Pass, live: &Live) -> bool {
    let is_unprotected = matches!(live.letting, Letting::Late | Letting::Early);
    live.owner.as_ref() == Some(&pass.key) && live.applied && is_unprotected
}

/// What is known of Syncs that live objects name and that are not this one.
async fn others(cx: &Context, owners: impl Iterator<Item = &SyncKey>) -> BTreeMap<SyncKey, Other> {
    let owners: BTreeSet<SyncKey> = owners.cloned().collect();
    let questions = owners.into_iter().map(|owner| async move {
        let known = other(cx, &owner).await.unwrap_or_else(|error| {
            Other::Unclear(format!("whether that has it cannot be told: {}", towline_daemon::error::chain(&error)))
        });
        (owner, known)
    });
    futures::stream::iter(questions.collect::<Vec<_>>()).buffer_unordered(CONCURRENT_REQUESTS).collect().await
}

async fn other(cx: &Context, owner: &SyncKey) -> Result<Other, RequestError> {
    let SyncKey { namespace, name } = owner;
    // The Sync first: while it exists, its inventory is not collected.
    let sync = cx.cluster.read::<Sync>(namespace, name).await?;
    let inventory = cx.cluster.read::<Inventory>(namespace, name).await?;
    Ok(match (sync, inventory) {
        (None, None) => Other::Gone,
        (Some(sync), Some(inventory)) if sync.uid().as_deref() == Some(&inventory.spec.sync_uid) => {
            match Owned::from_lines(&inventory.spec.entries, &inventory.spec.digest) {
                Ok(owned) => Other::Owns(owned),
                Err(error) => Other::Unclear(format!("its inventory cannot be believed: {error}")),
            }
        }
        (Some(_), _) => Other::Unclear("that has no inventory yet that says what it owns".to_owned()),
        (None, Some(_)) => Other::Unclear("that is being deleted".to_owned()),
    })
}

fn refused(object: &Desired, error: &RequestError, redactor: &Redactor) -> Judgement {
    let in_earlier_stage = error.is_missing_namespace() && object.namespace_in_set;
    if in_earlier_stage || error.is_unserved() {
        return Judgement::Later;
    }
    let text = told(object, error, redactor);
    match error.is_refusal() {
        true => Judgement::Refused(text),
        false => Judgement::Unjudged(text),
    }
}

fn told(object: &Desired, error: &RequestError, redactor: &Redactor) -> String {
    let about = object.id.to_string();
    format!("{about} ({}): {}", object.origin, redactor.clean(&about, &error.cause()))
}

/// What is left of an object that Git no longer has. Only what would be deleted is taken from the watch, because it is looked
/// at again before that; what would be forgotten is not looked at again, and the watch may be behind. What asks is waited for
/// by a look, too: a watch that is behind would have it asked for ever.
async fn look(cx: &Context, pass: &Pass, served: &Served, id: &ObjectId, version: &str) -> Result<Seen, RequestError> {
    let seen = {
        let watched = locked(&cx.watches.watched);
        // What a watch showed that is lost may be long ago.
        watched.live(id).filter(|_| watched.is_synced(&cx.watches.scope_of(id))).cloned()
    };
    let is_sure = |live: &Live| match live.letting {
        Letting::Late | Letting::Early | Letting::Unreadable => live.applied && live.owner.as_ref() == Some(&pass.key),
        Letting::Asks | Letting::Never => false,
    };
    if let Some(live) = seen.filter(is_sure) {
        return Ok(Seen::Present(live));
    }
    Ok(match cx.cluster.look(served, id, version).await? {
        None => Seen::Absent,
        Some(live) if live.owner.is_none() => Seen::Unlabelled,
        Some(live) => Seen::Present(live),
    })
}
