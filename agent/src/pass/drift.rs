//! Drift that is left as it is: what the Sync says of it, and what of it is told now for the first time.
//!
//! Pure. What is told already stands in the Sync's condition, so that neither a restart nor another look tells it again. Must
//! not know how drift is found.

use towline_plan::diff::Drift;
use towline_plan::naming::{NAMED_MAX, list};
use towline_plan::object::ObjectId;

use super::Pass;
use super::outcome::{Action, Deed};
use crate::api::{self, Sync};

/// Longest text of one object within the condition: ten of them stay below what a condition may hold.
const TEXT_BYTES_MAX: usize = 400;

/// What the Sync's condition says of objects that drifted; `None`: none has.
#[must_use]
pub fn said(sync: &Sync) -> Option<&str> {
    let conditions = sync.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    conditions.iter().find(|c| c.type_ == api::DRIFTED).map(|c| c.message.as_str())
}

/// The same in words, of what a pass found.
#[must_use]
pub fn in_words(drifted: &[(ObjectId, Drift)]) -> String {
    let objects = list(drifted.iter().map(|(id, drift)| one(id, drift)));
    format!("changed in the cluster and left so (driftDetection.mode: warn): {objects}")
}

fn one(id: &ObjectId, drift: &Drift) -> String {
    let what = &drift.what;
    match what.char_indices().map(|(at, _)| at).find(|at| *at >= TEXT_BYTES_MAX) {
        Some(end) => format!("{id} ({}…)", &what[..end]),
        None => format!("{id} ({what})"),
    }
}

/// All that drifted, and what of it has to be told. What is not named in the condition any more, because there is so much, is
/// told only when it was not remembered.
pub(super) fn found(pass: &Pass, drifted: Vec<(ObjectId, Drift, bool)>) -> (Vec<(ObjectId, Drift)>, Vec<Action>) {
    let told = said(&pass.sync).unwrap_or_default();
    let is_new = |(index, (id, drift, remembered)): &(usize, &(ObjectId, Drift, bool))| {
        !(told.contains(&one(id, drift)) || (*remembered && *index >= NAMED_MAX))
    };
    let new = drifted.iter().enumerate().filter(is_new);
    let actions = new.map(|(_, (id, drift, _))| {
        tracing::warn!(object = %id, what = drift.what, "drifted, and left so");
        Action { id: id.clone(), deed: Deed::Drifted(drift.clone()) }
    });
    let actions = actions.collect();
    (drifted.into_iter().map(|(id, drift, _)| (id, drift)).collect(), actions)
}
