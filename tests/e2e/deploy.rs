//! `deploy/` against a real API server: what kustomize makes of it is accepted without a warning, in a namespace that
//! enforces the restricted Pod Security standard, and so are the Pods its workloads would make. Nothing is left running.

mod nats;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use harness::Failure;
use harness::config::AgentConfig;
use harness::control_plane::{ControlPlane, Options};
use harness::guard;
use harness::tools::tool;
use harness::towline::Daemon;
use harness::wait_until;
use serde_json::{Value, json};

use crate::world::PATIENCE;

const NAMESPACE: &str = "towline-system";

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// One control plane and the kubectl to it.
struct Cluster(ControlPlane);

impl Cluster {
    async fn start() -> Self {
        // Without a controller manager nobody makes accounts, and nothing that is admitted begins to run.
        Self(ControlPlane::start(Options { controller_manager: false, crds: false }).await.expect("a control plane"))
    }

    /// Runs kubectl with documents on its stdin; a warning of the server is an error.
    fn kubectl(&self, arguments: &[&str], documents: &[Value]) -> Result<String, Failure> {
        let file = guard::scratch("kubectl").join("input.json");
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": documents });
        fs::write(&file, list.to_string()).expect("write the input");
        let mut command = Command::new(tool("kubectl")?);
        command.arg("--kubeconfig").arg(self.0.kubeconfig()).arg("--warnings-as-errors").args(arguments);
        run(command.arg("--filename").arg(file))
    }

    /// Applies for real.
    fn apply(&self, documents: &[Value]) {
        self.kubectl(&["apply", "--server-side", "--validate=strict"], documents).expect("apply");
    }

    /// What the server would say.
    fn try_apply(&self, documents: &[Value]) -> Result<String, Failure> {
        self.kubectl(&["apply", "--server-side", "--dry-run=server", "--validate=strict"], documents)
    }
}

fn run(command: &mut Command) -> Result<String, Failure> {
    let what = format!("run {command:?}");
    let output = command.stdin(Stdio::null()).output().map_err(|error| Failure::new(&what, error))?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    match output.status.success() && !stderr.contains("Warning") {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(Failure::new(what, stderr)),
    }
}

fn kustomize(folder: &Path) -> Vec<Value> {
    let text =
        run(Command::new(tool("kubectl").expect("kubectl")).arg("kustomize").arg(folder)).expect("run kustomize");
    serde_saphyr::from_multiple(&text).expect("read what kustomize made")
}

fn of_kind<'d>(documents: &'d [Value], kinds: &[&str]) -> Vec<&'d Value> {
    documents.iter().filter(|document| kinds.iter().any(|kind| document["kind"] == *kind)).collect()
}

/// The Pod that a workload's controller would make.
fn pod(workload: &Value) -> Value {
    let mut pod = workload["spec"]["template"].clone();
    let name = format!("{}-try", workload["metadata"]["name"].as_str().expect("a name"));
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!(name);
    pod["metadata"]["namespace"] = json!(NAMESPACE);
    // A StatefulSet's controller adds the volumes of its claims.
    for claim in workload.pointer("/spec/volumeClaimTemplates").and_then(Value::as_array).into_iter().flatten() {
        let name = &claim["metadata"]["name"];
        let volume = json!({ "name": name, "persistentVolumeClaim": { "claimName": name } });
        pod["spec"]["volumes"].as_array_mut().expect("volumes").push(volume);
    }
    pod
}

/// Secrets as the example says: a copy, filled by its script.
fn secrets() -> PathBuf {
    let folder = guard::scratch("secrets");
    for name in ["kustomization.yaml", "make.sh"] {
        fs::copy(deploy().join("secrets.example").join(name), folder.join(name)).expect("copy the example");
    }
    run(Command::new("sh").arg(folder.join("make.sh"))).expect("make secrets");
    folder
}

