//! What a cluster itself is made of: CustomResourceDefinition, APIService, Namespace.

use serde_json::Value;

use super::Health;
use super::generic::{phase, terminating};
use super::status::condition;

pub(super) fn definition(object: &Value) -> Health {
    if let Some(names) = condition(object, "NamesAccepted").filter(|c| c.is_false()) {
        return Health::failed(names.reason_or("NamesNotAccepted"), format!("its names are taken{}", names.told()));
    }
    match condition(object, "Established") {
        Some(established) if established.is_true() => Health::current("Established", "its kind is served"),
        Some(established) if established.is_false() && established.reason != "Installing" => Health::failed(
            established.reason_or("NotEstablished"),
            format!("its kind is not served{}", established.told()),
        ),
        Some(_) | None => Health::in_progress("Installing", "its kind is not served yet"),
    }
}

/// The server behind it may be a Deployment of the same Sync: one that is not available is waited for.
pub(super) fn api_service(object: &Value) -> Health {
    match condition(object, "Available") {
        Some(available) if available.is_true() => Health::current(available.reason_or("Available"), "is available"),
        Some(available) => {
            Health::in_progress(available.reason_or("NotAvailable"), format!("is not available{}", available.told()))
        }
        None => Health::in_progress("NotObserved", "has not been looked at yet"),
    }
}

pub(super) fn namespace(object: &Value) -> Health {
    match phase(object) {
        Some("Terminating") => terminating(object),
        Some(_) | None => Health::current("Active", "exists"),
    }
}
