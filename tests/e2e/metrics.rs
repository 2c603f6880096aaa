//! The agent's admin port, scraped while it works: what an operator's Prometheus would see.

use std::collections::BTreeMap;

use harness::wait_until;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::json;
use towline_agent::api::Sync;

use crate::world::{PATIENCE, World};

/// The series of a text, without the prefix of all.
fn series_of(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("towline_agent_")?.rsplit_once(' '));
    lines.filter_map(|(series, value)| Some((series.to_owned(), value.parse().ok()?))).collect()
}

/// The sum of all series that begin so.
fn sum(series: &BTreeMap<String, f64>, beginning: &str) -> f64 {
    series.iter().filter(|(name, _)| name.starts_with(beginning)).map(|(_, value)| value).sum()
}

/// Waits until the series are so.
async fn scraped(world: &mut World, what: &str, is: impl Fn(&BTreeMap<String, f64>) -> bool) -> BTreeMap<String, f64> {
    let url = world.agent.admin_url("/metrics").await.unwrap();
    wait_until(what, PATIENCE, async || {
        let text = reqwest::get(&url).await.map_err(|e| e.to_string())?.text().await.map_err(|e| e.to_string())?;
        let series = series_of(&text);
        if is(&series) { Ok(series) } else { Err(text) }
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_does_is_counted_and_a_sync_that_is_gone_is_not_told_of() {
    let mut world = World::new("metrics").await;
    let secret = "do-not-tell-anybody";
    let manifest = format!(
        "{}---\napiVersion: v1\nkind: Secret\nmetadata: {{name: s, namespace: {}}}\nstringData: {{password: {secret}}}\n",
        world.config_map("a", "1"),
        world.namespace
    );
    let first = world.repo.commit(&[("a.yaml", &manifest)]).await.unwrap();
    world.sync().await;
    world.ready_at(&first).await;
    world.listening().await;
    let second = world.push(&[("a.yaml", &manifest.replace("\"1\"", "\"2\""))]).await;
    world.ready_at(&second).await;
    let change = Patch::Merge(json!({"data": {"value": "3"}}));
    world.config_maps().patch("a", &PatchParams::default(), &change).await.unwrap();
    world.applied("a", "2").await;

    let namespace = world.namespace.clone();
    let of_sync = format!(r#"namespace="{namespace}",name="fleet""#);
    let corrections = format!("sync_drift_corrections_total{{{of_sync}}}");
    let seen = scraped(&mut world, "the correction is counted", |series| series.get(&corrections) == Some(&1.0)).await;
    let least = |name: &str, least: f64| {
        let value = sum(&seen, name);
        assert!(value >= least, "{name} is {value} in {seen:#?}");
    };
    least(r#"passes_total{outcome="succeeded",trigger="revision"}"#, 1.0);
    least(r#"passes_total{outcome="succeeded",trigger="drift"}"#, 1.0);
    least(r#"objects_changed_total{action="created"}"#, 2.0);
    for stage in ["read", "discover", "observe", "decide", "apply", "settle"] {
        least(&format!(r#"pass_stage_duration_seconds_count{{stage="{stage}"}}"#), 3.0);
    }
    least(&format!("sync_last_success_timestamp_seconds{{{of_sync}}}"), 1_700_000_000.0);
    least(&format!(r#"condition{{kind="Sync",{of_sync},type="Ready"}}"#), 1.0);
    least(&format!(r#"condition{{kind="GitSource",{of_sync},type="EventsReady"}}"#), 1.0);
    for verb in ["dry-run", "patch", "watch", "list", "create", "update", "discovery"] {
        least(&format!(r#"api_requests_total{{verb="{verb}",code="20"#), 1.0);
        least(&format!(r#"api_request_duration_seconds_count{{verb="{verb}"}}"#), 1.0);
    }
    least(r#"watches{state="running"}"#, 2.0);
    least(r#"git_fetches_total{host="127.0.0.1",outcome="succeeded"}"#, 2.0);
    least(r#"git_requests_total{host="127.0.0.1"}"#, 4.0);
    least(r#"git_received_bytes_total{host="127.0.0.1"}"#, 100.0);
    least("nats_connected", 1.0);
    least("events_total", 1.0);
    least("event_apply_delay_seconds_count", 1.0);
    least(r#"queue_wait_duration_seconds_count{queue="passes"}"#, 3.0);
    assert!(seen.keys().all(|name| !name.contains(secret)), "{seen:#?}");

    let syncs: Api<Sync> = Api::namespaced(world.client.clone(), &namespace);
    syncs.delete("fleet", &DeleteParams::default()).await.unwrap();
    let sync_series = format!(r#"{{{of_sync}"#);
    let gone = scraped(&mut world, "nothing is told of the Sync", |series| {
        series.keys().all(|name| !(name.starts_with("sync_") && name.contains(&sync_series)))
    })
    .await;
    assert!(sum(&gone, "condition{kind=\"Sync\"").abs() < f64::EPSILON);

    world.nats.stop();
    scraped(&mut world, "the lost connection is seen", |series| series["nats_connected"] < 1.0).await;
}
