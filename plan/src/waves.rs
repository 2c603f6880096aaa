//! The order of deletions: the reverse of that of applying, and what must be gone before something else is deleted.
//!
//! Knows which deletions others have to wait for. Must not know how they are made, or whether they may be.

use std::collections::BTreeSet;

use crate::contents::group_defined_by;
use crate::object::ObjectId;
use crate::order::{self, Stage};
use crate::part::{Prune, PruneStep};

/// Deletions that can be made at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Wave<'a> {
    /// Of earlier waves: what must be gone before these are deleted.
    pub after: BTreeSet<&'a ObjectId>,
    pub steps: Vec<&'a PruneStep>,
}

/// When an object goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    /// Their servers go next: left in force without these, they would refuse everything.
    Webhooks,
    /// They take their own objects with them, for which they need their account, their roles and their namespace.
    Syncs,
    /// Of a kind that goes, too: their finalizers need the controller that is about to go with the rest.
    Instances,
    Rest,
    Classes,
    Accounts,
    Foundations,
    Definitions,
}

/// Puts all deletions into waves.
#[must_use]
pub fn waves<'a>(steps: impl IntoIterator<Item = &'a PruneStep>) -> Vec<Wave<'a>> {
    let going = |step: &&PruneStep| matches!(step.prune, Prune::Delete { .. } | Prune::Going);
    let steps: Vec<&PruneStep> = steps.into_iter().filter(going).collect();
    let groups: BTreeSet<&str> = steps.iter().filter_map(|step| group_defined_by(&step.id)).collect();
    let mut turns: Vec<(Turn, &PruneStep)> = steps.into_iter().map(|step| (turn(&step.id, &groups), step)).collect();
    // Stable: within a turn they stay in the order of the plan.
    turns.sort_by_key(|(turn, _)| *turn);
    let of_turn = |cut: &[(Turn, &'a PruneStep)]| {
        let turn = cut.first().map(|(turn, _)| *turn)?;
        let ranks = order::ranks(cut.iter().map(|(_, step)| *step), |step| &step.id.kind);
        Some(ranks.into_iter().map(move |steps| (turn, Wave { after: BTreeSet::new(), steps })).collect::<Vec<_>>())
    };
    let cuts = turns.chunk_by(|(a, _), (b, _)| a == b);
    let mut waves: Vec<(Turn, Wave<'a>)> = cuts.filter_map(of_turn).flatten().collect();
    for (turn, wave) in &mut waves {
        let earlier = turns.iter().filter(|(earlier, _)| earlier < turn);
        wave.after = earlier.filter(|(t, other)| is_needed_gone(*t, &other.id, wave)).map(|(_, o)| &o.id).collect();
    }
    waves.into_iter().map(|(_, wave)| wave).collect()
}

fn turn(id: &ObjectId, groups: &BTreeSet<&str>) -> Turn {
    if id.as_sync().is_some() {
        return Turn::Syncs;
    }
    match order::stage(&id.kind) {
        Stage::Webhooks => Turn::Webhooks,
        Stage::Definitions => Turn::Definitions,
        Stage::Foundations => Turn::Foundations,
        Stage::Accounts | Stage::Classes | Stage::Rest if groups.contains(id.kind.group.as_str()) => Turn::Instances,
        Stage::Rest => Turn::Rest,
        Stage::Classes => Turn::Classes,
        Stage::Accounts => Turn::Accounts,
    }
}

/// Whether an object of an earlier turn must be gone before a wave begins.
fn is_needed_gone(turn: Turn, id: &ObjectId, wave: &Wave<'_>) -> bool {
    match turn {
        Turn::Syncs | Turn::Instances => true,
        // With a namespace everything in it goes at once, in no order.
        _ => id.namespace.is_some() && wave.steps.iter().any(|step| is_namespace(&step.id, id.namespace.as_deref())),
    }
}

fn is_namespace(id: &ObjectId, name: Option<&str>) -> bool {
    id.kind.is("", "Namespace") && Some(id.name.as_str()) == name
}
