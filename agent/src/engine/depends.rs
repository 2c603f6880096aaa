//! Which Syncs another one waits for, what a pass is told of them, and who is woken when one of them moves.
//!
//! Knows references between Syncs and which of them are allowed. Whether a dependency is ready is judged by the pass.

use std::sync::Arc;

use towline_plan::depends::cycle;
use towline_plan::object::SyncKey;
use towline_plan::schedule::sync::Trigger;

use super::sync::SyncEntry;
use super::{Engine, SourceKey, key};
use crate::api::{self, ResourceExt as _, Sync};
use crate::pass::{Dependency, Follows, Needs};

/// Another Sync or source, by what a Sync calls it.
fn named(sync: &Sync, namespace: Option<&String>, name: &str) -> SyncKey {
    let namespace = namespace.cloned().or_else(|| sync.namespace()).unwrap_or_default();
    SyncKey { namespace, name: name.to_owned() }
}

/// The source a Sync names.
pub(super) fn source(sync: &Sync) -> SourceKey {
    let reference = &sync.spec.source_ref;
    named(sync, reference.namespace.as_ref(), &reference.name)
}

/// What a Sync depends on.
pub(super) fn needs(sync: &Sync) -> Vec<SyncKey> {
    sync.spec.depends_on.iter().map(|need| named(sync, need.namespace.as_ref(), &need.name)).collect()
}

/// Whether two versions of a Sync are the same to those that depend on it.
fn stand_alike(a: &Sync, b: &Sync) -> bool {
    let ready = |sync: &Sync| {
        let conditions = sync.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        let ready = conditions.iter().find(|c| c.type_ == api::READY);
        ready.map(|c| (c.status.clone(), c.reason.clone(), c.observed_generation))
    };
    let spec = |sync: &Sync| (sync.metadata.uid.clone(), sync.metadata.generation, sync.spec.suspend);
    ready(a) == ready(b) && spec(a) == spec(b)
}

impl Engine {
    /// Which reference of a Sync is forbidden, in words.
    pub(super) fn denied(&self, sync: &Sync) -> Option<String> {
        if self.cross_namespace {
            return None;
        }
        let own = sync.namespace().unwrap_or_default();
        let source = source(sync);
        let what = match source.namespace == own {
            false => format!("GitSource {source}"),
            true => format!("Sync {}", needs(sync).into_iter().find(|need| need.namespace != own)?),
        };
        Some(format!(
            "{what} is in another namespace, which is not allowed: \
             kubernetes.allow_cross_namespace_references is not set in the agent's configuration"
        ))
    }

    /// What a pass of this Sync at this sequence has to know of others.
    pub(super) fn needs(&self, entry: &SyncEntry, sequence: u64) -> Needs {
        let needed = needs(&entry.object);
        if needed.is_empty() {
            return Needs::default();
        }
        let cycle = cycle(&key(&*entry.object), |at| self.syncs.get(at).map(|e| needs(&e.object)).unwrap_or_default());
        let source = source(&entry.object);
        let dependency = |(key, need): (SyncKey, &api::DependencyReference)| {
            let other = self.syncs.get(&key);
            let revision = match other {
                Some(other) if self::source(&other.object) != source => Follows::Another,
                Some(other) if other.settled >= Some(sequence) => Follows::Done,
                _ => Follows::NotYet(self.inventories.get(&key).and_then(|inventory| inventory.spec.read.clone())),
            };
            let sync = other.map(|other| Arc::clone(&other.object));
            Dependency { sync, ready_expr: need.ready_expr.clone(), revision, key }
        };
        let dependencies = needed.into_iter().zip(&entry.object.spec.depends_on).map(dependency).collect();
        Needs { dependencies, cycle }
    }

    /// A Sync came, went, or changed: those that wait for it look again, if that can make a difference to them.
    pub(super) fn wake_dependents(&mut self, key: &SyncKey, before: Option<&Sync>) {
        let now = self.syncs.get(key).map(|entry| &*entry.object);
        let same = matches!((before, now), (Some(before), Some(now)) if stand_alike(before, now));
        match same {
            false => self.wake_all_dependents(key),
            // An expression may look at anything.
            true => self.wake_dependents_that(key, |need| need.ready_expr.is_some()),
        }
    }

    /// Those that wait for a Sync look again.
    pub(super) fn wake_all_dependents(&mut self, key: &SyncKey) {
        self.wake_dependents_that(key, |_| true);
    }

    fn wake_dependents_that(&mut self, key: &SyncKey, of: impl Fn(&api::DependencyReference) -> bool) {
        let waits = |entry: &&mut SyncEntry| {
            let mut names = needs(&entry.object).into_iter().zip(&entry.object.spec.depends_on);
            (entry.schedule.is_waiting() || entry.schedule.is_running())
                && names.any(|(needed, need)| needed == *key && of(need))
        };
        self.syncs.values_mut().filter(waits).for_each(|entry| entry.schedule.want(Trigger::Progress));
    }
}
