//! Above a hook's rate: everything that is answered 202 is covered by what the stream holds.

use std::time::Duration;

use futures::future::join_all;
use harness::config::{Hook, ReceiverConfig};
use harness::nats::Nats;
use harness::towline::Daemon;
use harness::wait_until;
use jiff::Timestamp;
use towline_proto::{CommitEvent, streams};
use towline_receiver::sign::{self, Push};
use towline_receiver::{Provider, Secret};

const SECRET: &str = "s3cret";
const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

struct World {
    nats: Nats,
    receiver: Daemon,
    url: String,
    client: reqwest::Client,
}

impl World {
    async fn new(limits: &str) -> Self {
        let nats = Nats::start_with_streams().await.unwrap();
        let hooks = vec![Hook::new("github", "git.test", SECRET)];
        let mut config = ReceiverConfig::new(nats.access("receiver"), hooks);
        config.extra_tables = format!("[limits]\n{limits}\n");
        let mut receiver = Daemon::receiver(&config).await.unwrap();
        let ready =
            |line: &serde_json::Value| line["fields"]["check"] == "stream" && line["fields"]["message"] == "ready";
        receiver.wait_for_log("it is ready", Duration::from_secs(60), ready).await.unwrap();
        let url = receiver.public_url("/hooks/github").await.unwrap();
        Self { nats, receiver, url, client: reqwest::Client::new() }
    }

    /// Pushes commit `n` to a ref; the status.
    async fn push(&self, reference: &str, n: u32) -> u16 {
        let secret = Secret::parse(Provider::Github, SECRET.as_bytes()).unwrap();
        let (reference, after) = (format!("refs/heads/{reference}"), format!("{n:040x}"));
        let push = Push { repository: "org/app", reference: &reference, before: None, after: Some(&after) };
        let delivery = sign::delivery(Provider::Github, &secret, &push, &n.to_string(), Timestamp::now());
        let mut request = self.client.post(&self.url).body(delivery.body).header("traceparent", TRACE);
        for (name, value) in delivery.headers {
            request = request.header(name, value);
        }
        request.send().await.unwrap().status().as_u16()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_each_ref_the_newest_is_stored_for_all_and_traces_go_along() {
    let mut world = World::new("deliveries_per_second = 4\ndeliveries_burst = 1\npublish_timeout_ms = 8000").await;
    let refs = ["a", "b", "c"];
    let pushes = (1..=60).map(|n| world.push(refs[n as usize % refs.len()], n));
    let statuses = join_all(pushes).await;
    assert!(statuses.iter().all(|status| *status == 202), "{statuses:?}");

    let client = world.nats.connect("admin").await.unwrap();
    let mut stream = async_nats::jetstream::new(client).get_stream(streams::COMMITS).await.unwrap();
    let state = stream.info().await.unwrap().state.clone();
    assert_eq!(state.subjects_count, 3);
    assert!(state.last_sequence < 30, "{} of 60 events were stored", state.last_sequence);
    for sequence in state.first_sequence..=state.last_sequence {
        let Ok(message) = stream.get_raw_message(sequence).await else { continue };
        let event = CommitEvent::decode(&message.payload).unwrap();
        assert_eq!(event.traceparent.as_deref(), Some(TRACE));
        assert_eq!(message.headers.get("traceparent").map(|value| value.as_str()), Some(TRACE));
    }
    let lines = world.receiver.log_lines();
    let outcome = |name: &str| lines.iter().filter(|line| line["fields"]["outcome"] == name).count();
    assert_eq!(
        (outcome("accepted") as u64, outcome("coalesced") as u64),
        (state.last_sequence, 60 - state.last_sequence)
    );
    let status = world.receiver.terminate(Duration::from_secs(60)).await.unwrap();
    assert!(status.success(), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_acknowledgement_of_an_attempt_that_was_given_up_counts() {
    let mut world = World::new("publish_timeout_ms = 60000\ndrain_timeout_ms = 90000").await;
    let metrics = world.receiver.admin_url("/metrics").await.unwrap();
    world.nats.freeze();
    let thawed = async {
        wait_until("the first attempt was given up", Duration::from_secs(60), async || {
            let text = reqwest::get(&metrics).await.unwrap().text().await.unwrap();
            let attempts = text.lines().find_map(|line| line.strip_prefix("towline_receiver_publish_attempts_total "));
            if attempts.is_some_and(|n| n != "0" && n != "1") { Ok(()) } else { Err(format!("{attempts:?}")) }
        })
        .await
        .unwrap();
        world.nats.thaw();
    };
    let (status, ()) = tokio::join!(world.push("a", 1), thawed);
    assert_eq!(status, 202);
    let client = world.nats.connect("admin").await.unwrap();
    let stream = async_nats::jetstream::new(client).get_stream(streams::COMMITS).await.unwrap();
    assert_eq!(stream.cached_info().state.messages, 1, "the repetition was not stored");
}
