//! Syncs that act as service accounts, by an agent that may do nothing but that: RBAC decides for each Sync alone.

use std::path::PathBuf;

use harness::wait_until;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, Role, RoleBinding};
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use towline_agent::api::Sync;

use crate::world::{PATIENCE, World, uid};

/// Everything a Sync's objects need.
const ALL: [&str; 7] = ["get", "list", "watch", "create", "update", "patch", "delete"];

/// A world whose agent has the rights of `deploy/base/agent/rbac.yaml` and of the component `acts-as-accounts`.
async fn world(name: &str, default_account: Option<&str>) -> World {
    let mut world = World::new(name).await;
    let user = format!("agent-of-{}", world.namespace);
    for role in ["towline-agent", "towline-agent-acts-as-accounts"] {
        let deploy = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy");
        let file = match role {
            "towline-agent" => deploy.join("base/agent/rbac.yaml"),
            _ => deploy.join("components/acts-as-accounts/rbac.yaml"),
        };
        let text = std::fs::read_to_string(file).unwrap();
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        let role = documents.into_iter().find(|d| d["kind"] == "ClusterRole").unwrap();
        apply(&Api::<k8s_openapi::api::rbac::v1::ClusterRole>::all(world.client.clone()), role.clone()).await;
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": format!("{}-{user}", role["metadata"]["name"].as_str().unwrap())},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role["metadata"]["name"]},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        });
        apply(&Api::<ClusterRoleBinding>::all(world.client.clone()), binding).await;
    }
    let kubeconfig = world.plane.kubeconfig_for_user(&user, None).unwrap();
    world.agent.kill();
    world.agent.set_variable("TOWLINE__KUBERNETES__KUBECONFIG", kubeconfig.to_str().unwrap());
    if let Some(name) = default_account {
        world.agent.set_variable("TOWLINE__KUBERNETES__DEFAULT_SERVICE_ACCOUNT", name);
    }
    world.agent.resume().unwrap();
    world
}

async fn apply<K>(api: &Api<K>, object: Value)
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
    api.patch(&name, &PatchParams::apply("operator").force(), &Patch::Apply(&object)).await.unwrap();
}

