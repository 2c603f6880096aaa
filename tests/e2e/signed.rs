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

#[tokio::test(flavor = "multi_thread")]
async fn who_may_change_a_path_is_kept_to() {
    let world = World::new("signed-paths").await;
    let (alice, bob) = (Key::make().await, Key::make().await);
    put_keys(&world, json!({"alice.sshpub": alice.public(), "bob.sshpub": bob.public()})).await;
    alice.signs(&world).await;
    let files = [("prod/a.yaml", world.config_map("a", "1")), ("dev/b.yaml", world.config_map("b", "1"))];
    let files = files.each_ref().map(|(path, text)| (*path, text.as_str()));
    world.repo.commit(&files).await.unwrap();
    let signers = json!([{"paths": ["prod"], "keys": ["alice.sshpub"]}]);
    let verify = json!({"secretRef": {"name": "keys"}, "signers": signers});
    world.sync_with(json!({"verify": verify}), json!({})).await;
    world.applied("a", "1").await;
    world.listening().await;

    bob.signs(&world).await;
    let second = world.push(&[("dev/b.yaml", &world.config_map("b", "2"))]).await;
    world.applied("b", "2").await;
    world.ready_at(&second).await;
    let third = world.push(&[("prod/a.yaml", &world.config_map("a", "3"))]).await;
    condition(&world, "SourceVerified", "the path and who may change it are named", |status, reason, message| {
        (status, reason) == ("False", "InvalidCommitSignature")
            && message.contains(&third)
            && message.contains("prod was changed, which SSH key SHA256:")
            && message.contains("keys in alice.sshpub may")
    })
    .await;
    // A further commit of Bob's that leaves the path alone does not bring what was refused.
    let fourth = world.push(&[("dev/b.yaml", &world.config_map("b", "4"))]).await;
    condition(&world, "SourceVerified", "the newer commit is refused, too", |status, _, message| {
        status == "False" && message.contains(&fourth) && message.contains("prod was changed")
    })
    .await;
    world.meddle("a", "some-editor", "drifted").await;
    world.applied("a", "1").await;
    world.applied("b", "2").await;

    alice.signs(&world).await;
    let fifth = world.push(&[("notes.txt", "looked at")]).await;
    world.applied("a", "3").await;
    world.applied("b", "4").await;
    world.ready_at(&fifth).await;
}

/// Tags the newest commit, moves the tag where there was one, and has the source look at it.
async fn tag(world: &World, arguments: &[&str], pushed: &str, request: &str) {
    world.repo.git(&[&["tag", "--force"], arguments].concat()).await.unwrap();
    world.repo.git(&["push", "--quiet", "--force", "origin", pushed]).await.unwrap();
    world.request_fetch(request).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_is_used_only_if_it_is_signed_itself() {
    let world = World::new("signed-tag").await;
    let (alice, bob) = (Key::make().await, Key::make().await);
    put_keys(&world, json!({"alice.sshpub": alice.public()})).await;
    alice.signs(&world).await;
    // What is signed is the tag; the commits are not.
    world.repo.git(&["config", "commit.gpgsign", "false"]).await.unwrap();
    let first = world.repo.commit(&[("a.yaml", &world.config_map("a", "1"))]).await.unwrap();
    world.repo.git(&["tag", "-s", "-m", "one", "v1"]).await.unwrap();
    world.repo.git(&["push", "--quiet", "origin", "refs/tags/v1"]).await.unwrap();
    let verify = json!({"mode": "Tag", "secretRef": {"name": "keys"}});
    world.sync_with(json!({"ref": {"tag": "v1"}, "verify": verify}), json!({})).await;
    world.applied("a", "1").await;
    condition(&world, "SourceVerified", "the tag is verified", |status, _, message| {
        status == "True" && message.contains("v1") && message.contains("SSH key SHA256:")
    })
    .await;

    world.repo.commit(&[("a.yaml", &world.config_map("a", "2"))]).await.unwrap();
    let refused = async |what: &str, words: &str| {
        condition(&world, "SourceVerified", what, |status, _, message| status == "False" && message.contains(words))
            .await;
        assert_eq!(world.source().await.status.unwrap().revision, Some(format!("v1@sha1:{first}")));
    };
    tag(&world, &["v1"], "refs/tags/v1", "plain").await;
    refused("a tag that is a mere name is refused", "the ref names a commit, not an annotated tag").await;
    tag(&world, &["-a", "-m", "unsigned", "v1"], "refs/tags/v1", "unsigned").await;
    refused("an unsigned tag is refused", "it is not signed").await;
    bob.signs(&world).await;
    tag(&world, &["-s", "-m", "by somebody else", "v1"], "refs/tags/v1", "stranger").await;
    refused("a stranger's tag is refused", "not among the keys of the Secret").await;
    alice.signs(&world).await;
    tag(&world, &["-s", "-m", "two", "v2"], "refs/tags/v2:refs/tags/v1", "renamed").await;
    refused("a tag under another name is refused", "the tag calls itself \"v2\"").await;
    world.applied("a", "1").await;

    world.repo.git(&["config", "commit.gpgsign", "false"]).await.unwrap();
    tag(&world, &["-s", "-m", "moved", "v1"], "refs/tags/v1", "moved").await;
    world.applied("a", "2").await;

    // With both asked for, a signed tag does not do for its commit.
    world
        .edit::<towline_agent::api::GitSource>("fleet", "operator", json!({"spec": {"verify": {"mode": "TagAndHEAD"}}}))
        .await;
    condition(&world, "SourceVerified", "the unsigned commit is refused", |status, reason, message| {
        (status, reason) == ("False", "InvalidCommitSignature") && message.contains("it is not signed")
    })
    .await;
    world.repo.git(&["config", "commit.gpgsign", "true"]).await.unwrap();
    world.repo.commit(&[("a.yaml", &world.config_map("a", "3"))]).await.unwrap();
    tag(&world, &["-s", "-m", "both", "v1"], "refs/tags/v1", "both").await;
    world.applied("a", "3").await;
}
