//! PersistentVolumeClaims.

use serde_json::Value;

use super::Health;
use super::generic::phase;

pub(super) fn claim(object: &Value) -> Health {
    match phase(object) {
        Some("Bound") => Health::current("Bound", "is bound to a volume"),
        // Its volume is gone, and what was in it; no controller brings it back.
        Some("Lost") => Health::failed("Lost", "has lost its volume"),
        Some("Pending") => Health::in_progress(
            "NotBound",
            "is not bound to a volume yet; a class with WaitForFirstConsumer binds when a Pod uses the claim",
        ),
        Some(other) => Health::in_progress("NotBound", format!("is not bound to a volume; its phase is {other}")),
        None => Health::in_progress("NotBound", "is not bound to a volume yet"),
    }
}
