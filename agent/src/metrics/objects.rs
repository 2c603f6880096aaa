//! What is told of each GitSource and Sync: its series begin and end with the object.
//!
//! Knows the watches' words and how passes ended. Must not know the loop.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use prometheus_client::registry::Unit;
use towline_plan::object::SyncKey;

use super::nats::seconds;
use super::scrape::Rows;
use crate::api::{GitSource, ResourceExt, Sync};
use crate::cluster::{Change, ResourceEvent};
use crate::pass::{Deed, End, Outcome, Pass};

/// Our own kinds have up to six condition types; a status may be written by others, too.
const CONDITIONS_MAX: usize = 8;

#[derive(Default)]
pub(super) struct Objects {
    sources: BTreeMap<SyncKey, Conditions>,
    syncs: BTreeMap<SyncKey, SyncRow>,
}

/// Types of conditions, and whether they are True.
type Conditions = Vec<(String, bool)>;

#[derive(Default)]
struct SyncRow {
    uid: Option<String>,
    conditions: Conditions,
    last_success: Option<Timestamp>,
    outcome: Option<&'static str>,
    /// The delivery whose commit was applied last.
    delivery: Option<String>,
    /// Objects that were put back.
    corrected: u64,
    fights: u64,
    /// Objects that stay as others changed them, after the last pass that looked.
    drifted: usize,
    /// Objects whose deletion waits for somebody's word, and those that stay for another reason, after the last pass.
    held: usize,
    kept: usize,
}

impl Objects {
    /// Takes in what a watch tells.
    pub(super) fn take(&mut self, event: &ResourceEvent) {
        match event {
            ResourceEvent::Source(scope, change) => match change {
                Change::Applied(source) => self.source(source),
                Change::Gone(source) => drop(self.sources.remove(&key(source))),
                Change::Listed(sources) => {
                    forget_missing(&mut self.sources, scope, sources);
                    sources.iter().for_each(|source| self.source(source));
                }
            },
            ResourceEvent::Sync(scope, change) => match change {
                Change::Applied(sync) => self.sync(sync),
                // Another one may have taken its place already.
                Change::Gone(sync) => self.syncs.retain(|known, row| *known != key(sync) || row.uid != sync.uid()),
                Change::Listed(syncs) => {
                    forget_missing(&mut self.syncs, scope, syncs);
                    syncs.iter().for_each(|sync| self.sync(sync));
                }
            },
            ResourceEvent::Inventory(..) => {}
        }
    }

    fn source(&mut self, source: &GitSource) {
        let said = source.status.as_ref().map(|s| conditions(&s.conditions)).unwrap_or_default();
        self.sources.insert(key(source), said);
    }

    fn sync(&mut self, sync: &Sync) {
        let row = self.syncs.entry(key(sync)).or_default();
        if row.uid != sync.uid() {
            *row = SyncRow { uid: sync.uid(), last_success: last_success(sync), ..SyncRow::default() };
        }
        row.conditions = sync.status.as_ref().map(|s| conditions(&s.conditions)).unwrap_or_default();
    }

    /// A pass ended. It may have gone on for a moment after its Sync was gone: then nothing is told of it. Answers with the
    /// delivery whose commit it was the first to apply.
    pub(super) fn passed(&mut self, pass: &Pass, outcome: &Outcome, now: Timestamp) -> Option<String> {
        let row = self.syncs.get_mut(&pass.key).filter(|row| row.uid == pass.sync.uid())?;
        row.outcome = Some(outcome.end.word());
        let drifted = outcome.drifted.as_ref().map(Vec::len);
        row.drifted = drifted.unwrap_or(row.drifted);
        if outcome.end.is_success() && row.drifted == 0 {
            row.last_success = Some(now);
        }
        let corrected = outcome.actions.iter().filter(|action| matches!(action.deed, Deed::Reverted(_))).count();
        row.corrected += u64::try_from(corrected).unwrap_or_default();
        // A pass that did not come to its end looked at nothing that it could tell of.
        match &outcome.end {
            End::Held(_, objects) => (row.held, row.kept) = (objects.len(), outcome.kept.len()),
            End::Succeeded | End::Drifted => (row.held, row.kept) = (0, outcome.kept.len()),
            _ => {}
        }
        if !outcome.end.is_applied() || row.delivery == pass.revision.delivery {
            return None;
        }
        row.delivery.clone_from(&pass.revision.delivery);
        row.delivery.clone()
    }

