//! Objects that were there before Towline: what kubectl and other tools set on them is Git's from then on, once.

use std::process::Command;

use harness::tools::tool;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use serde_json::json;

use crate::world::World;

/// Runs the real kubectl as an administrator.
fn kubectl(world: &World, arguments: &[&str], input: &str) {
    let mut command = Command::new(tool("kubectl").unwrap());
    command.arg("--kubeconfig").arg(world.plane.kubeconfig()).args(["-n", &world.namespace]).args(arguments);
    let file = world.agent.dir().join("kubectl-input.yaml");
    std::fs::write(&file, input).unwrap();
    if !input.is_empty() {
        command.arg("-f").arg(&file);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "kubectl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn deployment(world: &World, extra: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web, namespace: {}}}\nspec:\n{extra}  \
         selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: web}}}}\n    spec:\n      \
         containers: [{{name: web, image: 'web.test/web:1'}}]\n",
        world.namespace
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kubectl_applied_goes_with_git_and_a_restart_stays() {
    let world = World::new("adopt").await;
    let more = |name: &str| world.config_map(name, "1") + "  removed-later: here\n";
    let slow = deployment(&world, "  minReadySeconds: 7\n");
    kubectl(&world, &["apply"], &format!("{}---\n{}---\n{slow}", more("client"), more("edited")));
    kubectl(&world, &["apply", "--server-side"], &more("server"));
    kubectl(&world, &["patch", "configmap", "edited", "--type=merge", "-p", "{\"data\":{\"by-hand\":\"x\"}}"], "");
    world.edit::<ConfigMap>("client", "some-controller", json!({"data": {"injected": "kept"}})).await;
    kubectl(&world, &["rollout", "restart", "deployment/web"], "");

    // Git has one field less than what was applied by hand.
    let web = deployment(&world, "");
    let texts = [more("client"), world.config_map("edited", "1"), more("server")];
    let files = [
        ("client.yaml", texts[0].as_str()),
        ("edited.yaml", &texts[1]),
        ("server.yaml", &texts[2]),
        ("web.yaml", &web),
    ];
    let first = world.repo.commit(&files).await.unwrap();
    world.sync().await;
    world.ready_at(&first).await;
    let data = async |name: &str| {
        let live = world.config_maps().get(name).await.unwrap();
        let applied = live.annotations().contains_key("kubectl.kubernetes.io/last-applied-configuration");
        assert!(!applied, "{name} has what kubectl compares with");
        live.data.unwrap().into_keys().collect::<Vec<_>>()
    };
    assert_eq!(data("edited").await, ["value"]);
    assert_eq!(data("client").await, ["injected", "removed-later", "value"]);
    let web = world.api::<Deployment>().get("web").await.unwrap();
    assert_eq!(web.spec.min_ready_seconds, None, "set by kubectl, not by Git");
    assert!(is_restarted(&web), "adopting restarted it once more");

    // Later, too, what leaves Git leaves the cluster.
    world.listening().await;
    let texts = ["client", "server"].map(|name| world.config_map(name, "1"));
    let second = world.push(&[("client.yaml", &texts[0]), ("server.yaml", &texts[1])]).await;
    world.ready_at(&second).await;
    assert_eq!(data("client").await, ["injected", "value"]);
    assert_eq!(data("server").await, ["value"]);

    // Adopted is once: what people set from now on and Git does not is theirs, in this pass and in later ones.
    kubectl(&world, &["annotate", "configmap", "client", "note=mine"], "");
    kubectl(&world, &["rollout", "restart", "deployment/web"], "");
    let third = world.push(&[("client.yaml", &world.config_map("client", "2"))]).await;
    world.ready_at(&third).await;
    world.applied("client", "2").await;
    assert_eq!(world.config_maps().get("client").await.unwrap().annotations()["note"], "mine");
    assert!(is_restarted(&world.api::<Deployment>().get("web").await.unwrap()));
}

fn is_restarted(web: &Deployment) -> bool {
    let template = web.spec.template.metadata.clone().unwrap_or_default();
    template.annotations.unwrap_or_default().contains_key("kubectl.kubernetes.io/restartedAt")
}

/// Deleted and applied anew by hand before the agent looks: another object, and adopted like the first.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_took_the_place_of_ours_is_adopted() {
    let mut world = World::new("adopt-again").await;
    let commit = world.repo.commit(&[("a.yaml", &world.config_map("a", "1"))]).await.unwrap();
    world.sync().await;
    world.ready_at(&commit).await;
    world.agent.kill();
    world.delete("a").await;
    kubectl(&world, &["apply"], &(world.config_map("a", "2") + "  by-hand: x\n"));
    world.agent.resume().unwrap();
    world.applied("a", "1").await;
    let live = world.config_maps().get("a").await.unwrap();
    assert_eq!(live.data.unwrap().into_keys().collect::<Vec<_>>(), ["value"]);
}
