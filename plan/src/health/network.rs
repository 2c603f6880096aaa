//! Service and Ingress.

use serde_json::Value;

use super::Health;
use super::status::text;

/// As kstatus: a load balancer's address is told and not waited for, because there are clusters where none ever comes.
/// Who wants to wait for it says so in `healthCheckExprs`.
pub(super) fn service(object: &Value) -> Health {
    if text(object, "/spec/type") != Some("LoadBalancer") {
        return Health::current("Exists", "exists");
    }
    if text(object, "/spec/clusterIP").is_none() {
        return Health::in_progress("NoIPAssigned", "has no cluster IP yet");
    }
    match addresses(object).as_str() {
        "" => Health::current("Pending", "exists; it has no address from a load balancer yet"),
        addresses => Health::current("Assigned", format!("is reached at {addresses}")),
    }
}

/// Many controllers never write an address, so it is told and not waited for.
pub(super) fn ingress(object: &Value) -> Health {
    match addresses(object).as_str() {
        "" => Health::current("Pending", "exists; its controller has named no address"),
        addresses => Health::current("Assigned", format!("is reached at {addresses}")),
    }
}

fn addresses(object: &Value) -> String {
    let points = object.pointer("/status/loadBalancer/ingress").and_then(Value::as_array);
    let of = |point: &Value| text(point, "/ip").or_else(|| text(point, "/hostname")).map(str::to_owned);
    points.into_iter().flatten().filter_map(of).collect::<Vec<_>>().join(", ")
}
