//! What goes with what: a Namespace takes everything in it, a definition every object of its kind.
//!
//! Knows what of that stays, so that what holds it stays, too (invariant 6). Must not know why an object goes or stays.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::claims::Claims;
use crate::object::{GroupKind, ObjectId, SyncKey};
use crate::observed::{Observed, Seen};
use crate::order::{self, Stage};
use crate::part::{Prune, PruneRules, PruneStep, is_precious};

/// What a decision about containers is made from, besides the deletions themselves.
pub(crate) struct Around<'a> {
    pub sync: &'a SyncKey,
    pub wanted: &'a HashSet<&'a ObjectId>,
    pub left_alone: &'a BTreeSet<ObjectId>,
    pub observed: &'a Observed,
    pub claims: &'a Claims,
    pub rules: &'a PruneRules,
}

/// Something that takes others with it.
struct Container<'a> {
    id: &'a ObjectId,
    /// Of a definition: the kind it defines. Unknown while that is not served; then any of its group may be.
    kind: Option<&'a GroupKind>,
}

/// Turns deletions of what holds something that stays into none.
pub(crate) fn spare(left: &mut [PruneStep], around: &Around<'_>) {
    let containers = left.iter().filter(|step| matches!(step.prune, Prune::Delete { .. }) && is_container(&step.id));
    let containers: Vec<&ObjectId> = containers.map(|step| &step.id).collect();
    if containers.is_empty() {
        return;
    }
    let going = left.iter().filter(|step| goes(step)).filter_map(|step| step.id.as_sync());
    let going = around.claims.families(going);
    let spared = containers.into_iter().filter_map(|id| {
        let container = Container { id, kind: around.observed.defined.get(id) };
        Some((id.clone(), spared(&container, left, &going, around)?))
    });
    let mut spared: BTreeMap<ObjectId, Prune> = spared.collect();
    for step in left {
        if let Some(prune) = spared.remove(&step.id) {
            step.prune = prune;
        }
    }
}

/// What happens to a container instead of its deletion. `None`: nothing it holds stays.
fn spared(
    container: &Container<'_>,
    left: &[PruneStep],
    going: &BTreeSet<SyncKey>,
    around: &Around<'_>,
) -> Option<Prune> {
    let Around { sync, wanted, left_alone, observed, claims, rules } = around;
    let inside = || left.iter().filter(|step| container.holds(&step.id));
    let of_others = || claims.of_others(sync).filter(|(id, ..)| container.holds(id)).map(|(id, other, _)| (id, other));
    // Of these nothing is known from the next pass on: the container is let go of with them, or it would go then.
    let is_let_go = |step: &&PruneStep| match step.prune {
        Prune::Forget(_) => {
            observed.left.get(&step.id) != Some(&Seen::Absent) && claims.other(&step.id, sync).is_none()
        }
        Prune::Delete { .. } | Prune::Going | Prune::Ask | Prune::Keep(_) | Prune::HandOver(_) => false,
    };
    if let Some(step) = inside().find(is_let_go) {
        return Some(Prune::Forget(format!("{} stays, and would go with it", step.id)));
    }
    // A Sync that goes leaves such objects where it does not name their kind itself.
    let is_left = |(id, other): &(&ObjectId, &SyncKey)| {
        going.contains(*other) && is_precious(&id.kind) && !rules.allow_kinds.contains(&id.kind.kind)
    };
    if let Some((id, other)) = of_others().filter(is_left).min() {
        return Some(Prune::Forget(format!("{id} of Sync {other} may stay, and would go with it")));
    }
    let stays = |step: &&PruneStep| match step.prune {
        Prune::Keep(_) | Prune::Ask | Prune::HandOver(_) => true,
        Prune::Delete { .. } | Prune::Going | Prune::Forget(_) => false,
    };
    if let Some(step) = inside().find(stays) {
        return Some(Prune::Keep(format!("{} stays, and would go with it", step.id)));
    }
    let in_git = wanted.iter().copied().chain(left_alone.iter()).filter(|id| container.holds(id)).min();
    if let Some(id) = in_git {
        return Some(Prune::Keep(format!("Git has {id}, which would go with it")));
    }
    let going_too: BTreeSet<&ObjectId> = inside().filter(|step| goes(step)).map(|step| &step.id).collect();
    let others = of_others().filter(|(id, other)| !going.contains(*other) && !going_too.contains(id));
    if let Some((id, other)) = others.min() {
        return Some(Prune::Keep(format!("Sync {other} has {id}, which would go with it")));
    }
    let mut stand = claims.syncs().filter(|other| *other != *sync && !going.contains(*other));
    // Where Git wants nothing any more, the Sync itself is on its way out.
    let own = Some(*sync).filter(|_| !wanted.is_empty());
    let is_in = |other: &&SyncKey| container.is_namespace(&other.namespace);
    let stands = own.filter(is_in).or_else(|| stand.find(is_in))?;
    Some(Prune::Keep(format!("Sync {stands} stands in it")))
}

/// The Sync that claims something which would go with this object, if one does that does not go itself. Asked right before a
/// deletion: others may have claimed it since it was decided about.
#[must_use]
pub fn claimed_inside<'a>(
    id: &ObjectId,
    kind: Option<&GroupKind>,
    sync: &SyncKey,
    claims: &'a Claims,
    going: impl Iterator<Item = SyncKey>,
) -> Option<&'a SyncKey> {
    if !is_container(id) {
        return None;
    }
    let (container, going) = (Container { id, kind }, claims.families(going));
    let stays = |(inside, other, at): &(&ObjectId, &SyncKey, i64)| {
        *at != i64::MAX && container.holds(inside) && !going.contains(*other)
    };
    claims.of_others(sync).filter(stays).map(|(_, other, _)| other).min()
}

fn goes(step: &PruneStep) -> bool {
    matches!(step.prune, Prune::Delete { .. } | Prune::Going)
}

fn is_container(id: &ObjectId) -> bool {
    id.kind.is("", "Namespace") || order::stage(&id.kind) == Stage::Definitions
}

impl Container<'_> {
    fn holds(&self, id: &ObjectId) -> bool {
        match order::stage(&self.id.kind) {
            Stage::Definitions => match self.kind {
                Some(kind) => id.kind == *kind,
                None => group_defined_by(self.id).is_some_and(|group| id.kind.group == group),
            },
            _ => id.namespace.as_deref().is_some_and(|namespace| self.is_namespace(namespace)),
        }
    }

    fn is_namespace(&self, name: &str) -> bool {
        self.id.kind.is("", "Namespace") && self.id.name == name
    }
}

/// The group a definition's kinds are in: its name is `<plural>.<group>`.
pub(crate) fn group_defined_by(id: &ObjectId) -> Option<&str> {
    let is_definition = order::stage(&id.kind) == Stage::Definitions;
    is_definition.then(|| id.name.split_once('.')).flatten().map(|(_, group)| group)
}
