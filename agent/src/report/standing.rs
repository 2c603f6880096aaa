//! What is said of a Sync whether or not a pass runs: suspended, fought over, healthy.
//!
//! Pure. Must not know what a pass did.

use jiff::Timestamp;

use super::Note;
use crate::api::{self, ConditionStatus, Conditions, Sync, SyncStatus, Verdict};
use crate::cluster;
use crate::pass::health;

/// What a suspended Sync says of itself.
const SUSPENDED_TEXT: &str = "neither applied, nor reverted, nor pruned while spec.suspend is set";

/// The conditions that hold between passes, too.
pub(super) fn stand(
    conditions: &mut Conditions,
    sync: &Sync,
    fights: Option<&str>,
    healthy: Option<Verdict>,
    now: Timestamp,
) {
    if !health::is_asked(&sync.spec) {
        conditions.clear(api::HEALTHY);
    } else if let Some(healthy) = healthy {
        conditions.set(api::HEALTHY, healthy, sync.metadata.generation, now);
    }
    let holds = |reason: &str, message: &str| Verdict {
        status: ConditionStatus::True,
        reason: reason.to_owned(),
        message: message.to_owned(),
    };
    let suspended = sync.spec.suspend.then(|| holds("Suspended", SUSPENDED_TEXT));
    let fought = fights.map(|fights| holds("ChangedByOthers", fights));
    for (kind, verdict) in [(api::SUSPENDED, suspended), (api::DRIFT_REPEATED, fought)] {
        match verdict {
            Some(verdict) => conditions.set(kind, verdict, sync.metadata.generation, now),
            None => conditions.clear(kind),
        }
    }
}

/// The status of a Sync of which no pass runs now.
#[must_use]
pub fn standing(sync: &Sync, fights: Option<&str>, healthy: Option<Verdict>, now: Timestamp) -> SyncStatus {
    let mut status = sync.status.clone().unwrap_or_default();
    let mut conditions = Conditions(std::mem::take(&mut status.conditions));
    stand(&mut conditions, sync, fights, healthy, now);
    status.conditions = conditions.0;
    status
}

/// What is told when a Sync is suspended or resumed, if its status says the opposite.
#[must_use]
pub fn suspension(sync: &Sync) -> Option<Note> {
    let conditions = sync.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let was = conditions.iter().any(|c| c.type_ == api::SUSPENDED);
    let (reason, text) = match (was, sync.spec.suspend) {
        (false, true) => ("Suspended", SUSPENDED_TEXT),
        (true, false) => ("Resumed", "applied, reverted and pruned again"),
        (true, true) | (false, false) => return None,
    };
    Some(Note { kind: cluster::EventKind::Normal, reason: reason.to_owned(), text: text.to_owned() })
}
