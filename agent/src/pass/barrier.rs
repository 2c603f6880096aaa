//! Whether every other Sync of a source has said what it claims at a revision: before that nothing is deleted, because what
//! moves from one Sync to another in one commit looks to the first as if it were gone.
//!
//! Knows where that stands: in memory, or in the others' Inventories. Must not know what is deleted.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt as _;
use towline_plan::barrier::Peer;
use towline_plan::desired::Desired;
use towline_plan::inventory::Inventory as Owned;
use towline_plan::object::SyncKey;

use super::inventory::settings_digest;
use super::outcome::Failure;
use super::{Context, Pass, has_at};
use crate::api::{Inventory, ResourceExt as _, Sync};
use crate::cluster::{CONCURRENT_REQUESTS, locked};

/// A Sync as others reckon with it.
#[must_use]
pub fn peer(sync: &Sync) -> Peer {
    let reference = &sync.spec.source_ref;
    let namespace = reference.namespace.clone().or_else(|| sync.namespace()).unwrap_or_default();
    Peer { source: SyncKey { namespace, name: reference.name.clone() }, settings: settings_digest(sync) }
}

/// The Syncs among what Git wants.
pub(super) fn brings(desired: &[Desired]) -> BTreeMap<SyncKey, Peer> {
    let peers = desired.iter().filter_map(|desired| {
        let key = desired.id.as_sync()?;
        // One that is no Sync is refused by the API server.
        let mut sync: Sync = serde_json::from_value(desired.value.clone()).ok()?;
        sync.metadata.namespace = desired.id.namespace.clone();
        Some((key, peer(&sync)))
    });
    peers.collect()
}

/// What a Sync claims at a revision is known from here on.
pub(super) fn judged(cx: &Context, pass: &Pass, brings: BTreeMap<SyncKey, Peer>) {
    let settings = settings_digest(&pass.sync);
    locked(&cx.barrier).judged(&pass.key, pass.revision.sequence, &settings, brings);
}

/// It reads what it read, so it claims what it claimed, and brings what it brought.
pub(super) fn judged_as_before(cx: &Context, pass: &Pass) {
    locked(&cx.barrier).judged_as_before(&pass.key, pass.revision.sequence, &settings_digest(&pass.sync));
}

/// Whose claims are not known yet. `going`: Syncs that are about to be deleted; those which take their place have to be
/// there, whatever their source.
pub(super) async fn unjudged(cx: &Context, pass: &Pass, going: &[SyncKey]) -> Result<BTreeSet<SyncKey>, Failure> {
    let source = peer(&pass.sync).source;
    let (mut unjudged, of_mine) = {
        let barrier = locked(&cx.barrier);
        let of_mine = if going.is_empty() { BTreeSet::new() } else { barrier.unjudged_of(&pass.key) };
        (barrier.unjudged(&pass.key, &source, pass.revision.sequence), of_mine)
    };
    unjudged.retain(|key| !going.contains(key));
    // What only its Inventory tells: it reads what it read then, or another replica has judged it.
    let asked: Vec<_> = unjudged.iter().cloned().map(|key| is_recorded(cx, pass, key)).collect();
    let answers: Vec<_> = futures::stream::iter(asked).buffer_unordered(CONCURRENT_REQUESTS).collect().await;
    for answer in answers {
        if let Some(judged) = answer? {
            unjudged.remove(&judged);
        }
    }
    unjudged.extend(of_mine);
    Ok(unjudged)
}

/// The Sync, if its Inventory says what it claims at this revision.
async fn is_recorded(cx: &Context, pass: &Pass, key: SyncKey) -> Result<Option<SyncKey>, Failure> {
    let Some(settings) = locked(&cx.barrier).settings_of(&key).map(str::to_owned) else { return Ok(None) };
    let Some(inventory) = cx.cluster.read::<Inventory>(&key.namespace, &key.name).await? else { return Ok(None) };
    let judged = inventory.spec.judged.filter(|judged| judged.settings == settings);
    if judged.is_some_and(|judged| judged.sequence == pass.revision.sequence) {
        // The watch may be behind: what it claims has to be known as soon as it is known that it does.
        if let Ok(owned) = Owned::from_lines(&inventory.spec.entries, &inventory.spec.digest) {
            locked(&cx.claims).replace(&key, &owned);
            return Ok(Some(key));
        }
        return Ok(None);
    }
    let Some(read) = inventory.spec.read.filter(|read| read.settings == settings) else { return Ok(None) };
    Ok(has_at(pass.mirror()?, &pass.revision.commit, read.paths).await?.then_some(key))
}
