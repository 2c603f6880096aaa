//! Deliveries and events of strangers: refused at the edge, and worth no more than a look at the repository behind it.

use async_nats::jetstream;
use bytes::Bytes;
use harness::config::Hook;
use harness::wait_until;
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::Api;
use towline_agent::api::{GitSource, Sync};
use towline_proto::{CommitEvent, CommitId, RefName, RepositoryId, streams, subject};
use towline_receiver::sign::{self, Push, SignedDelivery};
use towline_receiver::{Provider, Secret};

use crate::history;
use crate::world::{EVENT_REPOSITORY, PATIENCE, REPOSITORY, SECRET, World, delivery_id};

/// Of the other hook.
const OTHER_SECRET: &str = "another horse another battery";

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_delivery_is_refused_and_nothing_is_published() {
    let hooks = vec![
        Hook::new("github", "git.test", SECRET),
        Hook { path: "/hooks/other".to_owned(), ..Hook::new("github", "other.test", OTHER_SECRET) },
        Hook::new("gitlab", "git.test", OTHER_SECRET),
        Hook::new("gitea", "git.test", OTHER_SECRET),
    ];
    let world = World::with_hooks("forged", hooks).await;
    let commit = world.repo.commit(&[("a.yaml", &world.config_map("a", "1"))]).await.unwrap();
    world.sync().await;
    world.ready_at(&commit).await;
    world.listening().await;
    let next = world.repo.commit(&[("a.yaml", &world.config_map("a", "2"))]).await.unwrap();

    let delivery = |provider: Provider, secret: &str| {
        let secret = Secret::parse(provider, secret.as_bytes()).unwrap();
        let push = Push { repository: REPOSITORY, reference: "refs/heads/main", before: None, after: Some(&next) };
        sign::delivery(provider, &secret, &push, &delivery_id(&next), Timestamp::now())
    };
    let genuine = || delivery(Provider::Github, SECRET);
    let changed = SignedDelivery {
        body: Bytes::from(String::from_utf8_lossy(&genuine().body).replace(REPOSITORY, "org/fleeT")),
        ..genuine()
    };
    let forgeries = [
        ("another secret", "/hooks/github", delivery(Provider::Github, "guessed")),
        ("the other hook's secret", "/hooks/github", delivery(Provider::Github, OTHER_SECRET)),
        ("this hook's secret at the other", "/hooks/other", genuine()),
        ("no signature", "/hooks/github", without(genuine(), "x-hub-signature-256")),
        ("a body changed after it was signed", "/hooks/github", changed),
        ("signed as another provider signs", "/hooks/github", delivery(Provider::Gitea, SECRET)),
        ("a wrong token", "/hooks/gitlab", delivery(Provider::Gitlab, SECRET)),
        ("no token", "/hooks/gitlab", without(delivery(Provider::Gitlab, OTHER_SECRET), "x-gitlab-token")),
        ("a wrong signature", "/hooks/gitea", delivery(Provider::Gitea, SECRET)),
    ];
    for (what, path, forged) in forgeries {
        assert_eq!(world.post(path, forged).await, 401, "{what}");
    }
    // The true one is the first in the stream.
    assert_eq!(world.deliver(&next).await, 202);
    world.applied("a", "2").await;
    let jetstream = jetstream::new(world.nats.connect("admin").await.unwrap());
    let commits = jetstream.get_stream(streams::COMMITS).await.unwrap().cached_info().state.clone();
    assert_eq!((commits.messages, commits.last_sequence), (1, 1), "more than the one delivery was published");
}

/// Somebody may publish on the repository's own subject. Each of his messages is acted on as an event is: by a look.
#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_event_causes_a_look_and_nothing_else() {
    let world = World::new("stranger").await;
    let first = world.repo.commit(&[("a.yaml", &world.config_map("a", "1"))]).await.unwrap();
    world.sync().await;
    world.ready_at(&first).await;
    world.listening().await;
    let second = world.push(&[("a.yaml", &world.config_map("a", "2"))]).await;
    world.ready_at(&second).await;
    let (source, sync) = (world.source().await, world.fleet().await);
    let object = world.config_maps().get("a").await.unwrap();
    let subject = subject::commit(&repository(), &branch());
    let jetstream = jetstream::new(world.nats.connect("admin").await.unwrap());
    let commits = jetstream.get_stream(streams::COMMITS).await.unwrap();
    let genuine = commits.direct_get_last_for_subject(&subject).await.unwrap().payload;

    let another_ref = CommitEvent { reference: RefName::parse("refs/heads/other").unwrap(), ..event(&first) };
    let messages = [
        ("a commit that does not exist", event("00000000000000000000000000000000deadbeef").encode().into()),
        ("an older commit", event(&first).encode().into()),
        ("a deleted branch", CommitEvent { after: None, ..event(&first) }.encode().into()),
        ("another ref", another_ref.encode().into()),
        ("garbage", Bytes::from_static(b"\xff\xfe{]")),
        ("nothing", Bytes::new()),
        ("what was said before", genuine),
    ];
    for (what, message) in messages {
        let before = world.git.request_count();
        jetstream.publish(subject.clone(), message).await.unwrap().await.unwrap();
        wait_until(&format!("the agent looks because of {what}"), PATIENCE, async || {
            let now = world.git.request_count();
            if now > before { Ok(()) } else { Err(format!("{now} requests")) }
        })
        .await
        .unwrap();
    }

    // What comes later comes by the same loop: before it, nothing happened.
    let third = world.push(&[("a.yaml", &world.config_map("a", "3"))]).await;
    let after = world.ready_at(&third).await;
    let values = history::values(&world.config_maps(), &object).await;
    assert_eq!(values, ["2", "3"]);
    let revisions = [&second, &third].map(|commit| Some(format!("main@sha1:{commit}")));
    let syncs: Api<Sync> = Api::namespaced(world.client.clone(), &world.namespace);
    let mut applied = vec![sync.status.as_ref().and_then(|s| s.last_applied_revision.clone())];
    for version in history::since(&syncs, "fleet", &sync.resource_version().unwrap()).await {
        applied.push(version.status.and_then(|status| status.last_applied_revision));
    }
    applied.dedup();
    assert_eq!(applied, revisions);
    assert_eq!(after.metadata.generation, sync.metadata.generation);
    let sources: Api<GitSource> = Api::namespaced(world.client.clone(), &world.namespace);
    let mut sequences = vec![source.status.as_ref().and_then(|status| status.sequence)];
    for version in history::since(&sources, "fleet", &source.resource_version().unwrap()).await {
        sequences.push(version.status.and_then(|status| status.sequence));
    }
    sequences.dedup();
    assert_eq!(sequences.len(), 2, "one new revision, not more: {sequences:?}");
}

fn event(after: &str) -> CommitEvent {
    CommitEvent {
        version: CommitEvent::VERSION,
        repository: repository(),
        reference: branch(),
        before: None,
        after: Some(CommitId::parse(after).unwrap()),
        provider: "github".to_owned(),
        hook: "/hooks/github".to_owned(),
        delivery: "of-a-stranger".to_owned(),
        received_at: Timestamp::now(),
        traceparent: None,
    }
}

fn repository() -> RepositoryId {
    RepositoryId::parse(EVENT_REPOSITORY).unwrap()
}

fn branch() -> RefName {
    RefName::parse("refs/heads/main").unwrap()
}

fn without(mut delivery: SignedDelivery, header: &str) -> SignedDelivery {
    delivery.headers.retain(|(name, _)| *name != header);
    delivery
}
