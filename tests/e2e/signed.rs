//! Only what is signed with a key of the Secret becomes a revision; what was verified before keeps running.

use harness::wait_until;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::world::{PATIENCE, World};

/// An SSH key made by ssh-keygen, and the repository told to sign with it.
struct Key {
    folder: tempfile::TempDir,
}

impl Key {
    async fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        let arguments = ["-q", "-t", "ed25519", "-N", "", "-C", "somebody", "-f"];
        assert!(Command::new("ssh-keygen").args(arguments).arg(&file).status().await.unwrap().success());
        Self { folder }
    }

    fn public(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("key.pub")).unwrap()
    }

    async fn signs(&self, world: &World) {
        let key = self.folder.path().join("key");
        for (name, value) in
            [("gpg.format", "ssh"), ("user.signingkey", key.to_str().unwrap()), ("commit.gpgsign", "true")]
        {
            world.repo.git(&["config", name, value]).await.unwrap();
        }
    }
}

async fn put_keys(world: &World, entries: Value) {
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), &world.namespace);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "stringData": entries});
    if secrets.get_opt("keys").await.unwrap().is_none() {
        let secret = serde_json::from_value(secret).unwrap();
        secrets.create(&PostParams::default(), &secret).await.unwrap();
    } else {
        let patch = json!({"data": null, "stringData": entries});
        secrets.patch("keys", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }
}

/// Waits until a condition of the source is so.
async fn condition(world: &World, kind: &str, what: &str, is: impl Fn(&str, &str, &str) -> bool) {
    wait_until(what, PATIENCE, async || {
        let conditions = world.source().await.status.map(|status| status.conditions).unwrap_or_default();
        match conditions.iter().find(|c| c.type_ == kind) {
            Some(c) if is(&c.status, &c.reason, &c.message) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_signed_is_applied_and_a_key_that_is_added_counts_at_once() {
    let world = World::new("signed").await;
    let (alice, bob) = (Key::make().await, Key::make().await);
    put_keys(&world, json!({"alice.sshpub": alice.public()})).await;
    alice.signs(&world).await;
    let first = world.repo.commit(&[("a.yaml", &world.config_map("a", "1"))]).await.unwrap();
    let verify = json!({"mode": "HEAD", "secretRef": {"name": "keys"}});
    world.sync_with(json!({"verify": verify}), json!({})).await;
    world.applied("a", "1").await;
    condition(&world, "SourceVerified", "the signature is verified", |status, reason, message| {
        (status, reason) == ("True", "Succeeded") && message.contains(&first) && message.contains("SSH key SHA256:")
    })
    .await;
    world.listening().await;

    world.repo.git(&["config", "commit.gpgsign", "false"]).await.unwrap();
    world.push(&[("a.yaml", &world.config_map("a", "unsigned"))]).await;
    condition(&world, "SourceVerified", "the unsigned commit is refused", |status, reason, message| {
        (status, reason) == ("False", "InvalidCommitSignature") && message.contains("it is not signed")
    })
    .await;
    condition(&world, "Ready", "the source is not ready", |status, reason, _| {
        (status, reason) == ("False", "VerificationError")
    })
    .await;
    bob.signs(&world).await;
    let third = world.push(&[("a.yaml", &world.config_map("a", "3"))]).await;
    condition(&world, "SourceVerified", "the missing key is named", |status, _, message| {
        status == "False" && message.contains(&third) && message.contains("not among the keys of the Secret")
    })
    .await;
    // What was verified last is what runs: drift is put right by it.
    let patch = Patch::Merge(json!({"data": {"value": "drifted"}}));
    world.config_maps().patch("a", &PatchParams::default(), &patch).await.unwrap();
    world.applied("a", "1").await;
    assert!(world.source().await.status.unwrap().revision.unwrap().ends_with(&first));

    put_keys(&world, json!({"alice.sshpub": alice.public(), "bob.sshpub": bob.public()})).await;
    world.applied("a", "3").await;
    condition(&world, "Ready", "the source is ready again", |status, _, message| {
        status == "True" && message.contains(&third)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_judged_again_when_it_is_asked_for_and_when_keys_go() {
    let world = World::new("judged-again").await;
    let alice = Key::make().await;
    let bob = Key::make().await;
    alice.signs(&world).await;
    world.repo.commit(&[("a.yaml", &world.config_map("a", "1"))]).await.unwrap();
    world.sync_with(json!({}), json!({})).await;
    world.applied("a", "1").await;

    put_keys(&world, json!({"bob.sshpub": bob.public()})).await;
    let sources: Api<towline_agent::api::GitSource> = Api::namespaced(world.client.clone(), &world.namespace);
    let patch = Patch::Merge(json!({"spec": {"verify": {"secretRef": {"name": "keys"}}}}));
    sources.patch("fleet", &PatchParams::default(), &patch).await.unwrap();
    let refused = |status: &str, _: &str, message: &str| status == "False" && message.contains("not among the keys");
    condition(&world, "SourceVerified", "the commit in use is refused", refused).await;
    // Nothing is put right by it any more, and nothing is taken away.
    world
        .config_maps()
        .patch("a", &PatchParams::default(), &Patch::Merge(json!({"data": {"value": "by hand"}})))
        .await
        .unwrap();
    world
        .ready("the Sync says why it rests", |status, _, message| status == "False" && message.contains("not among"))
        .await;
    world.applied("a", "by hand").await;

    put_keys(&world, json!({"bob.sshpub": bob.public(), "alice.sshpub": alice.public()})).await;
    world.applied("a", "1").await;
}
