//! Whether every other Sync of a source has said what it claims at a revision: before that nothing is deleted, because what
//! moves from one Sync to another in one commit looks to the first as if it were gone.
//!
//! Knows where that stands: in memory, or in the others' Inventories. Must not know what is deleted.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt as _;
use towline_plan::barrier::{Peer, Recorded};
use towline_plan::desired::Desired;
use towline_plan::inventory::Inventory as Owned;
use towline_plan::object::SyncKey;
use towline_plan::policy::Ssa;

use super::inventory::settings_digest;
use super::outcome::Failure;
use super::{Context, Pass, has_at};
use crate::api::{Inventory, InventoryJudged, ResourceExt as _, Sync};
use crate::cluster::{CONCURRENT_REQUESTS, locked};

/// A Sync as others reckon with it.
#[must_use]
pub fn peer(sync: &Sync) -> Peer {
    let reference = &sync.spec.source_ref;
    let namespace = reference.namespace.clone().or_else(|| sync.namespace()).unwrap_or_default();
    Peer { source: SyncKey { namespace, name: reference.name.clone() }, settings: settings_digest(sync) }
}

/// The Syncs among what Git wants. One that is only to be there counts until it is: then it is as it is.
pub(super) fn brings(cx: &Context, desired: &[Desired]) -> BTreeMap<SyncKey, Peer> {
    let barrier = locked(&cx.barrier);
    let peers = desired.iter().filter_map(|desired| {
        let key = desired.id.as_sync()?;
        if desired.policy.ssa == Ssa::IfNotPresent && barrier.is_there(&key) {
            return None;
        }
        // One that is no Sync is refused by the API server.
        let mut sync: Sync = serde_json::from_value(desired.value.clone()).ok()?;
        sync.metadata.namespace = desired.id.namespace.clone();
        Some((key, peer(&sync)))
    });
    peers.collect()
}

/// The lines of an Inventory for them.
pub(super) fn to_lines(brings: &BTreeMap<SyncKey, Peer>) -> Vec<String> {
    brings.iter().map(|(key, peer)| format!("{key} {} {}", peer.source, peer.settings)).collect()
}

fn from_line(line: &str) -> Option<(SyncKey, Peer)> {
    let key = |text: &str| {
        let (namespace, name) = text.split_once('/')?;
        Some(SyncKey { namespace: namespace.to_owned(), name: name.to_owned() })
    };
    let mut words = line.split(' ');
    let (sync, source, settings) = (key(words.next()?)?, key(words.next()?)?, words.next()?.to_owned());
    Some((sync, Peer { source, settings }))
}

/// What others have to know of an Inventory.
#[must_use]
pub fn recorded(inventory: &Inventory) -> Recorded {
    let spec = &inventory.spec;
    Recorded {
        version: version(inventory),
        judged: spec.judged.as_ref().map(|judged| (judged.sequence, judged.settings.clone())),
        read: spec.read.as_ref().map(|read| read.settings.clone()),
        brings: spec.brings.iter().filter_map(|line| from_line(line)).collect(),
    }
}

/// Of two of the same Inventory the larger one is newer.
#[must_use]
pub fn version(inventory: &Inventory) -> u64 {
    inventory.resource_version().and_then(|version| version.parse().ok()).unwrap_or_default()
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
    let (mut asked, mut judged) = (BTreeSet::new(), BTreeSet::new());
    // What one Inventory says may bring others, which are asked, too.
    let mut unjudged = loop {
        let mut unjudged = locked(&cx.barrier).unjudged(&pass.key, &source, pass.revision.sequence);
        unjudged.retain(|key| !going.contains(key) && !judged.contains(key));
        let questions: Vec<SyncKey> = unjudged.difference(&asked).cloned().collect();
        if questions.is_empty() {
            break unjudged;
        }
        asked.extend(questions.iter().cloned());
        // What only its Inventory tells: it reads what it read then, or another replica has judged it.
        let questions: Vec<_> = questions.into_iter().map(|key| is_recorded(cx, pass, key)).collect();
        let answers: Vec<_> = futures::stream::iter(questions).buffer_unordered(CONCURRENT_REQUESTS).collect().await;
        for answer in answers {
            judged.extend(answer?);
        }
    };
    if !going.is_empty() {
        unjudged.extend(locked(&cx.barrier).unjudged_of(&pass.key));
    }
    Ok(unjudged)
}

/// The Sync, if its Inventory says what it claims at this revision with the settings that it has and is to have.
async fn is_recorded(cx: &Context, pass: &Pass, key: SyncKey) -> Result<Option<SyncKey>, Failure> {
    let Some(settings) = locked(&cx.barrier).settings_of(&key).map(str::to_owned) else { return Ok(None) };
    let Some(inventory) = cx.cluster.read::<Inventory>(&key.namespace, &key.name).await? else { return Ok(None) };
    let is_judged =
        |judged: &InventoryJudged| (judged.sequence, &judged.settings) == (pass.revision.sequence, &settings);
    if !inventory.spec.judged.as_ref().is_some_and(is_judged) {
        let read = inventory.spec.read.as_ref().filter(|read| read.settings == settings);
        let Some(read) = read else { return Ok(None) };
        if !has_at(pass.mirror()?, &pass.revision.commit, read.paths.clone()).await? {
            return Ok(None);
        }
    }
    let Ok(owned) = Owned::from_lines(&inventory.spec.entries, &inventory.spec.digest) else { return Ok(None) };
    // The watch may be behind: what it claims has to be known as soon as it is known that it does.
    locked(&cx.claims).replace_at(&key, &owned, version(&inventory));
    locked(&cx.barrier).record(&key, recorded(&inventory));
    Ok(Some(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_sync_brings_is_read_as_it_was_written() {
        let key = |name: &str| SyncKey { namespace: "ns".into(), name: name.into() };
        let peer = Peer { source: key("source"), settings: "abc".into() };
        let brings = BTreeMap::from([(key("one"), peer.clone()), (key("two.more"), peer)]);
        let lines = to_lines(&brings);
        assert_eq!(lines[0], "ns/one ns/source abc");
        assert_eq!(lines.iter().filter_map(|line| from_line(line)).collect::<BTreeMap<_, _>>(), brings);
        assert_eq!(from_line("ns/one"), None);
    }
}