    /// Keeps what the last pass came to for our own Syncs only: of the others it is out of date from now on.
    pub(super) fn divided(&mut self, is_own: impl Fn(&SyncKey) -> bool) {
        for (_, row) in self.syncs.iter_mut().filter(|(key, _)| !is_own(key)) {
            (row.last_success, row.outcome, row.delivery) = (None, None, None);
            (row.held, row.kept, row.drifted) = (0, 0, 0);
        }
    }

    pub(super) fn fought(&mut self, sync: &SyncKey) {
        if let Some(row) = self.syncs.get_mut(sync) {
            row.fights += 1;
        }
    }

    pub(super) fn write(&self, rows: &mut Rows<'_>) -> fmt::Result {
        let of_sources = self.sources.iter().map(|(key, said)| ("GitSource", key, said));
        let of_syncs = self.syncs.iter().map(|(key, row)| ("Sync", key, &row.conditions));
        let conditions = of_sources.chain(of_syncs).flat_map(|(kind, key, said)| {
            said.iter().map(move |(condition, is_true)| {
                let labels = [("kind", kind), ("namespace", &key.namespace), ("name", &key.name), ("type", condition)];
                (labels, f64::from(u8::from(*is_true)))
            })
        });
        rows.gauge("condition", "1: the condition is True; 0: it is False or Unknown", None, conditions)?;
        let successes = self.of_syncs(|row| row.last_success.map(seconds));
        let help = "When a pass of the Sync last found or brought the cluster to what Git says";
        rows.gauge("sync_last_success_timestamp", help, Some(&Unit::Seconds), successes)?;
        let outcomes = self.syncs.iter().filter_map(|(key, row)| {
            let labels = [("namespace", key.namespace.as_str()), ("name", &key.name), ("outcome", row.outcome?)];
            Some((labels, 1.0))
        });
        rows.gauge("sync_last_pass", "1 for the outcome of the Sync's last pass", None, outcomes)?;
        let held = self.of_syncs(|row| Some(row.held as f64));
        rows.gauge("sync_prune_held_objects", "Objects whose deletion waits for somebody's word", None, held)?;
        let kept = self.of_syncs(|row| Some(row.kept as f64));
        rows.gauge("sync_prune_kept_objects", "Objects that stay though Git no longer has them", None, kept)?;
        let corrected = self.of_syncs(|row| Some(row.corrected));
        rows.counter("sync_drift_corrections", "Objects that were put back", corrected)?;
        let drifted = self.of_syncs(|row| Some(row.drifted as f64));
        rows.gauge("sync_drifted_objects", "Objects that stay as others changed them", None, drifted)?;
        let fights = self.of_syncs(|row| Some(row.fights));
        rows.counter("sync_fights", "Times that something was found to change again and again what is put back", fights)
    }

    fn of_syncs<'a, V>(
        &'a self,
        value: impl Fn(&SyncRow) -> Option<V> + 'a,
    ) -> impl Iterator<Item = ([(&'static str, &'a str); 2], V)> {
        self.syncs.iter().filter_map(move |(key, row)| {
            Some(([("namespace", key.namespace.as_str()), ("name", key.name.as_str())], value(row)?))
        })
    }
}

/// As far as the status tells what a process before came to.
fn last_success(sync: &Sync) -> Option<Timestamp> {
    let status = sync.status.as_ref()?;
    let is_success = |reason: &str| reason == "ReconciliationSucceeded";
    let passes = status.history.iter().filter(|entry| is_success(&entry.reason)).map(|entry| entry.at.0);
    let ready = status.conditions.iter().filter(|c| c.type_ == crate::api::READY && is_success(&c.reason));
    passes.chain(ready.map(|c| c.last_transition_time.0)).max()
}

fn conditions(said: &[Condition]) -> Conditions {
    said.iter().take(CONDITIONS_MAX).map(|c| (c.type_.clone(), c.status == "True")).collect()
}

fn key(object: &impl ResourceExt) -> SyncKey {
    SyncKey { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
}

/// What a complete list of a scope no longer has.
fn forget_missing<V>(known: &mut BTreeMap<SyncKey, V>, scope: &Option<String>, listed: &[impl ResourceExt]) {
    let listed: std::collections::BTreeSet<SyncKey> = listed.iter().map(key).collect();
    known.retain(|key, _| scope.as_ref().is_some_and(|scope| *scope != key.namespace) || listed.contains(key));
}
