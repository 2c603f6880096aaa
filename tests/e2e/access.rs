//! A private repository behind a private authority: what an operator is told on the way to its credentials, that a Secret counts at
//! once, and that what one source may read another may not.

use harness::git_server::{GitServer, Options};
use harness::wait_until;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use towline_agent::api::{GitSource, Sync};

use crate::world::{PATIENCE, World};

const PASSWORD: &str = "hunter2-of-the-robot";

fn requested(value: &str) -> Value {
    json!({"metadata": {"annotations": {"towline.dev/requested-at": value}}})
}

impl World {
    /// Writes the Secret `git`.
    pub async fn git_secret(&self, data: Value) {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "git"}, "stringData": data});
        let api = Api::<Secret>::namespaced(self.client.clone(), &self.namespace);
        api.patch("git", &PatchParams::apply("operator").force(), &Patch::Apply(&secret)).await.unwrap();
    }

    /// Waits until a source is not ready for this reason, in these words.
    async fn refused(&self, source: &str, reason: &str, words: &str) {
        let api = Api::<GitSource>::namespaced(self.client.clone(), &self.namespace);
        wait_until(&format!("{source} is not ready: {words}"), PATIENCE, async || {
            let conditions = api.get(source).await.map_err(|e| e.to_string())?.status.unwrap_or_default().conditions;
            match conditions.into_iter().find(|condition| condition.type_ == "Ready") {
                Some(ready) if ready.status == "False" && ready.reason == reason && ready.message.contains(words) => {
                    Ok(())
                }
                other => Err(format!("{other:?}")),
            }
        })
        .await
        .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_repository_is_read_with_its_secret_and_with_nothing_else() {
    let mut world = World::new("access").await;
    let credentials = Some(("robot".to_owned(), PASSWORD.to_owned()));
    let git = GitServer::start_with(Options { tls: true, credentials }).await.unwrap();
    let repo = git.repository("private").await.unwrap();
    let first = repo.commit(&[("a.yaml", &world.config_map("a", "1"))]).await.unwrap();
    let ca = git.authority().unwrap().to_owned();

    // Events are off and the next look is an hour away: only the Secret itself can make it look sooner.
    let source = json!({"url": git.url("private"), "secretRef": {"name": "git"}});
    world.another_source("fleet", source).await;
    world.another_sync("fleet", json!({})).await;
    world.refused("fleet", "AuthenticationFailed", "that spec.secretRef names does not exist").await;
    world.git_secret(json!({"username": "robot", "password": "", "ca.crt": ca})).await;
    world.refused("fleet", "AuthenticationFailed", "no key password").await;
    world.git_secret(json!({"username": "robot", "password": PASSWORD, "ca.crt": "none"})).await;
    world.refused("fleet", "AuthenticationFailed", "its key ca.crt is not").await;
    world.git_secret(json!({"username": "robot", "password": PASSWORD, "ca.crt": ""})).await;
    world.refused("fleet", "GitOperationFailed", "TLS").await;
    world.git_secret(json!({"username": "robot", "password": "wrong", "ca.crt": ca})).await;
    world.refused("fleet", "AuthenticationFailed", "does not take the credentials").await;
    world.git_secret(json!({"username": "robot", "password": PASSWORD, "ca.crt": ca})).await;
    world.ready_at(&first).await;
    world.applied("a", "1").await;

    // The mirror is shared and has the commit; a source without credentials gets nothing of it.
    let anonymous = json!({"url": git.url("private")});
    world.another_source("anonymous", anonymous).await;
    world.refused("anonymous", "GitOperationFailed", "TLS").await;
    let authority = Api::<Secret>::namespaced(world.client.clone(), &world.namespace);
    let other = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "ca"}, "stringData": {"ca.crt": ca}});
    authority.patch("ca", &PatchParams::apply("operator"), &Patch::Apply(&other)).await.unwrap();
    world.another_source("nobody", json!({"url": git.url("private"), "secretRef": {"name": "ca"}})).await;
    world.refused("nobody", "AuthenticationFailed", "name a Secret in spec.secretRef").await;
    let sources = Api::<GitSource>::namespaced(world.client.clone(), &world.namespace);
    for name in ["anonymous", "nobody"] {
        assert_eq!(sources.get(name).await.unwrap().status.unwrap().revision, None);
    }

    // Nor does it if its status says that it had the commit before, not even where nobody asks Git: after a restart.
    world.another_sync("thief", json!({"sourceRef": {"kind": "GitSource", "name": "nobody"}, "path": "./b"})).await;
    let second = repo.commit(&[("b/b.yaml", &world.config_map("b", "1"))]).await.unwrap();
    world.request_fetch("the second commit").await;
    world.ready_at(&second).await;
    let nobody = sources.get("nobody").await.unwrap();
    let forged = json!({"status": {
        "revision": format!("main@sha1:{second}"), "sequence": 7, "observedGeneration": nobody.metadata.generation,
    }});
    sources.patch_status("nobody", &PatchParams::default(), &Patch::Merge(&forged)).await.unwrap();
    world.agent.restart().unwrap();
    world.edit::<GitSource>("nobody", "operator", requested("forged")).await;
    wait_until("the forged source was looked at", PATIENCE, async || {
        let status = sources.get("nobody").await.map_err(|e| e.to_string())?.status.unwrap_or_default();
        match status.last_handled_reconcile_at.as_deref() {
            Some("forged") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
    // What the agent would have begun by then has come to its end, too.
    let third = repo.commit(&[("a.yaml", &world.config_map("a", "3"))]).await.unwrap();
    world.request_fetch("the third commit").await;
    world.ready_at(&third).await;
    let thief = Api::<Sync>::namespaced(world.client.clone(), &world.namespace).get("thief").await.unwrap();
    assert_eq!(thief.status.unwrap_or_default().last_attempted_revision, None);

    let written = serde_json::to_string(&sources.list(&Default::default()).await.unwrap()).unwrap();
    let said = format!("{}{written}", world.agent.log());
    for secret in [PASSWORD, "cm9ib3Q6"] {
        assert!(!said.contains(secret), "{secret} was said");
    }
}
