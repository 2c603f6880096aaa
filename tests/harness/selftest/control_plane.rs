//! The control plane of the harness, tried: it comes up, takes objects, and survives its API server.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use harness::control_plane::identities::client_from;
use harness::control_plane::{ControlPlane, Options};
use harness::guard::scratch;
use harness::wait_until;
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use kube::api::{Api, ObjectMeta, PostParams};

use crate::SOON;

fn config_map(name: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        data: Some(BTreeMap::from([("key".to_owned(), "value".to_owned())])),
        ..ConfigMap::default()
    }
}

async fn maps(kubeconfig: &Path, namespace: &str) -> Api<ConfigMap> {
    Api::namespaced(client_from(kubeconfig).await.expect("a client"), namespace)
}

#[tokio::test]
async fn objects_survive_a_restart_of_the_api_server() {
    let plane = ControlPlane::start(Options { controller_manager: false, crds: false }).await.unwrap();
    let namespace = plane.namespace("restart").await.unwrap();
    let admin = maps(plane.kubeconfig(), &namespace).await;
    admin.create(&PostParams::default(), &config_map("kept")).await.unwrap();

    plane.stop_apiserver();
    assert!(admin.get("kept").await.is_err(), "the API server answered after it was killed");
    plane.start_apiserver().await.unwrap();

    wait_until("the ConfigMap is still there", SOON, async || {
        admin.get("kept").await.map_err(|error| error.to_string())
    })
    .await
    .unwrap();
    let version = plane.client().await.unwrap().apiserver_version().await.unwrap();
    assert!(version.git_version.starts_with("v1.37."), "the API server is {}", version.git_version);
}

#[tokio::test]
async fn rbac_holds_for_users_and_accounts() {
    let plane = ControlPlane::start(Options { controller_manager: true, crds: false }).await.unwrap();
    let namespace = plane.namespace("rbac").await.unwrap();

    let user = maps(&plane.kubeconfig_for_user("mallory", None).unwrap(), &namespace).await;
    let refusal = user.create(&PostParams::default(), &config_map("a")).await.unwrap_err().to_string();
    assert!(refusal.contains("mallory"), "{refusal}");

    let admins = plane.kubeconfig_for_user("root", Some("system:masters")).unwrap();
    maps(&admins, &namespace).await.create(&PostParams::default(), &config_map("b")).await.unwrap();

    let account = plane.kubeconfig_for_account(&namespace, "deployer").await.unwrap();
    let account = maps(&account, &namespace).await;
    let refusal = account.create(&PostParams::default(), &config_map("c")).await.unwrap_err().to_string();
    assert!(refusal.contains(&format!("system:serviceaccount:{namespace}:deployer")), "{refusal}");

    // The controller manager works: nobody else makes this account.
    let accounts: Api<ServiceAccount> = Api::namespaced(plane.client().await.unwrap(), &namespace);
    wait_until("the namespace has its default account", SOON, async || {
        accounts.get("default").await.map_err(|error| error.to_string())
    })
    .await
    .unwrap();
}

const CRD: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: things.example.test
spec:
  group: example.test
  scope: Namespaced
  names: {kind: Thing, plural: things}
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

#[test]
fn a_control_plane_outlives_the_runtime_that_started_it() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let options = Options { controller_manager: false, crds: false };
    let plane = runtime().block_on(ControlPlane::start(options)).unwrap();
    runtime().block_on(async {
        let crds = scratch("crds");
        fs::write(crds.join("thing.yaml"), CRD).unwrap();
        plane.apply_crds_from(&crds).await.unwrap();
        let groups = plane.client().await.unwrap().list_api_groups().await.unwrap();
        assert!(groups.groups.iter().any(|group| group.name == "example.test"));
    });
}
