//! Several agents for one cluster: each source and Sync is one's, a replica that dies or is stopped is replaced, and nothing
//! that was pruned comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt as _;
use harness::api_proxy::{ApiProxy, Fault, Seen};
use harness::config::{AgentConfig, Hook};
use harness::control_plane::{ControlPlane, Options};
use harness::towline::{Daemon, field};
use harness::wait_until;
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use serde_json::{Value, json};
use towline_agent::api::Sync;

use crate::world::{PATIENCE, SECRET, World};

/// Short, so that a test does not take long, and long enough for a machine that is busy.
const LEASE_SECONDS: u64 = 6;

/// Replicas in place of the one agent.
struct Replicas {
    world: World,
    agents: Vec<Daemon>,
}

impl Replicas {
    async fn new(name: &str, count: usize) -> Self {
        Self::of(World::new(name).await, count).await
    }

    async fn of(mut world: World, count: usize) -> Self {
        world.agent.kill();
        let mut replicas = Self { world, agents: Vec::new() };
        for _ in 0..count {
            replicas.start().await;
        }
        replicas.divided(count).await;
        replicas
    }

    async fn start(&mut self) {
        self.start_with(self.world.plane.kubeconfig()).await;
    }

    async fn start_with(&mut self, kubeconfig: &Path) {
        let world = &self.world;
        let mut config = AgentConfig::new(&world.namespace, kubeconfig);
        config.nats = Some(world.nats.access("agent"));
        config.namespaces = vec![world.namespace.clone()];
        config.extra_tables =
            format!("[replicas]\nnamespace = {:?}\nlease_seconds = {LEASE_SECONDS}\n", world.namespace);
        self.agents.push(Daemon::agent(&config).await.unwrap());
    }

    /// Waits until each running replica takes part in a division among so many.
    async fn divided(&mut self, count: usize) {
        for agent in &mut self.agents {
            let what = format!("the work is divided among {count}");
            wait_until(&what, PATIENCE, async || {
                let lines = agent.log_lines();
                let last = lines
                    .iter()
                    .rev()
                    .find(|line| field(line, "members").is_some() || message(line).contains("takes care of nothing"));
                let members = last.and_then(|line| field(line, "members")).unwrap_or_default().to_owned();
                let seen = members.matches("towline-").count();
                if seen == count { Ok(()) } else { Err(format!("{last:?}; {}", agent.log_tail())) }
            })
            .await
            .unwrap();
        }
    }

    async fn leases(&self) -> Vec<String> {
        let leases: Api<Lease> = Api::namespaced(self.world.client.clone(), &self.world.namespace);
        leases.list(&ListParams::default()).await.unwrap().iter().map(ResourceExt::name_any).collect()
    }

    /// Which replica has run passes of which Sync at a commit, by their logs.
    fn passed(&self, commit: &str) -> BTreeMap<String, BTreeSet<usize>> {
        let mut passed: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
        for (number, agent) in self.agents.iter().enumerate() {
            for line in agent.log_lines().iter().filter(|line| message(line).starts_with("pass ")) {
                let of =
                    |name: &str| line.pointer(&format!("/span/{name}")).and_then(Value::as_str).unwrap_or_default();
                if of("revision").contains(commit) {
                    passed.entry(of("sync").to_owned()).or_default().insert(number);
                }
            }
        }
        passed
    }

    /// Waits until every ConfigMap of the files has a value.
    async fn all(&self, count: usize, value: &str) {
        let labelled = ListParams::default().labels("towline.dev/sync-name");
        wait_until(&format!("{count} objects are {value:?}"), PATIENCE, async || {
            let list = self.world.config_maps().list(&labelled).await.map_err(|e| e.to_string())?;
            let right = list.iter().filter(|c| c.data.as_ref().is_some_and(|d| d["value"] == value)).count();
            if right == count { Ok(()) } else { Err(format!("{right}; {}", self.logs())) }
        })
        .await
        .unwrap();
    }

    fn logs(&self) -> String {
        self.agents.iter().map(Daemon::log_tail).collect::<Vec<_>>().join("\n---\n")
    }
}

fn message(line: &Value) -> &str {
    field(line, "message").unwrap_or_default()
}

