//! The inventory of a pass: read or rebuilt, written ahead, and settled at the end.
//!
//! Knows the rules of invariants 4 and 12. Must not know how objects are applied.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::api::{Resource as _, ResourceExt as _};
use towline_plan::desired::Desired;
use towline_plan::identity::Identity;
use towline_plan::inventory::{Entry, Inventory as Owned, InventoryError, State, namespaces};
use towline_plan::naming::list;
use towline_plan::object::GroupKind;
use towline_plan::tree::Tree;

use super::apply::Done;
use super::outcome::{End, Failure, Outcome, Reason};
use super::{Context, Pass, barrier};
use crate::api::{self, Inventory, InventoryJudged, InventoryRead, InventorySpec, Sync};
use crate::cluster::{Found, locked};

/// What a Sync owns, and the object that says so.
#[derive(Default)]
pub(super) struct Loaded {
    pub inventory: Owned,
    /// The object to write over; `None`: there is none.
    pub record: Option<Inventory>,
    /// Its digest, if it was rebuilt and nobody has accepted that yet.
    pub rebuilt: Option<String>,
    /// What was wrong, if it was rebuilt just now.
    pub lost: Option<Lost>,
    /// The Syncs among what is wanted, as lines.
    pub brings: Vec<String>,
}

/// What an Inventory says besides its entries.
pub(super) struct Beside<'a> {
    pub rebuilt: Option<&'a str>,
    pub brings: &'a [String],
    pub read: Option<InventoryRead>,
}

/// An inventory that could not be believed.
pub(super) struct Lost {
    why: InventoryError,
    /// Kinds whose objects the rebuilt one may lack, because they could not be listed.
    unlisted: BTreeSet<GroupKind>,
    /// Who could not list them.
    identity: Identity,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.why)?;
        if self.unlisted.is_empty() {
            return Ok(());
        }
        let (kinds, who) = (list(self.unlisted.iter().map(ToString::to_string)), &self.identity);
        write!(f, "; {who} may not list {kinds}: what Git no longer has of these is not found again")
    }
}

/// Reads the inventory; one that cannot be believed is rebuilt from desired objects and owner labels, never read as empty.
pub(super) async fn load(cx: &Context, pass: &Pass, desired: &[Desired]) -> Result<Loaded, Failure> {
    let record = match &pass.inventory {
        Some(record) => Some(record.clone()),
        None => cx.cluster.read(&pass.key.namespace, &pass.key.name).await?,
    };
    let problem = match &record {
        None if had_inventory(pass) => InventoryError::Missing,
        None => return Ok(Loaded::default()),
        Some(record) => match believe(pass, record) {
            Ok(inventory) => {
                let rebuilt = record.spec.rebuilt.clone().filter(|digest| !is_accepted(pass, digest));
                return Ok(Loaded { inventory, record: Some(record.clone()), rebuilt, ..Loaded::default() });
            }
            Err(problem) => problem,
        },
    };
    let hints = record.as_ref().map(|record| namespaces(&record.spec.entries)).unwrap_or_default();
    let (inventory, unlisted) = rebuild(cx, pass, desired, hints).await?;
    let digest = inventory.to_lines().1;
    let lost = Lost { why: problem, unlisted, identity: cx.cluster.acts_as().clone() };
    Ok(Loaded { inventory, record, rebuilt: Some(digest), lost: Some(lost), brings: Vec::new() })
}

fn believe(pass: &Pass, record: &Inventory) -> Result<Owned, InventoryError> {
    if Some(&record.spec.sync_uid) != pass.sync.uid().as_ref() {
        return Err(InventoryError::Foreign(record.spec.sync_uid.clone()));
    }
    Owned::from_lines(&record.spec.entries, &record.spec.digest)
}

fn had_inventory(pass: &Pass) -> bool {
    pass.sync.status.as_ref().is_some_and(|s| s.inventory.as_ref().is_some_and(|i| i.entries > 0))
}

fn is_accepted(pass: &Pass, digest: &str) -> bool {
    pass.sync.annotations().get(api::ACCEPT_INVENTORY).is_some_and(|accepted| accepted == digest)
}

/// Where an account may not list a kind everywhere, it is looked for in the Sync's namespace, in those of what Git wants, and
/// in those the old inventory named.
async fn rebuild(
    cx: &Context,
    pass: &Pass,
    desired: &[Desired],
    mut namespaces: BTreeSet<String>,
) -> Result<(Owned, BTreeSet<GroupKind>), Failure> {
    // What is not listed is not in the new inventory, and what is in no inventory is nobody's for ever.
    let served = cx.rediscover().await?;
    if !served.stale_groups().is_empty() {
        let groups = served.stale_groups().iter().cloned().collect::<Vec<_>>().join(", ");
        return Err(Failure::reconciliation(format!(
            "the inventory cannot be believed, and cannot be rebuilt while these API groups do not answer: {groups}"
        )));
    }
    namespaces.insert(pass.key.namespace.clone());
    namespaces.extend(desired.iter().filter_map(|d| d.id.namespace.clone()));
    let Found { objects: live, unlisted } = cx.cluster.list_owned(&served, &pass.key, &namespaces).await?;
    let claimed_at = pass.started_at.as_second();
    let claim = |version: &str| Entry {
        version: version.to_owned(),
        uid: None,
        digest: None,
        claimed_at,
        state: State::Claimed,
    };
    let mut entries: BTreeMap<_, _> = desired.iter().map(|d| (d.id.clone(), claim(&d.version))).collect();
    for (id, version, live) in live.into_iter().filter(|(_, _, live)| live.applied) {
        entries.insert(id, Entry { uid: Some(live.uid), state: State::Applied, ..claim(&version) });
    }
    Ok((Owned(entries), unlisted))
}

