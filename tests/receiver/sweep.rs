//! GitHub delivers once; a sweep has it deliver again what nobody could take. The real binary, a real NATS, and a GitHub
//! that is as its documentation says.

use std::path::PathBuf;
use std::time::Duration;

use harness::config::{Hook, ReceiverConfig};
use harness::nats::Nats;
use harness::towline::{Daemon, field};
use harness::{guard, wait_until};
use towline_proto::{RefName, RepositoryId, streams, subject};

use crate::fake_github::{FakeGithub, HOOK_ID, HOOK_URL, Mood, TOKEN};

/// Patience on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(90);

const SECRET: &str = "correct horse battery staple";
const QUICK: &str = "interval_ms = 100\nattempt_wait_ms = 50\n";
const WORKS: &str = "missed deliveries are looked for";
const FAILS: &str = "failed to look for missed deliveries";

struct World {
    nats: Nats,
    github: FakeGithub,
    receiver: Daemon,
    config: ReceiverConfig,
    token: PathBuf,
}

fn commit(number: u32) -> String {
    format!("{number:040x}")
}

impl World {
    /// `settings` are lines of the `[[sweeps]]` table.
    async fn new(settings: &str) -> Self {
        let nats = Nats::start_with_streams().await.unwrap();
        let github = FakeGithub::start().await;
        let token = guard::scratch("sweep").join("token");
        std::fs::write(&token, format!("{TOKEN}\n")).unwrap();
        let hook = Hook::new("github", "git.example", SECRET);
        let mut config = ReceiverConfig::new(nats.access("receiver"), vec![hook]);
        let api = github.api();
        config.extra_tables = format!(
            "[limits]\npublish_timeout_ms = 500\n\
             [[sweeps]]\nhook = \"/hooks/github\"\nrepository = \"org/app\"\ntoken = {token:?}\napi = {api:?}\n{settings}\n"
        );
        let receiver = Daemon::receiver(&config).await.unwrap();
        let mut world = Self { nats, github, receiver, config, token };
        world.github.delivers_to(&world.receiver.public_url("/hooks/github").await.unwrap());
        world
    }

    async fn fail(&self, commits: impl IntoIterator<Item = u32>) {
        self.github.reaches_the_receiver(false);
        for number in commits {
            assert_eq!(self.github.push(&commit(number), SECRET).await, 502);
        }
        self.github.reaches_the_receiver(true);
    }

    async fn stored(&self, commits: impl IntoIterator<Item = u32>) {
        let jetstream = async_nats::jetstream::new(self.nats.connect("admin").await.unwrap());
        let stream = jetstream.get_stream(streams::COMMITS).await.unwrap();
        let repository = RepositoryId::from_hook("git.example", None, "org/app").unwrap();
        for number in commits {
            let reference = RefName::parse(&format!("refs/heads/{}", commit(number))).unwrap();
            let subject = subject::commit(&repository, &reference);
            wait_until(&format!("the event of commit {number} is in the stream"), PATIENCE, async || {
                let log = || format!("{:#?}\n{}", self.github.seen(), self.receiver.log_tail());
                stream
                    .direct_get_last_for_subject(&subject)
                    .await
                    .map(drop)
                    .map_err(|error| format!("{error}\n{}", log()))
            })
            .await
            .unwrap();
        }
    }

    /// How often this was logged.
    fn told(&self, message: &str) -> usize {
        self.receiver.log_lines().iter().filter(|line| field(line, "message") == Some(message)).count()
    }

    /// Waits until this was logged once more than before, and returns the error that is in the line.
    async fn tells(&self, message: &str, before: usize) -> String {
        wait_until(&format!("the log says {message:?} once more"), PATIENCE, async || {
            let lines = self.receiver.log_lines();
            let line = lines.iter().filter(|line| field(line, "message") == Some(message)).nth(before);
            let line = line.ok_or_else(|| self.receiver.log_tail())?;
            Ok(field(line, "error").unwrap_or_default().to_owned())
        })
        .await
        .unwrap()
    }

    async fn metric(&mut self, line: &str) {
        let url = self.receiver.admin_url("/metrics").await.unwrap();
        wait_until(&format!("the metrics have {line}"), PATIENCE, async || {
            let text = reqwest::get(&url).await.map_err(|e| e.to_string())?.text().await.map_err(|e| e.to_string())?;
            if text.lines().any(|found| found == line) { Ok(()) } else { Err(text) }
        })
        .await
        .unwrap();
    }

