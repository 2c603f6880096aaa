//! The end of a Sync that is being deleted: what it owns is deleted or left in place, then the Sync may go.
//!
//! A short line of its own, which needs neither a source nor its mirror nor a revision: only what is owned, and what the
//! cluster says of it. Knows when objects stay whatever is owned. Must not know how they are deleted.

use std::collections::BTreeSet;

use towline_plan::check::{Ceiling, check};
use towline_plan::decide::{OnDrift, Situation, decide};
use towline_plan::naming::list;
use towline_plan::observed::{Observed, Seen};
use towline_plan::part::PruneRules;
use towline_plan::redact::Redactor;

use super::outcome::{End, Failure, Outcome};
use super::{Context, Pass, apply, inventory, observe};
use crate::api::{self, DeletionPolicy, Inventory, ResourceExt as _, Sync};
use crate::cluster::{RequestError, locked};

/// What a Sync says of its own deletion.
#[must_use]
pub(super) fn policy(sync: &Sync) -> DeletionPolicy {
    match sync.spec.deletion_policy {
        DeletionPolicy::MirrorPrune if sync.spec.prune => DeletionPolicy::Delete,
        DeletionPolicy::MirrorPrune => DeletionPolicy::Orphan,
        policy => policy,
    }
}

/// Deletes what a Sync owns, or says why it stays. Afterwards the Sync may go: see [`release`].
pub(super) async fn teardown(cx: &Context, pass: &Pass) -> Result<Outcome, Failure> {
    if let Some(why) = stays(cx, pass).await? {
        return Ok(Outcome::stopped(End::Left(Some(why)), None));
    }
    let served = cx.rediscover().await?;
    let nothing = Redactor::new(&[]);
    let owned = inventory::load(cx, pass, &[]).await?;
    let observed = Box::pin(observe::observe(cx, pass, &served, &[], &owned.inventory, &nothing)).await?;
    let rules =
        PruneRules { enabled: true, allow_kinds: pass.sync.spec.prune_policy.allow_kinds.iter().cloned().collect() };
    let plan = decide(Situation {
        sync: &pass.key,
        desired: Vec::new(),
        left_alone: &BTreeSet::new(),
        inventory: &owned.inventory,
        observed: &observed,
        claims: &locked(&cx.claims),
        prune: &rules,
        on_drift: OnDrift::default(),
        now: pass.started_at.as_second(),
    });
    // A person said that all of it goes: only a ceiling that somebody wrote down says otherwise.
    let ceiling = match super::ceiling(pass)? {
        Ceiling::Default => Ceiling::Lifted,
        ceiling => ceiling,
    };
    let plan = check(plan, ceiling, owned.rebuilt.as_deref());
    let mut done = Box::pin(apply::apply(cx, pass, served, owned, plan, &nothing)).await?;
    if let (End::Succeeded, Some(failure)) = (&done.end, unknown(&observed)) {
        done.end = End::Failed(failure);
    }
    let mut outcome = inventory::settle(cx, pass, done, None).await?;
    if outcome.end == End::Succeeded {
        outcome.end = End::Left(None);
    }
    Ok(outcome)
}

/// Why all objects stay, if they do. What the Sync says of itself comes first: it helps where nothing can be asked.
async fn stays(cx: &Context, pass: &Pass) -> Result<Option<String>, Failure> {
    let spec = &pass.sync.spec;
    if policy(&pass.sync) == DeletionPolicy::Orphan {
        let why = match spec.deletion_policy {
            DeletionPolicy::Orphan => "its deletionPolicy is Orphan",
            _ => "its prune is false",
        };
        return Ok(Some(why.to_owned()));
    }
    if spec.suspend {
        return Ok(Some("it is suspended".to_owned()));
    }
    let surroundings = async {
        if cx.cluster.loses_syncs().await? {
            return Ok(Some("the definition of Syncs is being deleted itself".to_owned()));
        }
        if cx.cluster.loses_namespace(&pass.key.namespace).await? {
            return Ok(Some("its namespace is being deleted".to_owned()));
        }
        let account = cx.cluster.acts_as();
        let exists = cx.cluster.account_exists(account).await?;
        Ok((!exists).then(|| format!("{account}, as which it acts, does not exist")))
    };
    // Not known is not "no": what is deleted by mistake must not take the workloads with it.
    surroundings.await.map_err(|error: RequestError| {
        let failure = Failure::from(error);
        Failure {
            message: format!("nothing is deleted before this is known: {}; {WAY_OUT}", failure.message),
            ..failure
        }
    })
}

/// What helps where a Sync cannot be torn down.
const WAY_OUT: &str = "deletionPolicy: Orphan lets the Sync go and leaves its objects";

/// Of what is still owned some may be there: a Sync that is gone would never come back to it.
fn unknown(observed: &Observed) -> Option<Failure> {
    let unknown = observed.left.iter().filter_map(|(id, seen)| match seen {
        Seen::Unknown(why) => Some((id, why)),
        Seen::Absent | Seen::Unlabelled | Seen::Present(_) => None,
    });
    let unknown: Vec<String> = unknown.map(|(id, why)| format!("{id} ({why})")).collect();
    if unknown.is_empty() {
        return None;
    }
    let unknown = list(unknown.into_iter());
    Some(Failure::reconciliation(format!(
        "{unknown} may still be there: the Sync stays until that is known; {WAY_OUT}"
    )))
}

/// Lets a Sync go that is torn down. Its Inventory first: with the Sync goes who could let go of it.
///
/// # Errors
/// A failed request; everything can be done once more.
pub async fn release(cx: &Context, sync: &Sync) -> Result<(), RequestError> {
    let (namespace, name) = (sync.namespace().unwrap_or_default(), sync.name_any());
    let record = match cx.cluster.read::<Inventory>(&namespace, &name).await {
        // Its definition is gone, and all Inventories with it.
        Err(error) if error.is_unserved() => None,
        answer => answer?,
    };
    if let Some(record) = record.filter(|record| Some(&record.spec.sync_uid) == sync.uid().as_ref()) {
        cx.cluster.set_finalizer(&record, false).await?;
    }
    cx.cluster.set_finalizer(sync, false).await.map(drop)
}

/// Whether a Sync waits for its teardown.
#[must_use]
pub fn is_leaving(sync: &Sync) -> bool {
    sync.metadata.deletion_timestamp.is_some() && sync.finalizers().iter().any(|name| name == api::FINALIZER)
}
