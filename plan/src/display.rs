//! A checked plan as text for people: stages, steps with their reasons, deletions and what holds them.
//!
//! Knows words. Must not decide: everything said stands in the plan. No values of objects are shown, only their names.

use std::fmt;

use crate::check::{CheckedPlan, Entry, Held, entry};
use crate::decide::{Apply, ApplyStep};
use crate::order::Stage;
use crate::part::{Prune, PruneStep};
use crate::waves::{Wave, waves};

impl fmt::Display for CheckedPlan {
    /// One line a step: `create ConfigMap/shop/web (web.yaml:1)`, and why, where there is something to say.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut open = Entry::Whole;
        for (stage, steps) in self.stages() {
            let before = open;
            open = match before {
                Entry::Whole => entry(steps.iter().map(|step| &step.apply)),
                Entry::Partly | Entry::No => Entry::No,
            };
            let note = match (before, open) {
                (Entry::Whole, Entry::Whole) => "",
                (Entry::Whole, Entry::Partly) => ", in part",
                (Entry::Whole, Entry::No) => ", not begun: something is refused",
                (Entry::Partly | Entry::No, _) => ", not begun: an earlier stage is not done",
            };
            writeln!(f, "{}{note}", stage_word(*stage))?;
            steps.iter().try_for_each(|step| write_apply(f, step))?;
        }
        if !self.prune().is_empty() {
            writeln!(f, "no longer in Git")?;
            self.prune().iter().try_for_each(|step| write_prune(f, step))?;
            waves(self.prune()).iter().try_for_each(|wave| write_wave(f, wave))?;
        }
        match self.held() {
            Some(held) => writeln!(f, "nothing is deleted: {held}"),
            None if self.is_empty() => writeln!(f, "nothing to do"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ceiling { allowed, entries, deletions: _ } => {
                write!(f, "at most {allowed} of {entries} owned objects may be deleted in one pass")
            }
            Self::Emptied { entries } => write!(f, "Git has none of the {entries} owned objects any more"),
            Self::Rebuilt { digest } => {
                write!(f, "the inventory was lost and rebuilt, and nobody has accepted {digest} yet")
            }
            Self::Unapplied => f.write_str("not everything Git wants can be applied"),
            Self::Unconfirmed => f.write_str("nobody has confirmed it"),
        }
    }
}

fn stage_word(stage: Stage) -> &'static str {
    match stage {
        Stage::Definitions => "definitions",
        Stage::Foundations => "foundations",
        Stage::Accounts => "accounts",
        Stage::Classes => "classes",
        Stage::Rest => "rest",
        Stage::Webhooks => "webhooks",
    }
}

fn write_apply(f: &mut fmt::Formatter<'_>, step: &ApplyStep) -> fmt::Result {
    let (word, why) = match &step.apply {
        Apply::Keep => ("unchanged", ""),
        Apply::Leave(how) => ("leave", how.as_str()),
        Apply::Create => ("create", ""),
        Apply::Configure if step.take_over => ("adopt", ""),
        Apply::Configure => ("configure", ""),
        Apply::Revert(drift) => ("revert", drift.what.as_str()),
        Apply::Drifted(drift) => ("leave drifted", drift.what.as_str()),
        Apply::Recreate(why) => ("recreate", why.as_str()),
        Apply::AwaitEnd => ("create when it is gone", ""),
        Apply::WhenDefined => ("decide later", "what it needs may come in an earlier stage"),
        Apply::Refuse(why) | Apply::Conflict(why) => ("refuse", why.as_str()),
        Apply::HoldBack(why) => ("hold back", why.as_str()),
    };
    write!(f, "  {word} {} ({})", step.desired.id, step.desired.origin)?;
    match (&step.apply, step.take_over) {
        (Apply::Revert(why), true) => writeln!(f, ": {why}, and it is another object now"),
        _ => write_why(f, why),
    }
}

fn write_prune(f: &mut fmt::Formatter<'_>, step: &PruneStep) -> fmt::Result {
    let (word, why) = match &step.prune {
        Prune::Delete { uid: _, early: false } => ("delete", ""),
        Prune::Delete { uid: _, early: true } => ("delete early", ""),
        Prune::Going => ("going", ""),
        Prune::Ask => ("ask", "it waits for the annotation towline.dev/prune-confirmed"),
        Prune::Forget(why) => ("forget", why.as_str()),
        Prune::Keep(why) => ("keep", why.as_str()),
        Prune::HandOver(why) => ("hand over", why.as_str()),
    };
    write!(f, "  {word} {}", step.id)?;
    write_why(f, why)
}

/// What waits for others to be gone; the rest goes in the order it is listed.
fn write_wave(f: &mut fmt::Formatter<'_>, wave: &Wave<'_>) -> fmt::Result {
    if wave.after.is_empty() {
        return Ok(());
    }
    let list = |ids: Vec<String>| ids.join(", ");
    let after = list(wave.after.iter().map(ToString::to_string).collect());
    writeln!(f, "  once {after} is gone: {}", list(wave.steps.iter().map(|step| step.id.to_string()).collect()))
}

fn write_why(f: &mut fmt::Formatter<'_>, why: &str) -> fmt::Result {
    match why {
        "" => writeln!(f),
        why => writeln!(f, ": {why}"),
    }
}