    /// The requests that asked for a redelivery.
    fn asked(&self) -> usize {
        self.github.seen().iter().filter(|seen| seen.what.starts_with("POST")).count()
    }
}

fn by_id() -> String {
    format!("{QUICK}id = {HOOK_ID}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_outage_of_nats_refused_is_in_the_stream_afterwards() {
    let mut world = World::new(&format!("{QUICK}url = {HOOK_URL:?}\n")).await;
    world.tells(WORKS, 0).await;
    assert_eq!(world.github.push(&commit(1), SECRET).await, 202);
    assert_eq!(world.github.push(&commit(2), "another secret").await, 401);
    world.nats.stop();
    for number in 3..6 {
        assert_eq!(world.github.push(&commit(number), SECRET).await, 503);
    }
    world.nats.resume().await.unwrap();
    world.stored([1, 3, 4, 5]).await;

    world
        .metric("towline_receiver_sweep_failed_deliveries{hook=\"/hooks/github\",scope=\"org/app\",state=\"due\"} 0")
        .await;
    world
        .metric(
            "towline_receiver_sweep_failed_deliveries{hook=\"/hooks/github\",scope=\"org/app\",state=\"refused\"} 1",
        )
        .await;
    assert_eq!(world.github.attempts_of(&commit(1)), [202], "it was delivered");
    assert_eq!(world.github.attempts_of(&commit(2)), [401], "it was refused, and would be again");
    for number in 3..6 {
        let attempts = world.github.attempts_of(&commit(number));
        assert!(attempts.ends_with(&[202]) && attempts[..attempts.len() - 1].iter().all(|status| *status == 503));
    }
    assert_eq!(world.told("asked for a redelivery"), world.asked());
    assert!(!world.receiver.log().contains(TOKEN));
    let unchanged = world.github.seen().iter().filter(|seen| seen.answer == 304).count();
    assert!(unchanged > 0, "an unchanged listing is asked for by its ETag");
}

#[tokio::test(flavor = "multi_thread")]
async fn older_pages_are_read() {
    let world = World::new(&by_id()).await;
    world.github.lists_at_a_time(2);
    world.fail([1]).await;
    for number in 2..8 {
        assert_eq!(world.github.push(&commit(number), SECRET).await, 202);
    }
    world.stored([1]).await;
    assert_eq!(world.github.attempts_of(&commit(1)), [502, 202]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_pages_are_read_than_configured() {
    let mut world = World::new(&format!("{}pages_max = 2\n", by_id())).await;
    world.github.lists_at_a_time(2);
    world.receiver.kill();
    world.fail(1..6).await;
    world.receiver.resume().unwrap();
    world.github.delivers_to(&world.receiver.public_url("/hooks/github").await.unwrap());
    // Four of five are seen.
    world.stored(2..6).await;
    let seen = world.github.seen();
    assert!(seen.iter().any(|seen| seen.what.ends_with("&cursor=v1_2")), "{seen:?}");
    assert!(!seen.iter().any(|seen| seen.what.ends_with("&cursor=v1_4")), "{seen:?}");
    assert_eq!(world.github.attempts_of(&commit(1)), [502]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_has_trouble_harms_nobody_and_is_told_of_once() {
    let mut world = World::new(&format!("{}timeout_ms = 1000\n", by_id())).await;
    let moods = [
        (Mood::Redirects, "the API answers with a redirect (301), which is not followed: was the repository renamed?"),
        (Mood::Forbids, "the token may not do this (403): it needs read and write access to webhooks"),
        (Mood::Fails, "the API answers with status 502"),
        (Mood::Garbage, "the API's answer is not what is documented (line 1, column 1)"),
        (Mood::Endless, "the API's answer has more than 2097152 bytes"),
        (Mood::Hangs, "the API did not answer in time"),
    ];
    for (number, (mood, error)) in (1..).zip(moods) {
        let (works, fails) = (world.told(WORKS), world.told(FAILS));
        world.github.is(mood);
        assert_eq!(world.tells(FAILS, fails).await, error);
        // Longer than one sweep; nothing more is told, and everything else goes on.
        world.fail([number]).await;
        assert_eq!(world.github.push(&commit(100 + number), SECRET).await, 202);
        let readyz = reqwest::get(world.receiver.admin_url("/readyz").await.unwrap()).await.unwrap();
        assert_eq!(readyz.status(), 200);
        world.github.is(Mood::Good);
        world.tells(WORKS, works).await;
        world.stored([number]).await;
        assert_eq!(world.told(FAILS), fails + 1, "{mood:?}");
    }
    assert!(!world.github.seen().iter().any(|seen| seen.what.contains("elsewhere")), "a redirect was followed");
    assert!(!world.receiver.log().contains(TOKEN));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_limits_is_left_alone_for_as_long_as_it_says() {
    let world = World::new(&by_id()).await;
    world.tells(WORKS, 0).await;
    world.github.is(Mood::Limited(2));
    assert_eq!(world.tells(FAILS, 0).await, "the API limits how much is asked (wait for 2 s)");
    world.github.is(Mood::Good);
    world.tells(WORKS, 1).await;
    let seen = world.github.seen();
    for pair in seen.windows(2).filter(|pair| pair[0].answer == 429) {
        assert!(pair[1].at - pair[0].at >= Duration::from_millis(1990), "{pair:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_read_again() {
    let world = World::new(&by_id()).await;
    world.tells(WORKS, 0).await;
    std::fs::write(&world.token, "ghp_expired").unwrap();
    assert_eq!(world.tells(FAILS, 0).await, "the API does not take the token (401)");
    std::fs::remove_file(&world.token).unwrap();
    assert!(world.tells(FAILS, 1).await.starts_with("failed to read the token file: "));
    std::fs::write(&world.token, TOKEN).unwrap();
    world.tells(WORKS, 1).await;
    assert!(!world.receiver.log().contains("ghp_expired"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_this_machine_takes_no_way_over_a_proxy() {
    let mut world = World::new(&by_id()).await;
    world.tells(WORKS, 0).await;
    // Whoever connects waits for an answer in vain.
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    for name in ["http_proxy", "HTTP_PROXY", "ALL_PROXY"] {
        world.receiver.set_variable(name, &format!("http://{}", proxy.local_addr().unwrap()));
    }
    world.receiver.restart().unwrap();
    world.tells(WORKS, 1).await;
    assert!(proxy.accept().is_err(), "the proxy was asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_is_asked_for_than_configured() {
    let mut world = World::new(&format!("{}redeliveries_max = 2\nattempts_max = 2\n", by_id())).await;
    world.github.reaches_the_receiver(false);
    for number in 1..6 {
        assert_eq!(world.github.push(&commit(number), SECRET).await, 502);
    }
    world
        .metric(
            "towline_receiver_sweep_failed_deliveries{hook=\"/hooks/github\",scope=\"org/app\",state=\"exhausted\"} 5",
        )
        .await;
    for number in 1..6 {
        assert_eq!(world.github.attempts_of(&commit(number)), [502, 502]);
    }
    // In one sweep there is one look between two redeliveries; the next sweep begins with another.
    let seen = world.github.seen();
    let words: String = seen.iter().map(|seen| if seen.what.starts_with("POST") { 'P' } else { 'G' }).collect();
    assert!(words.contains("PGP") && !words.contains("PGPGP"), "{words}");
    assert_eq!(world.asked(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_ask_for_the_same_at_most_twice() {
    let world = World::new(&by_id()).await;
    let other = Daemon::receiver(&world.config).await.unwrap();
    world.fail(1..4).await;
    world.stored(1..4).await;
    for number in 1..4 {
        // The event is stored before GitHub has written down how its delivery went.
        wait_until("the delivery is asked for once or twice", PATIENCE, async || {
            let attempts = world.github.attempts_of(&commit(number));
            if matches!(attempts[..], [502, 202] | [502, 202, 202]) { Ok(()) } else { Err(format!("{attempts:?}")) }
        })
        .await
        .unwrap();
    }
    drop(other);
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_does_not_wait_for_an_api_that_hangs() {
    let mut world = World::new(&by_id()).await;
    world.tells(WORKS, 0).await;
    world.github.is(Mood::Hangs);
    // Whatever the moment: before, in, or after a request.
    world.fail([1]).await;
    let status = world.receiver.terminate(PATIENCE).await.unwrap();
    assert!(status.success(), "{status}: {}", world.receiver.log());
}