impl World {
    async fn account(&self, name: &str) {
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}});
        apply(&self.api::<ServiceAccount>(), account).await;
    }

    /// Lets a subject do something with a resource of the core group, in this namespace.
    async fn allow(&self, subject: Value, resource: &str, verbs: &[&str]) {
        let (group, name) = ("rbac.authorization.k8s.io", format!("{resource}-{}", verbs.len()));
        let role = json!({
            "apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": {"name": name},
            "rules": [{"apiGroups": [""], "resources": [resource], "verbs": verbs}],
        });
        apply(&self.api::<Role>(), role).await;
        let binding = json!({
            "apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": group, "kind": "Role", "name": name}, "subjects": [subject],
        });
        apply(&self.api::<RoleBinding>(), binding).await;
    }

    fn subject(&self, name: &str) -> Value {
        json!({"kind": "ServiceAccount", "name": name, "namespace": self.namespace})
    }

    fn secret(&self, name: &str) -> String {
        let namespace = &self.namespace;
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\nstringData: {{key: hidden-value}}\n"
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_account_may_not_do_fails_its_sync_and_no_other() {
    let world = world("accounts", None).await;
    world.account("deployer").await;
    world.allow(world.subject("deployer"), "configmaps", &ALL).await;
    let files = [
        ("apps/a.yaml", world.config_map("a", "1")),
        ("apps/b.yaml", world.config_map("b", "1")),
        ("bare/c.yaml", world.config_map("c", "1")),
    ];
    let commit = world.repo.commit(&files.each_ref().map(|(path, text)| (*path, text.as_str()))).await.unwrap();
    world.sync_with(json!({}), json!({"path": "apps", "serviceAccountName": "deployer"})).await;
    world.another_sync("bare", json!({"path": "bare"})).await;
    world.ready_at(&commit).await;
    world.applied("a", "1").await;
    let said = world.other_ready("bare", "the agent itself may do nothing", |status, reason, message| {
        (status, reason) == ("False", "ReconciliationFailed") && message.contains("cannot patch resource")
    });
    let said = said.await;
    assert!(said.contains(&format!("agent-of-{}", world.namespace)), "{said}");

    // Its drift is seen by a watch of its own, in its own namespace: the interval is an hour.
    world.meddle("a", "some-editor", "9").await;
    world.applied("a", "1").await;
    world.event("DriftReverted", &["/a reverted", "some-editor"]).await;
    assert!(!world.said_of("fleet").await.2.contains("cannot be watched"));

    // What the account may not do is refused, and what Git had before keeps running.
    world.listening().await;
    let (secret, second) = (world.secret("hidden"), world.config_map("a", "2"));
    let refused = world.push(&[("apps/hidden.yaml", &secret), ("apps/a.yaml", &second)]).await;
    let account = format!("system:serviceaccount:{}:deployer", world.namespace);
    let told = [account.as_str(), "secrets", "apps/hidden.yaml:1", "ServiceAccount", "/deployer"];
    let is_told = |status: &str, reason: &str, message: &str| {
        (status, reason) == ("False", "ReconciliationFailed") && told.iter().all(|part| message.contains(part))
    };
    world.ready("the refusal names the account", is_told).await;
    world.applied("a", "1").await;
    assert!(!world.agent.log().contains("hidden-value"));
    let attempted = world.fleet().await.status.unwrap().last_attempted_revision.unwrap();
    assert!(attempted.ends_with(&refused), "{attempted}");

    // Granted, it is done at the next try; a right of the account's groups is one of the account.
    let groups = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Group",
                        "name": format!("system:serviceaccounts:{}", world.namespace)});
    world.allow(groups, "secrets", &ALL).await;
    world.ready_at(&refused).await;
    world.applied("a", "2").await;
    world.api::<Secret>().get("hidden").await.unwrap();

    // And pruned as the account.
    world.repo.remove("apps/hidden.yaml").await.unwrap();
    let third = world.repo.remove("apps/b.yaml").await.unwrap();
    world.annotate("towline.dev/allow-deletions", &third).await;
    assert_eq!(world.deliver(&third).await, 202);
    world.gone("b").await;
    world.ready_at(&third).await;
    assert!(world.api::<Secret>().get_opt("hidden").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_does_not_exist_is_named_and_the_default_is_used_where_none_is() {
    let world = world("accounts-default", Some("team")).await;
    let commit = world.repo.commit(&[("a.yaml", &world.config_map("a", "1"))]).await.unwrap();
    world.sync().await;
    let missing = format!("ServiceAccount {}/team, as which this Sync acts, does not exist", world.namespace);
    world
        .ready("the missing account is named", |status, reason, message| {
            (status, reason) == ("False", "ReconciliationFailed") && message.contains(&missing)
        })
        .await;
    world.event("ReconciliationFailed", &[&missing]).await;

    world.account("team").await;
    let powerless = format!("this Sync acts as ServiceAccount {}/team", world.namespace);
    world
        .ready("the account may do nothing", |status, _, message| status == "False" && message.contains(&powerless))
        .await;
    world.allow(world.subject("team"), "configmaps", &ALL).await;
    world.ready_at(&commit).await;

    // Another account by name: everything is judged with its rights from then on.
    let named = json!({"spec": {"serviceAccountName": "other"}});
    world.edit::<Sync>("fleet", "operator", named).await;
    let missing = format!("ServiceAccount {}/other, as which", world.namespace);
    world
        .ready("the other account is missing", |status, _, message| status == "False" && message.contains(&missing))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inventory_is_rebuilt_from_what_the_account_may_list() {
    let world = world("accounts-rebuild", None).await;
    world.account("deployer").await;
    world.allow(world.subject("deployer"), "configmaps", &ALL).await;
    let files = [("a.yaml", world.config_map("a", "1")), ("b.yaml", world.config_map("b", "1"))];
    let commit = world.repo.commit(&files.each_ref().map(|(path, text)| (*path, text.as_str()))).await.unwrap();
    world.sync_with(json!({}), json!({"serviceAccountName": "deployer"})).await;
    world.ready_at(&commit).await;
    world.listening().await;

    world.lose_inventory().await;
    let who = format!("ServiceAccount {}/deployer may not list", world.namespace);
    let told = world.event("InventoryRebuilt", &["it is gone", &who, "more: what Git no longer has of these"]).await;
    assert!(!told.contains("ConfigMap"), "{told}");
    let removed = world.repo.remove("b.yaml").await.unwrap();
    assert_eq!(world.deliver(&removed).await, 202);
    world.ready("its deletion is held", |_, reason, message| reason == "PruneHeld" && message.contains(&removed)).await;
    wait_until("both are in the rebuilt inventory", PATIENCE, async || {
        let mut owned = world.owned("fleet").await;
        owned.sort();
        if owned == ["a", "b"] { Ok(()) } else { Err(format!("{owned:?}")) }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn where_an_account_may_not_watch_drift_is_found_at_the_interval() {
    let world = world("accounts-blind", None).await;
    let files = [("lists/a.yaml", world.config_map("a", "1")), ("looks/b.yaml", world.config_map("b", "1"))];
    let commit = world.repo.commit(&files.each_ref().map(|(path, text)| (*path, text.as_str()))).await.unwrap();
    for (account, verbs) in [
        ("lists", ["get", "list", "create", "patch", "delete"].as_slice()),
        ("looks", ["get", "create", "patch", "delete"].as_slice()),
    ] {
        world.account(account).await;
        world.allow(world.subject(account), "configmaps", verbs).await;
    }
    world.sync_with(json!({}), json!({"path": "lists", "serviceAccountName": "lists", "interval": "3s"})).await;
    world.another_sync("looks", json!({"path": "looks", "serviceAccountName": "looks", "interval": "3s"})).await;
    let blind = |status: &str, message: &str| status == "True" && message.contains("cannot be watched: ConfigMap");
    world.ready("it says that it cannot watch", |status, _, message| blind(status, message)).await;
    world.other_ready("looks", "the other says so, too", |status, _, message| blind(status, message)).await;
    assert!(world.fleet().await.status.unwrap().last_applied_revision.unwrap().ends_with(&commit));
    for (name, value) in [("a", "2"), ("b", "2"), ("a", "3"), ("b", "3")] {
        world.meddle(name, "some-editor", value).await;
        world.applied(name, "1").await;
    }
    // Passes that found nothing to do wrote nothing.
    world.listening().await;
    let before = world.config_maps().get("b").await.unwrap().metadata.resource_version;
    let third = world
        .push(&[("lists/a.yaml", &world.config_map("a", "4")), ("looks/c.yaml", &world.config_map("c", "1"))])
        .await;
    world.applied("a", "4").await;
    world.applied("c", "1").await;
    world
        .other_ready("looks", "the other follows", |status, _, message| {
            blind(status, message) && message.contains(&third)
        })
        .await;
    assert_eq!(world.config_maps().get("b").await.unwrap().metadata.resource_version, before);
    // And what Git no longer has goes, by a look at each.
    let removed = world.repo.remove("looks/c.yaml").await.unwrap();
    assert_eq!(world.deliver(&removed).await, 202);
    world.gone("c").await;
}

/// Neither account watches more than its own objects' namespace, and only one of them is told of any one move.
#[tokio::test(flavor = "multi_thread")]
async fn what_moves_between_accounts_is_let_go_of_at_once() {
    let world = world("accounts-move", None).await;
    // The second may not watch: that the first has the object again, only the first is shown.
    let blind: Vec<&str> = ALL.into_iter().filter(|verb| *verb != "watch").collect();
    for (name, verbs) in [("one", ALL.as_slice()), ("two", &blind)] {
        world.account(name).await;
        world.allow(world.subject(name), "configmaps", verbs).await;
    }
    let files = [
        ("one/a.yaml", world.config_map("a", "1")),
        ("one/shared.yaml", world.config_map("shared", "1")),
        ("two/b.yaml", world.config_map("b", "1")),
        ("two/c.yaml", world.config_map("c", "1")),
    ];
    let commit = world.repo.commit(&files.each_ref().map(|(path, text)| (*path, text.as_str()))).await.unwrap();
    let everything = json!({"maxDeletions": "100%"});
    world.sync_with(json!({}), json!({"path": "one", "serviceAccountName": "one"})).await;
    world.another_sync("second", json!({"path": "two", "serviceAccountName": "two", "prunePolicy": everything})).await;
    world.ready_at(&commit).await;
    let is_ready = |status: &str, _: &str, message: &str| status == "True" && message.contains(&commit);
    world.other_ready("second", "the second is ready", is_ready).await;
    world.listening().await;
    let before = uid(&world, "shared").await;
    for (from, to, value) in [("one", "two", "2"), ("two", "one", "3"), ("one", "two", "4")] {
        world.repo.git(&["rm", "--quiet", &format!("{from}/shared.yaml")]).await.unwrap();
        world.push(&[(&format!("{to}/shared.yaml"), &world.config_map("shared", value))]).await;
        world.applied("shared", value).await;
        let (first, second): (&[&str], &[&str]) = match to {
            "one" => (&["a", "shared"], &["b", "c"]),
            _ => (&["a"], &["b", "c", "shared"]),
        };
        world.owns("fleet", first).await;
        world.owns("second", second).await;
        assert_eq!(uid(&world, "shared").await, before, "it was deleted on its way to {to}");
    }
}

/// What may be read and not watched is looked at again at `retryInterval`, and that is said.
#[tokio::test(flavor = "multi_thread")]
async fn the_health_of_what_may_not_be_watched_is_read_again() {
    let world = world("accounts-health", None).await;
    world.account("blind").await;
    let blind: Vec<&str> = ALL.into_iter().filter(|verb| *verb != "watch").collect();
    world.allow(world.subject("blind"), "configmaps", &blind).await;
    let commit = world.repo.commit(&[("a.yaml", &world.config_map("a", "1"))]).await.unwrap();
    let expression = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "current": "'done' in data", "inProgress": "!('done' in data)",
    });
    let spec = json!({
        "wait": true, "timeout": "1h", "retryInterval": "1s", "healthCheckExprs": [expression],
        "serviceAccountName": "blind",
    });
    world.sync_with(json!({}), spec).await;
    let is_said = |status: &str, reason: &str, message: &str| {
        let said = "/a (HealthCheckExpr";
        let seldom = "which cannot be watched and is looked at again at spec.retryInterval";
        (status, reason) == ("Unknown", "Progressing") && message.contains(said) && message.contains(seldom)
    };
    world.ready("it is said that nobody watches", is_said).await;
    let patch = Patch::Merge(json!({"data": {"done": "yes"}}));
    world.config_maps().patch("a", &PatchParams::default(), &patch).await.unwrap();
    world.ready_at(&commit).await;
}