/// Writes an inventory, unless it says already what is to be said. Other Syncs see the claims from here on.
pub(super) async fn write(
    cx: &Context,
    pass: &Pass,
    record: Option<Inventory>,
    owned: &Owned,
    beside: Beside<'_>,
) -> Result<Inventory, Failure> {
    // What was read tells more, and is written in any case; a Sync that is deleted claims nothing.
    let says_judged = beside.read.is_none() && !pass.is_last();
    write_at(cx, pass, record, owned, beside, says_judged).await
}

/// The same; `says_judged`: that these are the claims at the revision of the pass.
async fn write_at(
    cx: &Context,
    pass: &Pass,
    record: Option<Inventory>,
    owned: &Owned,
    Beside { rebuilt, brings, read }: Beside<'_>,
    says_judged: bool,
) -> Result<Inventory, Failure> {
    let (entries, digest) = owned.to_lines();
    let sync_uid = pass.sync.uid().unwrap_or_default();
    let judged = says_judged
        .then(|| InventoryJudged { sequence: pass.revision.sequence, settings: settings_digest(&pass.sync) });
    let (rebuilt, brings) = (rebuilt.map(str::to_owned), brings.to_vec());
    let spec = InventorySpec { sync_uid, entries, digest, rebuilt, judged, brings, read };
    let written = match record {
        Some(record) if record.spec == spec && !is_deleted(pass, &record) => record,
        record => {
            let record = match record {
                // Somebody deleted it. It cannot be taken back: another one takes its place, which says the same.
                Some(record) if is_deleted(pass, &record) => {
                    cx.cluster.set_finalizer(&record, false).await?;
                    None
                }
                record => record,
            };
            let owner = pass.sync.controller_owner_ref(&());
            cx.cluster.write_inventory(&pass.key, record.as_ref(), owner, spec).await?
        }
    };
    locked(&cx.claims).replace_at(&pass.key, owned, barrier::version(&written));
    Ok(written)
}

/// Whether an inventory is being deleted and its Sync is not.
fn is_deleted(pass: &Pass, record: &Inventory) -> bool {
    record.metadata.deletion_timestamp.is_some() && pass.sync.metadata.deletion_timestamp.is_none()
}

/// Writes the claims of a pass that may not apply anything yet: others see what it will own. What was read at the last
/// successful pass still is what the cluster equals.
pub(super) async fn claim(
    cx: &Context,
    pass: &Pass,
    loaded: Loaded,
    ahead: &Owned,
    end: End,
) -> Result<Outcome, Failure> {
    let Loaded { record, rebuilt, lost, brings, .. } = loaded;
    let read = record.as_ref().and_then(|record| record.spec.read.clone());
    let beside = Beside { rebuilt: rebuilt.as_deref(), brings: &brings, read };
    let written = write_at(cx, pass, record, ahead, beside, true).await?;
    let rebuilt = lost.map(|problem| problem.to_string());
    Ok(Outcome { rebuilt, ..Outcome::stopped(end, Some(written)) })
}

/// Writes what the pass came to. What was read is recorded only by a pass that succeeded.
pub(super) async fn settle(cx: &Context, pass: &Pass, done: Done, tree: Option<&Tree>) -> Result<Outcome, Failure> {
    let Done { mut end, actions, kept, left_alone, owned, record, rebuilt, lost, brings, healthy, looked, drifted } =
        done;
    let read = match (&end, tree) {
        (End::Succeeded | End::Drifted, Some(tree)) => {
            let paths = tree.read.iter().map(|r| (r.path.clone(), r.id.clone())).collect();
            let read = InventoryRead {
                revision: pass.revision.name.clone(),
                sequence: pass.revision.sequence,
                paths,
                settings: settings_digest(&pass.sync),
            };
            // The same content at another commit is not worth a write.
            let old = record.as_ref().and_then(|r| r.spec.read.clone());
            Some(old.filter(|old| (&old.paths, &old.settings) == (&read.paths, &read.settings)).unwrap_or(read))
        }
        _ => None,
    };
    let beside = Beside { rebuilt: rebuilt.as_deref(), brings: &brings, read };
    let inventory = match write(cx, pass, record, &owned, beside).await {
        Ok(inventory) => Some(inventory),
        Err(failure) => {
            // What was applied is applied, and was claimed ahead: only that it is not recorded has to be said.
            if matches!(end, End::Succeeded | End::Drifted | End::Held(..)) {
                end = End::Failed(Failure { reason: Reason::ReconciliationFailed, ..failure });
            }
            None
        }
    };
    let rebuilt = lost.map(|problem| problem.to_string());
    Ok(Outcome {
        end,
        actions,
        kept,
        left_alone,
        inventory,
        rebuilt,
        healthy,
        looked,
        drifted: Some(drifted),
        unwatched: Vec::new(),
    })
}

/// Over what decides, besides the files, what a pass renders.
pub(super) fn settings_digest(sync: &Sync) -> String {
    let spec = &sync.spec;
    let source = match &spec.source_ref.namespace {
        None => spec.source_ref.name.clone(),
        Some(namespace) => format!("{namespace}/{}", spec.source_ref.name),
    };
    let mut settings =
        serde_json::json!({ "path": spec.path, "source": source, "targetNamespace": spec.target_namespace });
    // As it was before there were rules, where there are none: nothing is read anew for an agent that is newer.
    if let Some(drift) = spec.drift_detection.as_ref().filter(|drift| !drift.ignore.is_empty()) {
        settings["ignore"] = serde_json::json!(drift.ignore);
    }
    towline_plan::object::digest(&settings)
}
