//! The scenes: a push is applied, drift is reverted, a revert rolls back, a deleted file is pruned. Each acts as a person
//! would and is over when the API server shows what Git says. Knows what is played; must not know how parts are started.

use harness::Failure;
use harness::failure::Doing as _;
use harness::tools::tool;
use harness::wait_until;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::ResourceExt as _;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};
use tokio::process::Command;
use towline_agent::api::{GitSource, Sync};

use crate::deliver::{self, Delivery, says, short};
use crate::parts::{FLEET_NAMESPACE, HOST, Parts, REPOSITORY, SHOP};
use crate::screen::{Timeline, ms, say};
use crate::watch::{PATIENCE, Sight};

/// The name of the GitSource and of the Sync.
pub(crate) const NAME: &str = "fleet";

const NAMESPACE_FILE: (&str, &str) =
    ("shop/namespace.yaml", "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n");

/// Replicas as Git has them, and as a person in a hurry sets them.
const REPLICAS: i64 = 2;
const SCALED: i64 = 5;

/// Plays all of them; answers with what each came to, in milliseconds.
pub(crate) async fn all(parts: &mut Parts) -> Result<Vec<(&'static str, f64)>, Failure> {
    let first = "the first commit → applied";
    named(first, begin(parts).await)?;
    let mut played = Vec::new();
    let step = "push, delivery → applied";
    played.push((step, named(step, push(parts).await)?));
    let step = "kubectl scale → reverted";
    played.push((step, named(step, drift(parts).await)?));
    let step = "git revert, delivery → rolled back";
    played.push((step, named(step, roll_back(parts).await)?));
    let step = "file deleted, delivery → pruned";
    played.push((step, named(step, prune(parts).await)?));
    Ok(played)
}

/// A failure says in which step it was.
fn named<T>(step: &str, result: Result<T, Failure>) -> Result<T, Failure> {
    result.map_err(|failure| Failure::new(format!("see the step \"{step}\""), failure))
}

/// The first commit, and the source and Sync that follow it.
async fn begin(parts: &mut Parts) -> Result<(), Failure> {
    let (web, settings, banner) = (web("1.0"), config_map("settings", "blue"), config_map("banner", "hello"));
    let files =
        [NAMESPACE_FILE, ("shop/web.yaml", &web), ("shop/settings.yaml", &settings), ("shop/banner.yaml", &banner)];
    let commit = parts.repo.commit(&files).await?;
    say(format!(
        "\nThe first commit, {}: a namespace, a Deployment, two ConfigMaps; a GitSource and a Sync",
        short(&commit)
    ));
    follow(parts).await?;
    let began = Timestamp::now();
    let (web, _) = parts.window.wait("Deployment web", 0, |sight| sight.is("Deployment", "web")).await?;
    let ready = ready_at(parts, 0, &commit).await?;
    listening(parts).await?;
    let mut timeline = Timeline::from(began);
    timeline.add(began, "demo", "GitSource and Sync are there; their poll is an hour away");
    timeline.add(web.at, "API server", "shows Deployment web");
    timeline.add(ready.at, "API server", format!("shows the Sync Ready at main@sha1:{}", short(&commit)));
    timeline.print();
    Ok(())
}

async fn push(parts: &mut Parts) -> Result<f64, Failure> {
    let from = parts.window.now();
    let commit = parts.repo.commit(&[("shop/web.yaml", &web("2.0"))]).await?;
    say(format!("\nA push, {}: Deployment web gets the image web:2.0", short(&commit)));
    let delivery = deliver::send(parts, &commit).await?;
    let mut timeline = Timeline::from(delivery.began);
    delivery.trace(parts, &mut timeline).await?;
    follow_image(parts, timeline, &delivery, from, "web:2.0", &commit).await
}