/// One file per Sync.
fn files(world: &World, count: usize, value: &str) -> Vec<(String, String)> {
    (0..count).map(|n| (format!("apps/{n}/c.yaml"), world.config_map(&format!("c{n}"), value))).collect()
}

fn borrowed(files: &[(String, String)]) -> Vec<(&str, &str)> {
    files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect()
}

/// Syncs of one path each, of these sources in turn.
async fn syncs(world: &World, count: usize, sources: usize) {
    for n in 0..sources {
        world.another_source(&format!("source-{n}"), json!({})).await;
    }
    for n in 0..count {
        let source = json!({ "kind": "GitSource", "name": format!("source-{}", n % sources) });
        world.another_sync(&format!("sync-{n}"), json!({ "sourceRef": source, "path": format!("apps/{n}") })).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_share_the_work_and_one_takes_over_when_the_other_is_killed() {
    let mut replicas = Replicas::new("replicas-share", 2).await;
    let world = &replicas.world;
    world.repo.commit(&borrowed(&files(world, 40, "1"))).await.unwrap();
    syncs(world, 40, 4).await;
    replicas.all(40, "1").await;

    // Polls are an hour away: each replica hears of the push itself, also for the sources of the other.
    let second = replicas.world.push(&borrowed(&files(&replicas.world, 40, "2"))).await;
    replicas.all(40, "2").await;
    let seen = async || {
        let passed = replicas.passed(&second);
        if passed.len() == 40 { Ok(passed) } else { Err(format!("{} Syncs", passed.len())) }
    };
    let passed = wait_until("each Sync was passed", PATIENCE, seen).await.unwrap();
    let twice: Vec<_> = passed.iter().filter(|(_, by)| by.len() != 1).collect();
    assert!(twice.is_empty(), "passed by both: {twice:?}");
    for number in [0, 1] {
        let count = passed.values().filter(|by| by.contains(&number)).count();
        assert!((5..=35).contains(&count), "replica {number} has {count} of 40");
    }
    assert_eq!(replicas.leases().await.len(), 2);

    // Nobody says that it is gone.
    replicas.agents[0].kill();
    let mut left = replicas.agents.remove(0);
    replicas.world.push(&borrowed(&files(&replicas.world, 40, "3"))).await;
    replicas.all(40, "3").await;
    replicas.divided(1).await;
    // The Lease of the dead is cleared away.
    wait_until("one Lease is left", PATIENCE, async || match replicas.leases().await {
        leases if leases.len() == 1 => Ok(()),
        leases => Err(format!("{leases:?}")),
    })
    .await
    .unwrap();

    // And it comes back.
    left.resume().unwrap();
    replicas.agents.push(left);
    replicas.divided(2).await;
    replicas.world.push(&borrowed(&files(&replicas.world, 40, "4"))).await;
    replicas.all(40, "4").await;
    let readiness = reqwest::get(replicas.agents[1].admin_url("/readyz").await.unwrap()).await.unwrap();
    assert!(readiness.status().is_success());
}

/// Each object moves one Sync further, and neighbours are different replicas' somewhere in the ring.
#[tokio::test(flavor = "multi_thread")]
async fn what_moves_between_the_syncs_of_two_replicas_is_let_go_of_at_once() {
    const SYNCS: usize = 12;
    let replicas = Replicas::new("replicas-moves", 2).await;
    let world = &replicas.world;
    let keep = |n: usize| (format!("apps/{n}/keep.yaml"), world.config_map(&format!("keep{n}"), "1"));
    let kept: Vec<(String, String)> = (0..SYNCS).map(keep).collect();
    world.repo.commit(&borrowed(&kept)).await.unwrap();
    world.repo.commit(&borrowed(&files(world, SYNCS, "1"))).await.unwrap();
    syncs(world, SYNCS, 1).await;
    replicas.all(2 * SYNCS, "1").await;
    let before = uids(world).await;
    world.repo.git(&["rm", "--quiet", "apps/*/c.yaml"]).await.unwrap();
    let next = |n: usize| (n + 1) % SYNCS;
    let moved: Vec<(String, String)> =
        (0..SYNCS).map(|n| (format!("apps/{}/d.yaml", next(n)), world.config_map(&format!("c{n}"), "1"))).collect();
    let second = world.push(&borrowed(&moved)).await;
    for n in 0..SYNCS {
        let (moved, keep) = (format!("c{n}"), format!("keep{}", next(n)));
        world.owns(&format!("sync-{}", next(n)), &[&moved, &keep]).await;
    }
    assert_eq!(uids(world).await, before, "something was deleted on its way");
    let by: BTreeSet<usize> = replicas.passed(&second).into_values().flatten().collect();
    assert_eq!(by.len(), 2, "nothing moved from one replica's to another's: {by:?}");
}

/// Stopped in the middle of a pass, with objects yet to be created, for longer than its Lease lasts: its successor prunes what
/// Git lets go of meanwhile. When it wakes, it sends none of them: no precondition could hold a creation back.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_stopped_in_a_pass_and_wakes_brings_nothing_back() {
    let mut world = World::new("replicas-stop").await;
    world.agent.kill();
    let mut replicas = Replicas { world, agents: Vec::new() };
    let mut proxies = Vec::new();
    for _ in 0..2 {
        let proxy = ApiProxy::to(replicas.world.plane).await.unwrap();
        replicas.start_with(proxy.kubeconfig()).await;
        proxies.push(proxy);
    }
    replicas.divided(2).await;
    let world = &replicas.world;
    let many = |range: std::ops::Range<usize>, value: &str| {
        let one = |n: usize| world.config_map(&format!("c{n:04}"), value) + "  theirs: x\n";
        range.map(one).collect::<Vec<_>>().join("---\n")
    };
    let first = world.repo.commit(&[("all.yaml", &many(0..100, "1"))]).await.unwrap();
    // With a field that is left to others a creation is several requests, between which nobody asks whether the pass goes on:
    // only the fence is between an answer that came in the meantime and the request after it.
    let ignore = json!([{"paths": ["/data/theirs"], "target": {"kind": "ConfigMap"}}]);
    let spec = json!({ "prunePolicy": { "maxDeletions": "100%" }, "driftDetection": { "ignore": ignore } });
    world.sync_with(json!({}), spec).await;
    replicas.all(100, "1").await;
    let before = uids(world).await;
    let passed = wait_until("the Sync was passed", PATIENCE, async || {
        let passed = replicas.passed(&first).into_values().next();
        passed.filter(|by| by.len() == 1).and_then(|by| by.first().copied()).ok_or_else(|| "not yet".to_owned())
    });
    let owner = passed.await.unwrap();

    // A part of what is new is created when it is stopped; of more it has just asked whether they are there.
    let is_new = |seen: &Seen, from: &str| seen.name.as_deref().is_some_and(|name| name >= from);
    let begun = AtomicBool::new(false);
    let held = proxies[owner].while_on(Fault::Hold, move |seen| {
        // Not those before the first creation: they judge.
        if seen.is("patch", "configmaps") && !seen.dry_run && is_new(seen, "c0100") {
            begun.store(true, Ordering::SeqCst);
        }
        seen.is("get", "configmaps") && is_new(seen, "c0120") && begun.load(Ordering::SeqCst)
    });
    let second = world.push(&[("all.yaml", &many(0..400, "1"))]).await;
    held.committed(2, PATIENCE).await;
    let third = many(0..100, "3");
    replicas.agents[owner].process().unwrap().stop();
    held.end();
    let third = replicas.world.push(&[("all.yaml", &third)]).await;
    replicas.world.ready_at(&third).await;
    assert_eq!(uids(&replicas.world).await.len(), 100, "the rest is pruned");
    let mark = proxies[owner].mark();
    replicas.agents[owner].process().unwrap().cont();
    wait_until("the pass that was stopped ends", PATIENCE, async || {
        let by = replicas.passed(&second).into_values().next().unwrap_or_default();
        if by.contains(&owner) { Ok(()) } else { Err(replicas.logs()) }
    })
    .await
    .unwrap();
    replicas.divided(2).await;
    replicas.world.ready_at(&third).await;
    let sent =
        proxies[owner].since(mark, |seen| seen.is("patch", "configmaps") && !seen.dry_run && is_new(seen, "c0100"));
    assert!(sent.is_empty(), "{} creations were sent, the first is {}", sent.len(), sent[0]);
    let now = uids(&replicas.world).await;
    assert_eq!(now, before, "something has come back, or was deleted and made again");
    replicas.all(100, "3").await;
}

async fn uids(world: &World) -> BTreeMap<String, String> {
    let labelled = ListParams::default().labels("towline.dev/sync-name");
    let list = world.config_maps().list_metadata(&labelled).await.unwrap();
    list.iter().map(|map| (map.name_any(), map.uid().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_applied_out_of_order_while_replicas_are_replaced() {
    let mut replicas = Replicas::new("replicas-roll", 2).await;
    let world = &replicas.world;
    world.repo.commit(&borrowed(&files(world, 8, "100"))).await.unwrap();
    syncs(world, 8, 2).await;
    replicas.all(8, "100").await;

    let mut seen = world.config_maps().watch(&WatchParams::default(), "0").await.unwrap().boxed();
    for value in 101..107 {
        let files = files(&replicas.world, 8, &value.to_string());
        replicas.world.push(&borrowed(&files)).await;
        match value {
            // As a Deployment does it: the new one is ready before the old one ends.
            101 | 104 => {
                replicas.start().await;
                replicas.divided(3).await;
            }
            102 | 105 => {
                let mut old = replicas.agents.remove(0);
                assert!(old.terminate(PATIENCE).await.unwrap().success());
                replicas.divided(2).await;
                assert_eq!(replicas.leases().await.len(), 2, "it released its own");
            }
            _ => {}
        }
    }
    replicas.all(8, "106").await;

    let mut values: BTreeMap<String, u32> = BTreeMap::new();
    while values.len() < 8 || values.values().any(|value| *value < 106) {
        let event = tokio::time::timeout(PATIENCE, seen.next()).await.unwrap().unwrap().unwrap();
        let (WatchEvent::Added(map) | WatchEvent::Modified(map)) = event else { continue };
        let Some(value) = map.data.as_ref().and_then(|data| data.get("value")?.parse().ok()) else { continue };
        let before = values.insert(map.name_any(), value).unwrap_or(value);
        assert!(before <= value, "{} went back from {before} to {value}", map.name_any());
    }
    let syncs: Api<Sync> = Api::namespaced(replicas.world.client.clone(), &replicas.world.namespace);
    wait_until("every Sync is ready", PATIENCE, async || {
        let all = syncs.list(&ListParams::default()).await.map_err(|e| e.to_string())?;
        let ready = |sync: &Sync| {
            let conditions = sync.status.iter().flat_map(|status| &status.conditions);
            conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
        };
        let unready: Vec<String> = all.iter().filter(|sync| !ready(sync)).map(ResourceExt::name_any).collect();
        if unready.is_empty() { Ok(()) } else { Err(format!("{unready:?}")) }
    })
    .await
    .unwrap();
}

/// Without an API server nobody can renew, so nobody writes; all go on when it is back.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_cannot_renew_say_so_and_go_on_when_they_can() {
    let plane = ControlPlane::start(Options { controller_manager: false, crds: true }).await.unwrap();
    // It ends with the process, as the shared one does; what it takes is given back below.
    let plane: &'static ControlPlane = Box::leak(Box::new(plane));
    let hooks = vec![Hook::new("github", "git.test", SECRET)];
    let mut replicas = Replicas::of(World::on(plane, "replicas-outage", hooks).await, 2).await;
    replicas.world.repo.commit(&borrowed(&files(&replicas.world, 8, "1"))).await.unwrap();
    syncs(&replicas.world, 8, 2).await;
    replicas.all(8, "1").await;

    plane.freeze_apiserver();
    for agent in &mut replicas.agents {
        let url = agent.admin_url("/readyz").await.unwrap();
        wait_until("the replica says that it does not hold its Lease", PATIENCE, async || {
            let answer = reqwest::get(&url).await.map_err(|e| e.to_string())?;
            let (status, text) = (answer.status(), answer.text().await.map_err(|e| e.to_string())?);
            let is_said = status == 503 && text.contains("replicas: Lease towline-") && text.contains("is not held");
            if is_said { Ok(()) } else { Err(text) }
        })
        .await
        .unwrap();
    }
    let commit = replicas.world.repo.commit(&borrowed(&files(&replicas.world, 8, "2"))).await.unwrap();
    plane.thaw_apiserver();
    assert_eq!(replicas.world.deliver(&commit).await, 202);
    replicas.all(8, "2").await;
    replicas.divided(2).await;
    drop(replicas);
    plane.stop_apiserver();
}
