//! Secrets and keys that are replaced while the real receiver works: no restart, and nobody who is right is refused.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use harness::config::{Hook, ReceiverConfig};
use harness::nats::Nats;
use harness::towline::Daemon;
use harness::wait_until;
use jiff::Timestamp;
use tokio::sync::watch;
use towline_receiver::sign::{self, Push};
use towline_receiver::{Provider, Secret};

const PATIENCE: Duration = Duration::from_secs(90);

struct World {
    nats: Nats,
    receiver: Daemon,
    url: String,
    ready: String,
    sent: AtomicU64,
}

impl World {
    async fn new() -> Self {
        let nats = Nats::start_with_streams().await.unwrap();
        let config = ReceiverConfig::new(nats.access("receiver"), vec![Hook::new("github", "git.test", "first")]);
        let mut receiver = Daemon::receiver(&config).await.unwrap();
        let url = receiver.public_url("/hooks/github").await.unwrap();
        let ready = receiver.admin_url("/readyz").await.unwrap();
        let world = Self { nats, receiver, url, ready, sent: AtomicU64::new(1) };
        world.ready().await;
        world
    }

    async fn ready(&self) {
        wait_until("the receiver is ready", PATIENCE, async || {
            let answer = reqwest::get(&self.ready).await.map_err(|error| error.to_string())?;
            let status = answer.status().as_u16();
            if status == 200 { Ok(()) } else { Err(format!("{status}: {}", answer.text().await.unwrap_or_default())) }
        })
        .await
        .unwrap();
    }

    /// The status for a push of a new commit, signed with this.
    async fn deliver(&self, key: &str) -> u16 {
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        let (commit, reference) = (format!("{number:040x}"), format!("refs/heads/branch-{number}"));
        let secret = Secret::parse(Provider::Github, key.as_bytes()).unwrap();
        let push = Push { repository: "org/app", reference: &reference, before: None, after: Some(&commit) };
        let signed = sign::delivery(Provider::Github, &secret, &push, &commit, Timestamp::now());
        let request = reqwest::Client::builder().no_proxy().build().unwrap().post(&self.url);
        let request = signed.headers.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        request.body(signed.body).send().await.unwrap().status().as_u16()
    }
}

#[tokio::test]
async fn a_secret_is_replaced_under_deliveries() {
    let world = World::new().await;
    let (key, current) = watch::channel("first".to_owned());
    let (accepted, seen) = watch::channel(0_u64);
    let (stop, stopped) = watch::channel(false);
    let sender = async || {
        while !*stopped.borrow() {
            let key = current.borrow().clone();
            assert_eq!(world.deliver(&key).await, 202, "signed with {key}\n{}", world.receiver.log_tail());
            accepted.send_modify(|count| *count += 1);
        }
    };
    let rotation = async {
        let more = async || {
            let (mut seen, before) = (seen.clone(), *seen.borrow());
            tokio::time::timeout(PATIENCE, seen.wait_for(|count| *count > before + 30)).await.unwrap().unwrap();
        };
        let (dir, file) = (world.receiver.dir(), world.receiver.dir().join("hook-0-secret-0"));
        for next in ["second", "third"] {
            more().await;
            fs::write(dir.join("new"), next).unwrap();
            fs::rename(dir.join("new"), &file).unwrap();
            key.send_replace(next.to_owned());
        }
        more().await;
        stop.send_replace(true);
    };
    tokio::join!(sender(), sender(), rotation);
    for dead in ["first", "second"] {
        wait_until("a replaced secret dies", PATIENCE, async || match world.deliver(dead).await {
            401 => Ok(()),
            other => Err(other.to_string()),
        })
        .await
        .unwrap();
    }
    let log = world.receiver.log();
    assert!(log.contains("secret reloaded"), "{log}");
}

#[tokio::test]
async fn a_replaced_nats_key_is_used_by_the_next_connection() {
    let world = World::new().await;
    assert_eq!(world.deliver("first").await, 202);
    // The server ends the connection of the old key; only the new one gets in.
    world.nats.replace_key("receiver").unwrap();
    wait_until("the server has ended the old connection", PATIENCE, async || {
        let log = world.receiver.log();
        if log.contains("disconnected") { Ok(()) } else { Err(log) }
    })
    .await
    .unwrap();
    world.ready().await;
    assert_eq!(world.deliver("first").await, 202, "{}", world.receiver.log_tail());
    // A bad file at the next connection: what it held before is used.
    fs::write(world.nats.access("receiver").nkey, "no seed").unwrap();
    world.nats.restart().await.unwrap();
    wait_until("the bad file is told", PATIENCE, async || {
        let log = world.receiver.log();
        if log.contains("NATS credentials cannot be read") { Ok(()) } else { Err(log) }
    })
    .await
    .unwrap();
    world.ready().await;
    assert_eq!(world.deliver("first").await, 202, "{}", world.receiver.log_tail());
}