async fn drift(parts: &mut Parts) -> Result<f64, Failure> {
    let from = parts.window.now();
    say(format!("\nDrift: kubectl scale deployment web --replicas={SCALED}"));
    kubectl(parts, &["--namespace", SHOP, "scale", "deployment", "web", &format!("--replicas={SCALED}")]).await?;
    let replicas = |count: i64| {
        move |sight: &Sight| {
            sight.is("Deployment", "web") && sight.field("/spec/replicas").and_then(Value::as_i64) == Some(count)
        }
    };
    let window = &parts.window;
    let (scaled, from) = window.wait(&format!("web with {SCALED} replicas"), from, replicas(SCALED)).await?;
    let (reverted, _) = window.wait(&format!("web with {REPLICAS} replicas again"), from, replicas(REPLICAS)).await?;
    let mut timeline = Timeline::from(scaled.at);
    timeline.add(scaled.at, "API server", format!("shows {SCALED} replicas, set by {}", owner(&scaled)));
    timeline.add(reverted.at, "API server", format!("shows {REPLICAS} replicas again, set by {}", owner(&reverted)));
    timeline.print();
    Ok(ms(scaled.at, reverted.at))
}

async fn roll_back(parts: &mut Parts) -> Result<f64, Failure> {
    let from = parts.window.now();
    let commit = parts.repo.revert().await?;
    say(format!("\ngit revert, {}: back to the image web:1.0", short(&commit)));
    let delivery = deliver::send(parts, &commit).await?;
    let mut timeline = Timeline::from(delivery.began);
    delivery.trace(parts, &mut timeline).await?;
    follow_image(parts, timeline, &delivery, from, "web:1.0", &commit).await
}

async fn prune(parts: &mut Parts) -> Result<f64, Failure> {
    let from = parts.window.now();
    let commit = parts.repo.remove("shop/banner.yaml").await?;
    say(format!("\nA deleted file, {}: ConfigMap banner is no longer in Git", short(&commit)));
    let delivery = deliver::send(parts, &commit).await?;
    let mut timeline = Timeline::from(delivery.began);
    delivery.trace(parts, &mut timeline).await?;
    let gone = |sight: &Sight| sight.gone && sight.is("ConfigMap", "banner");
    let (gone, _) = parts.window.wait("no ConfigMap banner", from, gone).await?;
    let ready = ready_at(parts, from, &commit).await?;
    timeline.add(gone.at, "API server", "shows that ConfigMap banner is deleted");
    timeline.add(ready.at, "API server", "shows the Sync Ready at this commit");
    timeline.print();
    Ok(ms(delivery.began, gone.at))
}

/// The end of a delivery that changes the image of web.
async fn follow_image(
    parts: &mut Parts,
    mut timeline: Timeline,
    delivery: &Delivery,
    from: usize,
    image: &str,
    commit: &str,
) -> Result<f64, Failure> {
    let has = |sight: &Sight| {
        let seen = sight.field("/spec/template/spec/containers/0/image").and_then(Value::as_str);
        sight.is("Deployment", "web") && seen == Some(image)
    };
    let (seen, _) = parts.window.wait(&format!("web with the image {image}"), from, has).await?;
    let ready = ready_at(parts, from, commit).await?;
    let succeeded = |line: &Value| {
        says(line, "pass succeeded") && line["span"]["revision"].as_str().is_some_and(|r| r.ends_with(commit))
    };
    let pass = deliver::line(&mut parts.agent, "the end of the pass", succeeded).await?;
    let done = pass.pointer("/fields/done").and_then(Value::as_str).unwrap_or_default();
    timeline.add(seen.at, "API server", format!("shows Deployment web with the image {image}"));
    timeline.add(deliver::time(&pass)?, "agent", format!("the pass is over: {done}"));
    timeline.add(ready.at, "API server", "shows the Sync Ready at this commit");
    timeline.print();
    Ok(ms(delivery.began, seen.at))
}