#[tokio::test]
async fn the_all_in_one_overlay_is_admitted_without_a_warning() {
    let cluster = Cluster::start().await;
    let documents = kustomize(&deploy().join("overlays/all-in-one"));
    let first: Vec<Value> =
        of_kind(&documents, &["Namespace", "CustomResourceDefinition"]).into_iter().cloned().collect();
    assert_eq!(first.len(), 4, "a namespace and three definitions");
    cluster.apply(&first);
    cluster.try_apply(&documents).unwrap();

    let workloads = of_kind(&documents, &["Deployment", "StatefulSet", "Job"]);
    assert_eq!(workloads.len(), 4, "receiver, agent, nats, fleet-init");
    let pods: Vec<Value> = workloads.into_iter().map(pod).collect();
    cluster.try_apply(&pods).unwrap();

    // The namespace does refuse, and a warning does fail: otherwise the above would prove nothing.
    let mut privileged = pods[0].clone();
    privileged["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = json!(true);
    let refused = cluster.try_apply(&[privileged]).unwrap_err().to_string();
    assert!(refused.contains("restricted"), "{refused}");
    let mut misspelt = documents.iter().find(|document| document["kind"] == "Deployment").unwrap().clone();
    misspelt["spec"]["replica"] = json!(1);
    assert!(cluster.try_apply(&[misspelt]).is_err(), "an unknown field was accepted");
}

/// The agent that only acts as others: as the base's, without the one binding that allows it everything.
#[tokio::test]
async fn the_agent_that_acts_as_accounts_has_no_rights_of_its_own_over_workloads() {
    let folder = guard::scratch("overlay");
    let path = |name: &str| {
        let target = fs::canonicalize(deploy().join(name)).expect("find the folder");
        let link = folder.join(name.replace('/', "-"));
        std::os::unix::fs::symlink(target, &link).expect("link the folder");
        link.file_name().expect("a name").to_string_lossy().into_owned()
    };
    let (base, crds, component) = (path("base/agent"), path("crds"), path("components/acts-as-accounts"));
    let overlay = json!({ "namespace": NAMESPACE, "resources": [crds, base], "components": [component] });
    fs::write(folder.join("kustomization.yaml"), overlay.to_string()).expect("write the overlay");
    let documents = kustomize(&folder);

    let cluster = Cluster::start().await;
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } });
    let definitions = of_kind(&documents, &["CustomResourceDefinition"]).into_iter().cloned();
    cluster.apply(&definitions.chain([namespace]).collect::<Vec<_>>());
    cluster.try_apply(&documents).unwrap();
    let roles = of_kind(&documents, &["ClusterRoleBinding"]);
    let roles: Vec<_> = roles.iter().filter_map(|binding| binding["roleRef"]["name"].as_str()).collect();
    assert_eq!(roles, ["towline-agent", "towline-agent-acts-as-accounts"]);
    let variables = documents.iter().find_map(|d| d.pointer("/spec/template/spec/containers/0/env"));
    assert_eq!(variables.unwrap()[0]["value"], "towline-deployer");
}

/// With nothing but `rbac.yaml`: it may not apply anything, and takes part in the work all the same.
#[tokio::test(flavor = "multi_thread")]
async fn the_agents_own_rights_are_enough_to_hold_a_lease() {
    let documents = kustomize(&deploy().join("overlays/all-in-one"));
    let cluster = Cluster::start().await;
    let rights = ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"];
    let rights = of_kind(&documents, &rights)
        .into_iter()
        .filter(|d| d.pointer("/roleRef/name") != Some(&json!("cluster-admin")));
    let definitions = of_kind(&documents, &["Namespace", "CustomResourceDefinition"]);
    cluster.apply(&definitions.into_iter().chain(rights).cloned().collect::<Vec<_>>());
    let account = cluster.0.kubeconfig_for_account(NAMESPACE, "towline-agent").await.unwrap();
    let mut config = AgentConfig::new("local", &account);
    config.extra_tables = format!("[replicas]\nnamespace = {NAMESPACE:?}\n");
    let mut agent = Daemon::agent(&config).await.unwrap();
    let url = agent.admin_url("/readyz").await.unwrap();
    wait_until("the agent is ready", PATIENCE, async || {
        let answer = reqwest::get(&url).await.map_err(|e| e.to_string())?;
        let (status, text) = (answer.status(), answer.text().await.map_err(|e| e.to_string())?);
        if status.is_success() { Ok(()) } else { Err(format!("{text}{}", agent.log_tail())) }
    })
    .await
    .unwrap();
    assert!(agent.terminate(PATIENCE).await.unwrap().success());
}

#[tokio::test]
async fn every_secret_that_is_named_is_in_the_example() {
    let cluster = Cluster::start().await;
    let documents = kustomize(&deploy().join("overlays/all-in-one"));
    cluster.apply(&of_kind(&documents, &["Namespace"]).into_iter().cloned().collect::<Vec<_>>());
    let made = kustomize(&secrets());
    cluster.try_apply(&made).unwrap();

    let names: Vec<&str> = made.iter().filter_map(|secret| secret["metadata"]["name"].as_str()).collect();
    for workload in of_kind(&documents, &["Deployment", "StatefulSet", "Job"]) {
        let volumes = workload["spec"]["template"]["spec"]["volumes"].as_array().unwrap();
        let plain = volumes.iter().filter_map(|volume| volume.pointer("/secret/secretName"));
        let sources = volumes.iter().filter_map(|volume| volume.pointer("/projected/sources")?.as_array()).flatten();
        let projected = sources.filter_map(|source| source.pointer("/secret/name"));
        for name in plain.chain(projected).filter_map(Value::as_str) {
            assert!(names.contains(&name), "{name} is in no example");
        }
    }
    assert!(of_kind(&documents, &["Secret"]).is_empty(), "secrets are referenced, never contained");
}

