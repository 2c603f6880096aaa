//! An agent with a bootstrap section brings in a cluster from Git alone: the repository holds the Syncs of everything else.

use harness::config::AgentConfig;
use harness::control_plane;
use harness::git_server::GitServer;
use harness::towline::Daemon;
use harness::wait_until;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;
use towline_agent::api::Sync;

use crate::world::PATIENCE;

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_comes_from_git_alone() {
    let plane = control_plane::shared().await;
    let namespace = plane.namespace("bootstrap").await.unwrap();
    let git = GitServer::start().await.unwrap();
    let repo = git.repository("fleet").await.unwrap();
    let apps = format!(
        "apiVersion: towline.dev/v1alpha1\nkind: Sync\nmetadata: {{name: apps, namespace: {namespace}}}\nspec:\n  \
         sourceRef: {{kind: GitSource, name: bootstrap}}\n  path: ./apps\n  prune: true\n"
    );
    let app =
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: app, namespace: {namespace}}}\ndata: {{a: '1'}}\n");
    repo.commit(&[("clusters/one/apps.yaml", &apps), ("apps/app.yaml", &app)]).await.unwrap();

    // No NATS at all: an agent that only polls needs nothing but Git and its cluster.
    let mut config = AgentConfig::new("one", plane.kubeconfig());
    config.namespaces = vec![namespace.clone()];
    config.extra_tables =
        format!("[bootstrap]\nurl = {:?}\npath = \"./clusters/one\"\nnamespace = {namespace:?}\n", git.url("fleet"));
    let _agent = Daemon::agent(&config).await.unwrap();

    let client = plane.client().await.unwrap();
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    let syncs: Api<Sync> = Api::namespaced(client, &namespace);
    wait_until("the nested Sync's object is there", PATIENCE, async || {
        match config_maps.get_opt("app").await.map_err(|e| e.to_string())? {
            Some(_) => Ok(()),
            None => Err(format!("{:?}", syncs.list(&Default::default()).await.map(|l| l.items))),
        }
    })
    .await
    .unwrap();
    for name in ["bootstrap", "apps"] {
        wait_until(&format!("Sync {name} is ready"), PATIENCE, async || {
            let sync = syncs.get(name).await.map_err(|e| e.to_string())?;
            let conditions = sync.status.map(|s| s.conditions).unwrap_or_default();
            match conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True") {
                true => Ok(()),
                false => Err(format!("{conditions:?}")),
            }
        })
        .await
        .unwrap();
    }
}
