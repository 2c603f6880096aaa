//! What the API server refuses stops its stage, every mistake is told at once, and no Secret's value with it.

use k8s_openapi::api::core::v1::Secret;
use towline_proto::report::EventKind;

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn one_refused_object_stops_its_stage_and_every_error_is_told() {
    let world = World::new("refusals").await;
    let good = world.config_map("good", "1");
    let first = world.repo.commit(&[("good.yaml", &good)]).await.unwrap();
    world.sync().await;
    world.ready_at(&first).await;
    world.listening().await;

    let misspelt = world.config_map("misspelt", "1") + "datta: {}\n";
    let invalid = world.config_map("in_valid", "1");
    let (good, new) = (world.config_map("good", "2"), world.config_map("new", "1"));
    let files = [
        ("good.yaml", good.as_str()),
        ("new.yaml", &new),
        ("deep/misspelt.yaml", &misspelt),
        ("invalid.yaml", &invalid),
    ];
    let second = world.push(&files).await;
    let told = ["deep/misspelt.yaml:1", "datta", "invalid.yaml:1", "in_valid"];
    let refused = |status: &str, reason: &str, message: &str| {
        (status, reason) == ("False", "ReconciliationFailed") && told.iter().all(|part| message.contains(part))
    };
    world.ready("both refusals are told", refused).await;
    world.event("ReconciliationFailed", &told).await;
    world.report(EventKind::Failed, &told).await;
    world.applied("good", "1").await;
    assert!(world.config_maps().get_opt("new").await.unwrap().is_none(), "half of the stage was applied");
    let status = world.fleet().await.status.unwrap();
    assert_eq!(status.last_applied_revision, Some(format!("main@sha1:{first}")));
    assert_eq!(status.last_attempted_revision, Some(format!("main@sha1:{second}")));

    world.repo.git(&["rm", "--quiet", "-r", "deep", "invalid.yaml"]).await.unwrap();
    let third = world.push(&[]).await;
    world.ready_at(&third).await;
    world.applied("good", "2").await;
    world.applied("new", "1").await;
}

/// Values that the API server and the parser are brought to repeat, each in another way.
#[tokio::test(flavor = "multi_thread")]
async fn no_value_of_a_secret_is_ever_told() {
    let world = World::talkative("secrets").await;
    let namespace = world.namespace.clone();
    let secret =
        |body: &str| format!("apiVersion: v1\nkind: Secret\nmetadata:\n  name: keys\n  namespace: {namespace}\n{body}");
    let good = secret("stringData: {password: first-hunter-1}\n");
    let first = world.repo.commit(&[("a.yaml", &world.config_map("a", "1")), ("keys.yaml", &good)]).await.unwrap();
    world.sync().await;
    world.ready_at(&first).await;
    world.listening().await;

    let values =
        ["second hunter 2", "739184650", "forth-hunter-4!", "fifth-hunter-5", "sixth-hunter-6", "seventh-hunter-7"];
    let bad = [
        // A label is validated, and the answer quotes it.
        secret("stringData: {password: 'second hunter 2'}\n")
            .replace("  name: keys", "  labels: {x: 'second hunter 2'}\n  name: keys"),
        // Of the wrong type: quoted as it stands.
        secret("stringData: {password: 739184650}\n"),
        // Not base64.
        secret("data: {password: 'forth-hunter-4!'}\n"),
        // A mapping where a string belongs.
        secret("stringData: {password: {inner: fifth-hunter-5}}\n"),
        // A value as a whole where a mapping belongs.
        secret("stringData: sixth-hunter-6\n"),
        // No YAML at all.
        secret("stringData:\n  password: 'seventh-hunter-7\n  other: [\n"),
    ];
    for (value, text) in values.iter().zip(&bad) {
        let commit = world.push(&[("keys.yaml", text)]).await;
        let failed = |status: &str, _: &str, message: &str| status == "False" && message.contains("keys.yaml:");
        world.ready(&format!("{value} is refused"), failed).await;
        let attempted = |status: &str, _: &str, _: &str| status == "False";
        wait_attempted(&world, &commit, attempted).await;
    }
    let good = world.push(&[("keys.yaml", &secret("stringData: {password: eighth-hunter-8}\n"))]).await;
    world.ready_at(&good).await;
    let live = world.api::<Secret>().get("keys").await.unwrap().data.unwrap();
    assert_eq!(live["password"].0, b"eighth-hunter-8");

    let mut told = format!("{:#?}\n{:#?}\n", world.fleet().await, world.source().await);
    told += &format!("{:#?}\n{:#?}\n", world.events().await, world.reports().await);
    told += &world.agent.log();
    assert!(told.contains("keys.yaml:"), "nothing was told at all");
    for value in values.iter().chain(&["first-hunter-1", "eighth-hunter-8"]) {
        let base64 = data_encoding::BASE64.encode(value.as_bytes());
        for form in [(*value).to_owned(), base64] {
            let at = told.find(&form).map(|at| &told[at.saturating_sub(300)..(at + 200).min(told.len())]);
            assert_eq!(at, None, "{form:?} was told");
        }
    }
}

/// Waits until a commit was attempted and the Ready condition is so.
async fn wait_attempted(world: &World, commit: &str, is: impl Fn(&str, &str, &str) -> bool) {
    harness::wait_until(&format!("{commit} was attempted"), crate::world::PATIENCE, async || {
        let attempted = world.fleet().await.status.and_then(|s| s.last_attempted_revision);
        let said = world.said_of("fleet").await;
        let fits = attempted.as_ref().is_some_and(|a| a.ends_with(commit)) && is(&said.0, &said.1, &said.2);
        if fits { Ok(()) } else { Err(format!("{attempted:?} {said:?}")) }
    })
    .await
    .unwrap();
}