#[test]
fn nats_takes_its_configuration() {
    let (folder, secrets) = (guard::scratch("nats-config"), secrets());
    fs::create_dir(folder.join("auth")).unwrap();
    fs::copy(deploy().join("base/nats/nats.conf"), folder.join("nats.conf")).unwrap();
    fs::copy(secrets.join("passwords.conf"), folder.join("auth/passwords.conf")).unwrap();
    let server = tool("nats-server").unwrap();
    run(Command::new(server).arg("-t").arg("--config").arg(folder.join("nats.conf"))).unwrap();
}

#[test]
fn every_base_stands_on_its_own_and_names_no_registry() {
    for base in ["base/receiver", "base/agent", "base/nats", "crds"] {
        let documents = kustomize(&deploy().join(base));
        for workload in of_kind(&documents, &["Deployment", "StatefulSet", "Job"]) {
            for container in workload["spec"]["template"]["spec"]["containers"].as_array().unwrap() {
                let image = container["image"].as_str().unwrap();
                let host = image.split_once('/').map(|(first, _)| first).filter(|first| first.contains(['.', ':']));
                assert_eq!(host, None, "{image} names a registry");
                assert!(!image.ends_with(":latest") && image.contains(':'), "{image} is not pinned");
            }
        }
    }
}

#[tokio::test]
async fn the_definitions_refuse_what_an_agent_could_not_use() {
    let plane = ControlPlane::start(Options { controller_manager: false, crds: true }).await.unwrap();
    let namespace = plane.namespace("rules").await.unwrap();
    let cluster = Cluster(plane);
    let object = |kind: &str, name: &str, spec: Value| {
        json!({
            "apiVersion": "towline.dev/v1alpha1", "kind": kind,
            "metadata": { "name": name, "namespace": namespace }, "spec": spec,
        })
    };
    let source = |more: (&str, Value)| {
        let mut spec = json!({ "url": "https://git.example/org/fleet" });
        spec[more.0] = more.1;
        object("GitSource", "a", spec)
    };
    let sync = |name: &str, more: (&str, Value)| {
        let mut spec = json!({ "sourceRef": { "kind": "GitSource", "name": "a" }, "prune": true });
        spec[more.0] = more.1;
        object("Sync", name, spec)
    };
    for good in [
        source(("ref", json!({ "tag": "v1" }))),
        source(("interval", json!("1h30m"))),
        sync("a", ("path", json!("./clusters/..prod/"))),
        sync("a", ("serviceAccountName", json!("deployer.of-apps"))),
        sync("a", ("prunePolicy", json!({ "maxDeletions": "10%", "allowKinds": ["Namespace"] }))),
        sync(&"a".repeat(63), ("path", json!(""))),
    ] {
        cluster.try_apply(&[good]).unwrap();
    }
    for (bad, why) in [
        (source(("url", json!("file:///etc"))), "spec.url"),
        (source(("ref", json!({}))), "exactly one"),
        (source(("ref", json!({ "branch": "a", "tag": "b" }))), "exactly one"),
        (source(("interval", json!("soon"))), "spec.interval"),
        (source(("interval", json!("0s"))), "at least 1s"),
        (source(("timeout", json!("99999999999999999999h"))), "spec.timeout"),
        (sync("a", ("path", json!("../x"))), "does not leave it"),
        (sync("a", ("path", json!("/x"))), "does not leave it"),
        (sync("a", ("serviceAccountName", json!("other:deployer"))), "serviceAccountName"),
        (sync("a", ("serviceAccountName", json!(""))), "serviceAccountName"),
        (sync("a", ("prunePolicy", json!({ "maxDeletions": "all" }))), "maxDeletions"),
        (sync("a", ("prunePolicy", json!({ "maxDeletions": -1 }))), "maxDeletions"),
        (sync("a", ("sourceRef", json!({ "kind": "Bucket", "name": "a" }))), "supported values"),
        (sync(&"a".repeat(64), ("path", json!(""))), "63 bytes"),
    ] {
        let refused = cluster.try_apply(std::slice::from_ref(&bad)).expect_err(&bad.to_string()).to_string();
        assert!(refused.contains(why), "{refused}");
    }

    let defaults = cluster.kubectl(&["apply", "--server-side", "--output=json"], &[source(("suspend", json!(false)))]);
    let defaults: Value = serde_json::from_str(&defaults.unwrap()).unwrap();
    let spec = defaults.pointer("/items/0/spec").unwrap_or(&defaults["spec"]);
    assert_eq!((&spec["ref"], &spec["interval"]), (&json!({ "branch": "main" }), &json!("300s")));

    let mut explain = Command::new(tool("kubectl").unwrap());
    explain.arg("--kubeconfig").arg(cluster.0.kubeconfig()).args(["explain", "syncs.spec"]);
    let text = run(&mut explain).unwrap();
    assert!(text.contains("Deletes from the cluster what is no longer in Git."), "{text}");
}
