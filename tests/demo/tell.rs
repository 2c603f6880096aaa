//! What is told when a step was not seen: the step, how the objects stand, and the ends of the logs.

use harness::Failure;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject};
use towline_agent::api::{GitSource, Sync};

use crate::parts::{FLEET_NAMESPACE, Parts};
use crate::scenes::NAME;

/// The failure, with everything a reader needs to find its cause.
pub(crate) async fn explained(parts: &Parts, failure: Failure) -> Failure {
    let source = state(&parts.client, &ApiResource::erase::<GitSource>(&())).await;
    let sync = state(&parts.client, &ApiResource::erase::<Sync>(&())).await;
    let logs = [
        ("towline-receiver", parts.receiver.log_tail()),
        ("towline-agent", parts.agent.log_tail()),
        ("nats-server", parts.nats.log_tail()),
    ];
    let mut why = format!("{failure}\n\nGitSource: {source}\nSync: {sync}\n");
    for (name, tail) in logs {
        why.push_str(&format!("\nthe end of the log of {name}:\n{tail}\n"));
    }
    Failure::new("play the demo", why)
}

/// The status of one of Towline's objects, as far as the API server still tells.
async fn state(client: &Client, resource: &ApiResource) -> String {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), FLEET_NAMESPACE, resource);
    match api.get_opt(NAME).await {
        Ok(Some(object)) => object.data.get("status").map_or("no status".to_owned(), ToString::to_string),
        Ok(None) => "it does not exist".to_owned(),
        Err(error) => format!("the API server does not tell: {error}"),
    }
}
