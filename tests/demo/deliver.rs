//! One signed delivery and its way to the applied revision, as the daemons' own logs, NATS and the API server tell it.
//! Knows the lines of the trail; must not know what a commit holds.

use harness::Failure;
use harness::failure::Doing as _;
use harness::towline::{Daemon, field};
use jiff::Timestamp;
use serde_json::Value;
use towline_receiver::sign::{self, Push};
use towline_receiver::{Provider, Secret};

use crate::parts::{Parts, REPOSITORY, SECRET};
use crate::screen::Timeline;
use crate::watch::PATIENCE;

/// The stream commit events go to.
const STREAM: &str = "COMMITS";

/// A delivery that the receiver has answered with 202.
pub(crate) struct Delivery {
    id: String,
    commit: String,
    /// When the request was begun.
    pub(crate) began: Timestamp,
    answered: Timestamp,
}

/// Sends what GitHub would send for a push of `commit` to main.
pub(crate) async fn send(parts: &Parts, commit: &str) -> Result<Delivery, Failure> {
    let doing = || format!("deliver {commit} to {}", parts.hook_url);
    let secret = Secret::parse(Provider::Github, SECRET.as_bytes()).doing(doing)?;
    let push = Push { repository: REPOSITORY, reference: "refs/heads/main", before: None, after: Some(commit) };
    let id = format!("demo-{}", commit.get(..8).unwrap_or(commit));
    let signed = sign::delivery(Provider::Github, &secret, &push, &id, Timestamp::now());
    let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().doing(doing)?;
    let mut request = client.post(&parts.hook_url).body(signed.body);
    for (name, value) in signed.headers {
        request = request.header(name, value);
    }
    let began = Timestamp::now();
    let answer = request.send().await.doing(doing)?;
    let answered = Timestamp::now();
    match answer.status().as_u16() {
        202 => Ok(Delivery { id, commit: commit.to_owned(), began, answered }),
        status => Err(Failure::new(doing(), format!("the receiver answered {status}, not 202"))),
    }
}

impl Delivery {
    /// Adds every stage between the request and the agent's passes to a timeline.
    pub(crate) async fn trace(&self, parts: &mut Parts, timeline: &mut Timeline) -> Result<(), Failure> {
        let Self { id, commit, .. } = self;
        timeline.add(self.began, "demo", format!("a delivery signed as GitHub signs it is sent, id {id}"));
        timeline.add(self.answered, "receiver", "delivery accepted: 202");
        let ours = |line: &Value| field(line, "delivery") == Some(id);
        let line = line(&mut parts.receiver, "the delivery", |line| says(line, "delivery") && ours(line)).await?;
        let sequence = line.pointer("/fields/sequence").and_then(Value::as_u64);
        let sequence = sequence.ok_or_else(|| {
            Failure::new("find the published event", format!("the receiver names no sequence: {line}"))
        })?;
        let stored = stored_at(parts, sequence).await?;
        timeline.add(stored, "NATS", format!("event published: message {sequence} of the stream {STREAM}"));
        let agent = &mut parts.agent;
        let woken =
            self::line(agent, "that it was woken", |line| says(line, "woken by an event") && ours(line)).await?;
        timeline.add(time(&woken)?, "agent", "woke");
        let fetched = |line: &Value| says(line, "fetched") && field(line, "commit") == Some(commit);
        let fetched = self::line(agent, "the fetch", fetched).await?;
        let bytes = fetched.pointer("/fields/received_bytes").and_then(Value::as_u64).unwrap_or_default();
        timeline.add(time(&fetched)?, "agent", format!("fetched {} over HTTP, {bytes} bytes", short(commit)));
        let published = |line: &Value| says(line, "revision published") && ours(line);
        let published = self::line(agent, "the new revision", published).await?;
        let order = published.pointer("/fields/sequence").and_then(Value::as_u64).unwrap_or_default();
        timeline.add(time(&published)?, "agent", format!("recorded as the source's newest revision, sequence {order}"));
        Ok(())
    }
}

/// A commit as people write it.
pub(crate) fn short(commit: &str) -> &str {
    commit.get(..8).unwrap_or(commit)
}

/// Whether a log line is this message.
pub(crate) fn says(line: &Value, message: &str) -> bool {
    field(line, "message") == Some(message)
}

/// The first line of a daemon's log that fits.
pub(crate) async fn line(daemon: &mut Daemon, what: &str, fits: impl Fn(&Value) -> bool) -> Result<Value, Failure> {
    daemon.wait_for_log(what, PATIENCE, fits).await
}

/// When a log line was written.
pub(crate) fn time(line: &Value) -> Result<Timestamp, Failure> {
    let text = line.get("timestamp").and_then(Value::as_str).unwrap_or_default();
    text.parse().doing(|| format!("read the time of the log line {line}"))
}

/// When JetStream stored a message, by the server's own clock.
async fn stored_at(parts: &Parts, sequence: u64) -> Result<Timestamp, Failure> {
    let doing = || format!("read message {sequence} of the stream {STREAM}");
    let jetstream = async_nats::jetstream::new(parts.nats.connect("admin").await?);
    let stream = jetstream.get_stream_no_info(STREAM).await.doing(doing)?;
    let message = stream.get_raw_message(sequence).await.doing(doing)?;
    Timestamp::from_nanosecond(message.time.unix_timestamp_nanos()).doing(doing)
}
