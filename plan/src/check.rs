//! Whether a plan may be carried out, and how far.
//!
//! Knows the ceilings and what stops a stage. Must not change what a step does: it only lets pass or holds.
//! A [`CheckedPlan`] can be made here only, and only such a plan can be applied.

use crate::decide::{Apply, ApplyStep, Plan};
use crate::inventory::Inventory;
use crate::order::{self, Stage};
use crate::part::{Prune, PruneStep};

/// How many deletions one pass may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ceiling {
    /// 50% of the inventory rounded up, and never when Git has nothing of it left: a folder emptied or moved by mistake stops
    /// here. One object that is renamed, of one, passes (decision 0003).
    #[default]
    Default,
    Count(u32),
    /// Of the inventory, rounded up.
    Percent(u32),
    /// Lifted for this revision.
    Lifted,
}

impl Ceiling {
    /// Reads `10`, `"10"` or `"10%"`.
    ///
    /// # Errors
    /// What is neither a number nor a percentage from 0% to 100%.
    pub fn parse(text: &str) -> Result<Self, CeilingError> {
        let error = || CeilingError(text.to_owned());
        match text.strip_suffix('%') {
            Some(percent) => percent.parse().ok().filter(|p| *p <= 100).map(Self::Percent).ok_or_else(error),
            None => text.parse().map(Self::Count).map_err(|_| error()),
        }
    }

    /// The most deletions allowed of an inventory.
    #[must_use]
    pub fn of(self, entries: usize) -> usize {
        let percent = |p: u32| (entries * p as usize).div_ceil(100);
        match self {
            Self::Default => percent(50),
            Self::Count(count) => count as usize,
            Self::Percent(p) => percent(p),
            Self::Lifted => usize::MAX,
        }
    }
}

/// A deletion ceiling that cannot be read.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("prunePolicy.maxDeletions is {0:?}: write a number (10) or a percentage (10%)")]
pub struct CeilingError(String);

/// Why no deletion of a plan is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// More deletions than the ceiling allows.
    Ceiling { allowed: usize, entries: usize, deletions: usize },
    /// Git has none of the objects any more.
    Emptied { entries: usize },
    /// The inventory was rebuilt and not accepted yet; its digest.
    Rebuilt { digest: String },
    /// Not all objects could be applied: what replaces the old ones may be missing.
    Unapplied,
    /// These ask for a confirmation; all others go.
    Unconfirmed,
}

impl Held {
    /// The word of the metrics.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Ceiling { .. } => "ceiling",
            Self::Emptied { .. } => "emptied",
            Self::Rebuilt { .. } => "rebuilt",
            Self::Unapplied => "unapplied",
            Self::Unconfirmed => "unconfirmed",
        }
    }
}

/// A plan that may be carried out.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckedPlan {
    stages: Vec<(Stage, Vec<ApplyStep>)>,
    prune: Vec<PruneStep>,
    held: Option<Held>,
    inventory: Inventory,
}

/// Checks a plan against the Sync's ceiling; `rebuilt` is the digest of an inventory nobody has accepted yet.
#[must_use]
pub fn check(plan: Plan, ceiling: Ceiling, rebuilt: Option<&str>) -> CheckedPlan {
    // Not what the plan adds: a folder moved and renamed would double its own ceiling.
    let entries = plan.owned;
    let deletions = plan.deletions;
    let held = if deletions == 0 {
        None
    } else if let Some(digest) = rebuilt {
        Some(Held::Rebuilt { digest: digest.to_owned() })
    } else if ceiling == Ceiling::Default && plan.apply.is_empty() {
        Some(Held::Emptied { entries })
    } else if deletions > ceiling.of(entries) {
        Some(Held::Ceiling { allowed: ceiling.of(entries), entries, deletions })
    } else if plan.apply.iter().any(|s| matches!(s.apply, Apply::Refuse(_) | Apply::Conflict(_) | Apply::HoldBack(_))) {
        Some(Held::Unapplied)
    } else {
        None
    };
    let mut stages: Vec<(Stage, Vec<ApplyStep>)> = Vec::new();
    for step in plan.apply {
        let stage = order::stage(&step.desired.id.kind);
        match stages.last_mut() {
            Some((last, steps)) if *last == stage => steps.push(step),
            _ => stages.push((stage, vec![step])),
        }
    }
    CheckedPlan { stages, prune: plan.prune, held, inventory: plan.inventory }
}

impl CheckedPlan {
    /// The stages in order, each with its steps in order.
    #[must_use]
    pub fn stages(&self) -> &[(Stage, Vec<ApplyStep>)] {
        &self.stages
    }

    #[must_use]
    pub fn prune(&self) -> &[PruneStep] {
        &self.prune
    }

    /// Why none of the deletions is made.
    #[must_use]
    pub fn held(&self) -> Option<&Held> {
        self.held.as_ref()
    }

    /// What goes before objects of a stage are applied, of what stages before it did not take yet.
    #[must_use]
    pub fn early(&self, stage: Stage) -> Vec<&PruneStep> {
        if self.held.is_some() {
            return Vec::new();
        }
        let goes = |step: &&PruneStep| {
            matches!(step.prune, Prune::Delete { early: true, .. }) && order::stage(&step.id.kind) <= stage
        };
        self.prune.iter().filter(goes).collect()
    }

    /// What must be written before anything is created.
    #[must_use]
    pub fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// Whether the plan changes nothing and has nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.prune.iter().all(|step| matches!(step.prune, Prune::Keep(_) | Prune::HandOver(_) | Prune::Ask))
            && self
                .stages
                .iter()
                .flat_map(|(_, steps)| steps)
                .all(|step| matches!(step.apply, Apply::Keep | Apply::Leave(_)))
    }
}

/// How a stage may begin, given its dry-run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// Everything in it was accepted.
    Whole,
    /// What could not be judged waits; the rest is applied, later stages are not.
    Partly,
    /// Something was refused: nothing of it is applied, nor of later stages.
    No,
}

/// Judges whether a stage may begin.
#[must_use]
pub fn entry<'a>(steps: impl IntoIterator<Item = &'a Apply>) -> Entry {
    let mut entry = Entry::Whole;
    for step in steps {
        match step {
            Apply::Refuse(_) | Apply::Conflict(_) => return Entry::No,
            Apply::HoldBack(_) | Apply::AwaitEnd => entry = Entry::Partly,
            Apply::Keep
            | Apply::Leave(_)
            | Apply::Create
            | Apply::Configure
            | Apply::Revert(_)
            | Apply::Drifted(_)
            | Apply::Recreate(_)
            | Apply::WhenDefined => {}
        }
    }
    entry
}

#[cfg(test)]
mod tests;