/// Creates the GitSource and the Sync.
async fn follow(parts: &Parts) -> Result<(), Failure> {
    let doing = || "create the GitSource and the Sync".to_owned();
    let object = |kind: &str, spec: Value| json!({ "apiVersion": "towline.dev/v1alpha1", "kind": kind, "metadata": { "name": NAME }, "spec": spec });
    let event_repository = format!("{HOST}/{REPOSITORY}");
    let source = json!({ "url": parts.git.url(NAME), "interval": "1h", "eventRepository": event_repository });
    let source: GitSource = serde_json::from_value(object("GitSource", source)).doing(doing)?;
    let sync = json!({ "sourceRef": { "kind": "GitSource", "name": NAME }, "interval": "1h", "prune": true });
    let sync: Sync = serde_json::from_value(object("Sync", sync)).doing(doing)?;
    let (client, params) = (&parts.client, PostParams::default());
    Api::namespaced(client.clone(), FLEET_NAMESPACE).create(&params, &source).await.doing(doing)?;
    Api::namespaced(client.clone(), FLEET_NAMESPACE).create(&params, &sync).await.doing(doing)?;
    Ok(())
}

/// Waits until the source says that events can arrive. Without it an event is found all the same, but not at once.
async fn listening(parts: &Parts) -> Result<(), Failure> {
    let sources: Api<GitSource> = Api::namespaced(parts.client.clone(), FLEET_NAMESPACE);
    wait_until("the GitSource is ready for events", PATIENCE, async || {
        let source = sources.get(NAME).await.map_err(|error| error.to_string())?;
        let conditions = source.status.map(|status| status.conditions).unwrap_or_default();
        match conditions.iter().any(|c| c.type_ == "EventsReady" && c.status == "True") {
            true => Ok(()),
            false => Err(format!("{conditions:?}")),
        }
    })
    .await
}

/// The Sync as the API server shows it Ready at a commit.
async fn ready_at(parts: &Parts, from: usize, commit: &str) -> Result<Sight, Failure> {
    let ready = |sight: &Sight| {
        let conditions = sight.field("/status/conditions").and_then(Value::as_array);
        let is_ready = conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True");
        let applied = sight.field("/status/lastAppliedRevision").and_then(Value::as_str);
        sight.is("Sync", NAME) && is_ready && applied.is_some_and(|revision| revision.ends_with(commit))
    };
    let seen = parts.window.wait(&format!("the Sync Ready at {commit}"), from, ready).await?;
    Ok(seen.0)
}

/// Who set the replicas, as the API server keeps it: the field manager that owns them.
fn owner(sight: &Sight) -> &str {
    let owns = |entry: &&ManagedFieldsEntry| {
        entry.fields_v1.as_ref().is_some_and(|fields| fields.0.pointer("/f:spec/f:replicas").is_some())
    };
    let entry = sight.object.managed_fields().iter().find(owns);
    entry.and_then(|entry| entry.manager.as_deref()).unwrap_or("nobody")
}

async fn kubectl(parts: &Parts, arguments: &[&str]) -> Result<(), Failure> {
    let doing = || format!("run `kubectl {}`", arguments.join(" "));
    let mut command = Command::new(tool("kubectl")?);
    command.arg("--kubeconfig").arg(parts.plane.kubeconfig()).args(arguments).kill_on_drop(true);
    let output = command.output().await.doing(doing)?;
    match output.status.success() {
        true => Ok(()),
        false => Err(Failure::new(doing(), format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)))),
    }
}

/// No node ever runs it: what is shown is the Deployment.
fn web(version: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n  namespace: {SHOP}\nspec:\n  replicas: {REPLICAS}\n  \
         selector:\n    matchLabels: {{app: web}}\n  template:\n    metadata:\n      labels: {{app: web}}\n    spec:\n      \
         containers:\n      - name: web\n        image: web:{version}\n"
    )
}

fn config_map(name: &str, value: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  namespace: {SHOP}\ndata:\n  value: {value:?}\n"
    )
}
