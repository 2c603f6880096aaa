//! NATS is away, or the agent is: deliveries are refused rather than lost, the poll goes on, and everything resumes by itself.

use harness::gate::Gate;
use harness::nats::{NatsAccess, Permissions};
use harness::wait_until;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use towline_agent::api::GitSource;

use crate::reports::Reports;
use crate::world::{PATIENCE, World};

#[tokio::test(flavor = "multi_thread")]
async fn nats_goes_and_comes_back() {
    let mut world = World::new("nats-goes").await;
    let first = world.repo.commit(&[("a.yaml", &world.config_map("a", "1"))]).await.unwrap();
    world.sync_with(json!({"interval": "1s"}), json!({})).await;
    world.ready_at(&first).await;
    world.listening().await;
    // One that comes later, for a ref that is listened to already.
    let sources: Api<GitSource> = Api::namespaced(world.client.clone(), &world.namespace);
    let again = GitSource::new("again", world.source().await.spec);
    sources.create(&PostParams::default(), &again).await.unwrap();
    events_ready(&sources, "again", "Subscribed").await;
    let admin = world.receiver.admin_url("/readyz").await.unwrap();
    receiver_is(&admin, 200, "ok").await;

    world.nats.stop();
    let second = world.repo.commit(&[("a.yaml", &world.config_map("a", "2"))]).await.unwrap();
    assert_eq!(world.deliver(&second).await, 503);
    receiver_is(&admin, 503, "nats: failed to connect to nats://").await;
    world.cut_off().await;
    events_ready(&sources, "again", "NotConnected").await;
    world.applied("a", "2").await;
    world.ready_at(&second).await;

    // From here on only an event helps.
    interval(&world, "1h").await;
    world.nats.resume().await.unwrap();
    world.listening().await;
    events_ready(&sources, "again", "Subscribed").await;
    receiver_is(&admin, 200, "ok").await;
    // What happened meanwhile is told now.
    Reports::of(&world).await.of_applied(&second).await;
    world.push(&[("a.yaml", &world.config_map("a", "3"))]).await;
    world.applied("a", "3").await;
    assert_eq!(starts(&world), 2, "one of each daemon, at the beginning");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_published_while_the_agent_was_away_are_acted_on() {
    let mut world = World::new("agent-away").await;
    let address = world.nats.url().trim_start_matches("nats://").parse().unwrap();
    let gate = Gate::to(address).await.unwrap();
    let access = NatsAccess { url: format!("nats://{}", gate.address()), ..world.nats.access("agent") };
    world.agent_with(access).await;
    let first = world.repo.commit(&[("a.yaml", &world.config_map("a", "1"))]).await.unwrap();
    world.sync().await;
    world.ready_at(&first).await;
    world.listening().await;

    gate.close().await.unwrap();
    world.cut_off().await;
    let second = world.push(&[("a.yaml", &world.config_map("a", "2"))]).await;
    // Nothing but the event can tell it, and that waits in the stream.
    world.ready_at(&first).await;
    gate.open().await.unwrap();
    world.applied("a", "2").await;
    world.ready_at(&second).await;
    world.listening().await;

    world.agent.kill();
    let third = world.push(&[("a.yaml", &world.config_map("a", "3"))]).await;
    world.agent.resume().unwrap();
    world.applied("a", "3").await;
    world.ready_at(&third).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_starts_without_nats_polls_and_listens_later() {
    let mut world = World::new("starts-without-nats").await;
    world.agent.kill();
    world.nats.stop();
    world.agent.resume().unwrap();
    let first = world.repo.commit(&[("a.yaml", &world.config_map("a", "1"))]).await.unwrap();
    world.sync_with(json!({"interval": "1s"}), json!({})).await;
    world.ready_at(&first).await;
    world.cut_off().await;
    let second = world.repo.commit(&[("a.yaml", &world.config_map("a", "2"))]).await.unwrap();
    world.ready_at(&second).await;

    interval(&world, "1h").await;
    world.nats.resume().await.unwrap();
    world.listening().await;
    wait_until("the receiver takes deliveries again", PATIENCE, async || match world.deliver(&second).await {
        202 => Ok(()),
        other => Err(other.to_string()),
    })
    .await
    .unwrap();
    world.push(&[("a.yaml", &world.config_map("a", "3"))]).await;
    world.applied("a", "3").await;
}

/// Permissions that do not let the agent hear: it says so, and the poll is what is left.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_may_not_listen_says_so_and_polls() {
    let mut world = World::new("may-not-listen").await;
    let subscribe = vec![format!("_INBOX_{}.>", world.namespace), "towline.reconcile.>".to_owned()];
    let deaf = Permissions { subscribe: Some(subscribe), publish: None };
    let access = world.nats.add_user("deaf", deaf).await.unwrap();
    world.agent_with(access).await;
    let first = world.repo.commit(&[("a.yaml", &world.config_map("a", "1"))]).await.unwrap();
    world.sync_with(json!({"interval": "1s"}), json!({})).await;
    world.ready_at(&first).await;
    let what = "the condition names what is refused";
    world
        .events_ready(what, |status, reason, message| {
            (status, reason) == ("False", "Denied") && message.contains("towline.commit.")
        })
        .await;
    let second = world.push(&[("a.yaml", &world.config_map("a", "2"))]).await;
    world.ready_at(&second).await;
    Reports::of(&world).await.of_applied(&second).await;
}

/// Waits until the receiver says so of itself.
async fn receiver_is(readyz: &str, status: u16, why: &str) {
    wait_until(&format!("the receiver answers {status}: {why}"), PATIENCE, async || {
        let answer = reqwest::get(readyz).await.map_err(|e| e.to_string())?;
        let (seen, text) = (answer.status().as_u16(), answer.text().await.map_err(|e| e.to_string())?);
        if seen == status && text.contains(why) { Ok(()) } else { Err(format!("{seen}: {text}")) }
    })
    .await
    .unwrap();
}

/// Waits for the reason of a source's EventsReady condition.
async fn events_ready(sources: &Api<GitSource>, name: &str, reason: &str) {
    wait_until(&format!("EventsReady of {name} is {reason}"), PATIENCE, async || {
        let status = sources.get(name).await.map_err(|e| e.to_string())?.status.unwrap_or_default();
        match status.conditions.iter().find(|c| c.type_ == "EventsReady") {
            Some(c) if c.reason == reason => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
}

/// Sets how often the source is looked at, and waits until the agent goes by it.
async fn interval(world: &World, interval: &str) {
    let sources: Api<GitSource> = Api::namespaced(world.client.clone(), &world.namespace);
    let patch = json!({"spec": {"interval": interval}});
    let patched = sources.patch("fleet", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    wait_until("the source's new settings are observed", PATIENCE, async || {
        let observed = world.source().await.status.and_then(|status| status.observed_generation);
        if observed == patched.metadata.generation { Ok(()) } else { Err(format!("{observed:?}")) }
    })
    .await
    .unwrap();
}

/// How often daemons started, by their logs.
fn starts(world: &World) -> usize {
    let is_start = |line: &&Value| line.to_string().contains(r#""what":"admin""#);
    let of = |lines: Vec<Value>| lines.iter().filter(is_start).count();
    of(world.agent.log_lines()) + of(world.receiver.log_lines())
}
