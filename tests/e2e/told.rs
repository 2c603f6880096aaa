//! What people are told and what they do about it: every failure in four places, `towline suspend` and `resume`; and that those
//! who fail, wait or hang are in nobody's way.

use harness::api_proxy::Fault;
use harness::towline::cli;
use harness::wait_until;
use serde_json::json;
use towline_proto::report::EventKind;

use crate::world::{PATIENCE, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_a_condition_an_event_a_log_line_and_a_report() {
    let world = World::new("four").await;
    let broken = world.config_map("a", "1").replace("\ndata:", "\ndate:");
    world.repo.commit(&[("a.yaml", &broken)]).await.unwrap();
    world.sync().await;
    let is_told = |status: &str, reason: &str, message: &str| {
        (status, reason) == ("False", "ReconciliationFailed") && message.contains("a.yaml:1")
    };
    world.ready("the condition tells it", is_told).await;
    let message = world.said_of("fleet").await.2;
    world.event("ReconciliationFailed", &[&message]).await;
    let report = world.report(EventKind::Failed, &[&message]).await;
    assert_eq!(report.name, "fleet");
    wait_until("the log tells it", PATIENCE, async || {
        let is_it = |line: &serde_json::Value| {
            line["level"] == "ERROR" && line["fields"]["error"] == message.as_str() && line["span"]["sync"].is_string()
        };
        if world.agent.log_lines().iter().any(is_it) { Ok(()) } else { Err(world.agent.log_tail()) }
    })
    .await
    .unwrap();
    // Tried again and again, it is one Event and one report.
    wait_until("it is tried again", PATIENCE, async || {
        let lines = world.agent.log_lines();
        let failed = lines.iter().filter(|line| line["fields"]["error"] == message.as_str()).count();
        if failed >= 3 { Ok(()) } else { Err(format!("{failed} passes")) }
    })
    .await
    .unwrap();
    let events = world.events().await.into_iter().filter(|(_, reason, _)| reason == "ReconciliationFailed").count();
    let reports = world.reports().await.into_iter().filter(|report| report.kind == EventKind::Failed).count();
    assert_eq!((events, reports), (1, 1));
}

async fn towline(world: &World, verb: &str) {
    let kubeconfig = world.plane.kubeconfig().to_str().unwrap();
    let arguments = [verb, "sync/fleet", "-n", &world.namespace, "--kubeconfig", kubeconfig];
    let ran = cli(&arguments, &[]).await.unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_towline_suspend_suspends_is_neither_applied_nor_pruned_until_towline_resume() {
    let world = World::new("suspend-cli").await;
    let files = [
        ("apps/a.yaml", world.config_map("a", "1")),
        ("apps/b.yaml", world.config_map("b", "1")),
        ("other/c.yaml", world.config_map("c", "1")),
    ];
    let files = files.each_ref().map(|(path, text)| (*path, text.as_str()));
    let first = world.repo.commit(&files).await.unwrap();
    world.sync_with(json!({}), json!({"path": "apps", "prunePolicy": {"maxDeletions": "100%"}})).await;
    world.another_sync("other", json!({"path": "other"})).await;
    world.ready_at(&first).await;
    world.listening().await;

    towline(&world, "suspend").await;
    world.event("Suspended", &["spec.suspend"]).await;
    world.repo.git(&["rm", "--quiet", "apps/b.yaml"]).await.unwrap();
    let second = world
        .push(&[("apps/a.yaml", &world.config_map("a", "2")), ("other/c.yaml", &world.config_map("c", "2"))])
        .await;
    // Another Sync of the source has it: this one would have, too.
    world.other_ready("other", "another Sync is done", |s, _, message| s == "True" && message.contains(&second)).await;
    world.applied("a", "1").await;
    world.applied("b", "1").await;
    assert_eq!(world.owned("fleet").await.len(), 2);

    towline(&world, "resume").await;
    world.ready_at(&second).await;
    world.applied("a", "2").await;
    world.gone("b").await;
    world.event("Resumed", &[]).await;
}

/// More than there are turns of each: what waits for health, what fails again at once, and what gets no answers.
#[tokio::test(flavor = "multi_thread")]
async fn those_that_wait_fail_or_hang_hold_up_nobody_else() {
    const EACH: usize = 12;
    let (world, proxy) = World::behind("starving").await;
    let mut files = vec![("good/a.yaml".to_owned(), world.config_map("good", "1"))];
    for n in 0..EACH {
        files.push((format!("waits-{n}/w.yaml"), world.config_map(&format!("waits-{n}"), "1")));
        files.push((
            format!("fails-{n}/f.yaml"),
            world.config_map(&format!("fails-{n}"), "1").replace("\ndata:", "\ndate:"),
        ));
        files.push((format!("hangs-{n}/h.yaml"), world.config_map(&format!("hangs-{n}"), "1")));
    }
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let first = world.repo.commit(&files).await.unwrap();
    world.sync_with(json!({}), json!({"path": "good"})).await;
    world.ready_at(&first).await;
    world.listening().await;

    let hanging = proxy.while_on(Fault::Hang, |seen| {
        seen.is("patch", "configmaps") && seen.name.as_deref().is_some_and(|name| name.starts_with("hangs-"))
    });
    let check = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "never", "namespace": world.namespace}]);
    for n in 0..EACH {
        world.another_sync(&format!("waits-{n}"), json!({"path": format!("waits-{n}"), "healthChecks": check})).await;
        world.another_sync(&format!("fails-{n}"), json!({"path": format!("fails-{n}")})).await;
        world.another_sync(&format!("hangs-{n}"), json!({"path": format!("hangs-{n}")})).await;
    }
    for n in 0..EACH {
        world.other_ready(&format!("waits-{n}"), "it waits", |s, r, _| (s, r) == ("Unknown", "Progressing")).await;
        world
            .other_ready(&format!("fails-{n}"), "it fails", |s, r, _| (s, r) == ("False", "ReconciliationFailed"))
            .await;
    }
    hanging.committed(8, PATIENCE).await;
    let second = world.push(&[("good/a.yaml", &world.config_map("good", "2"))]).await;
    world.applied("good", "2").await;
    world.ready_at(&second).await;
    world.meddle("good", "some-editor", "3").await;
    world.applied("good", "2").await;
    hanging.end();
    for n in 0..EACH {
        let name = format!("hangs-{n}");
        world.applied(&name, "1").await;
    }
}
