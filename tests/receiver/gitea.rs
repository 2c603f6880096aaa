//! Real deliveries: refs are pushed to a real Gitea, whose webhook does the rest.

use harness::config::{Hook, ReceiverConfig};
use harness::gitea::{Gitea, USER};
use harness::nats::Nats;
use harness::repo::Repo;
use harness::towline::field;
use harness::wait_until;
use serde_json::{Value, json};
use towline_proto::CommitEvent;

use crate::stored;
use crate::world::{PATIENCE, Receiver, SECRET};

struct World {
    gitea: Gitea,
    nats: Nats,
    receiver: Receiver,
    repo: Repo,
}

impl World {
    async fn new() -> Self {
        let (gitea, nats) = futures::future::join(Gitea::start(), Nats::start_with_streams()).await;
        let (gitea, nats) = (gitea.unwrap(), nats.unwrap());
        let hooks = vec![Hook::new("gitea", &gitea.host(), SECRET)];
        let receiver = Receiver::start(&ReceiverConfig::new(nats.access("receiver"), hooks)).await;
        let repo = gitea.repository("fleet", false).await.unwrap();
        let hook = json!({
            "type": "gitea",
            "active": true,
            "events": ["push", "create", "delete"],
            "config": { "url": receiver.url("/hooks/gitea"), "content_type": "json", "secret": SECRET },
        });
        gitea.api(reqwest::Method::POST, &format!("/repos/{USER}/fleet/hooks"), Some(&hook)).await.unwrap();
        Self { gitea, nats, receiver, repo }
    }

    /// Waits for the event by which a ref is now at a commit, and was at another (or none).
    async fn event(&self, reference: &str, before: Option<&str>, after: &str) -> CommitEvent {
        let expected = (before.map(str::to_owned), Some(after.to_owned()));
        let what = format!("the event of {reference} at {after}");
        let event = wait_until(&what, PATIENCE, async || {
            let events = stored::events(&self.nats).await;
            let event = events.into_iter().find(|event| event.reference.as_str() == reference);
            let event = event.ok_or_else(|| format!("none of this ref; {}", self.receiver.daemon.log_tail()))?;
            let id = |commit: &Option<_>| commit.as_ref().map(ToString::to_string);
            let seen = (id(&event.before), id(&event.after));
            if seen == expected { Ok(event) } else { Err(format!("{seen:?}")) }
        });
        let event = event.await.unwrap();
        // The host of the hook's configuration, without its port, and the repository's full name.
        assert_eq!(event.repository.to_string(), format!("127.0.0.1/{USER}/fleet"));
        assert_eq!((event.provider.as_str(), event.hook.as_str()), ("gitea", "/hooks/gitea"));
        assert!(!event.delivery.is_empty());
        event
    }

    /// The receiver's lines about deliveries.
    fn deliveries(&self) -> Vec<Value> {
        let lines = self.receiver.daemon.log_lines().into_iter();
        lines.filter(|line| field(line, "message") == Some("delivery")).collect()
    }

    /// Waits until so many deliveries of a kind were received.
    async fn received(&self, event: &str, count: usize) {
        wait_until(&format!("{count} deliveries of {event}"), PATIENCE, async || {
            let lines = self.deliveries();
            let seen = lines.iter().filter(|line| field(line, "event") == Some(event)).count();
            if seen == count { Ok(()) } else { Err(format!("{seen}: {lines:?}")) }
        })
        .await
        .unwrap();
    }

    /// Gitea had nothing but good answers.
    fn nothing_was_refused(&self) {
        for line in self.deliveries() {
            assert!(matches!(line["fields"]["status"].as_u64(), Some(200 | 202)), "{line}");
        }
    }

    async fn git(&self, arguments: &[&str]) -> String {
        self.repo.git(arguments).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn branches_and_tags_are_created_updated_forced_and_deleted() {
    let world = World::new().await;
    let first = world.repo.commit(&[("a", "1")]).await.unwrap();
    world.event("refs/heads/main", None, &first).await;
    let second = world.repo.commit(&[("a", "2")]).await.unwrap();
    world.event("refs/heads/main", Some(&first), &second).await;
    world.repo.force_push(&first).await.unwrap();
    world.event("refs/heads/main", Some(&second), &first).await;

    // A name that needs care in a subject and in a path.
    let branch = "refs/heads/feature/a.b-c_d/ümlaut";
    world.git(&["push", "--quiet", "origin", &format!("{second}:{branch}")]).await;
    world.event(branch, None, &second).await;

    world.git(&["tag", "v1"]).await;
    world.git(&["push", "--quiet", "origin", "refs/tags/v1"]).await;
    world.event("refs/tags/v1", None, &first).await;
    // Gitea tells of a tag that moves as of a new one.
    world.git(&["tag", "--force", "v1", &second]).await;
    world.git(&["push", "--quiet", "--force", "origin", "refs/tags/v1"]).await;
    world.event("refs/tags/v1", None, &second).await;
    world.git(&["tag", "--annotate", "--message", "two", "v2"]).await;
    let tag = world.git(&["rev-parse", "refs/tags/v2"]).await;
    world.git(&["push", "--quiet", "origin", "refs/tags/v2"]).await;
    world.event("refs/tags/v2", None, &tag).await;

    world.git(&["push", "--quiet", "origin", "--delete", branch]).await;
    world.git(&["push", "--quiet", "origin", "--delete", "refs/tags/v1"]).await;
    world.received("delete", 2).await;
    world.nothing_was_refused();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_push_of_several_refs_is_an_event_for_each() {
    let world = World::new().await;
    let main = world.repo.commit(&[("a", "1")]).await.unwrap();
    world.event("refs/heads/main", None, &main).await;
    let mut refs = Vec::new();
    for name in ["one", "two", "three"] {
        world.git(&["checkout", "--quiet", "-B", name, "main"]).await;
        world.git(&["commit", "--quiet", "--allow-empty", "--message", name]).await;
        refs.push((format!("refs/heads/{name}"), world.repo.head().await.unwrap()));
    }
    world.git(&["tag", "v1"]).await;
    refs.push(("refs/tags/v1".to_owned(), world.repo.head().await.unwrap()));
    let names: Vec<&str> = refs.iter().map(|(name, _)| name.as_str()).collect();
    world.git(&[&["push", "--quiet", "origin"], &names[..]].concat()).await;
    for (name, commit) in &refs {
        world.event(name, None, commit).await;
    }
    world.nothing_was_refused();
    assert_eq!(stored::events(&world.nats).await.len(), 5);
}

/// A secret that differs is Gitea's to see: it is told 401, and nothing is published.
#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_with_another_secret_is_refused() {
    let world = World::new().await;
    world.gitea.repository("other", false).await.unwrap();
    world.gitea.webhook("other", &world.receiver.url("/hooks/gitea"), "guessed").await.unwrap();
    let other = Repo::with_remote(&world.gitea.push_url("other")).await.unwrap();
    other.commit(&[("a", "1")]).await.unwrap();
    world.received("push", 1).await;
    assert_eq!(world.deliveries()[0]["fields"]["status"], 401);
    assert!(stored::events(&world.nats).await.is_empty());
}
