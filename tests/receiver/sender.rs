//! Senders that do as Git hosts do: signed deliveries, each of a ref of its own (the stream keeps one event per ref), each
//! over a connection of its own. What came back is kept, to be compared with the stream.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use harness::wait_until;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinSet;
use towline_receiver::sign::{self, Push, SignedDelivery};
use towline_receiver::{Provider, Secret};

use crate::world::{PATH, PATIENCE, Receiver, SECRET};

/// What the deliveries' repository is called within its host.
pub const REPOSITORY: &str = "org/app";

/// The senders' address, apart from every attacker's.
pub const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));

/// Longer than a Git host waits, so that what is slow and what is lost can be told apart.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// One delivery and what came back.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub commit: String,
    /// Or why there was no answer.
    pub status: Result<u16, String>,
    pub retry_after: bool,
}

/// A commit of which nobody else tells.
pub fn new_commit() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    format!("{:040x}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A signed push of a new commit to a branch of its own.
pub fn delivery(commit: &str) -> SignedDelivery {
    let secret = Secret::parse(Provider::Github, SECRET.as_bytes()).unwrap();
    let reference = format!("refs/heads/{commit}");
    let push = Push { repository: REPOSITORY, reference: &reference, before: None, after: Some(commit) };
    sign::delivery(Provider::Github, &secret, &push, &format!("delivery-{commit}"), Timestamp::now())
}

/// A client that keeps no connections.
pub fn client() -> reqwest::Client {
    client_of(None)
}

/// The same, which believes this authority and no other.
fn client_of(authority: Option<&str>) -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(ANSWER_TIMEOUT);
    let certificates = authority.map(|pem| reqwest::Certificate::from_pem(pem.as_bytes()).unwrap());
    builder.local_address(ADDRESS).tls_certs_only(certificates).build().unwrap()
}

/// Posts a delivery of this commit.
pub async fn deliver(client: &reqwest::Client, url: &str, commit: &str) -> Outcome {
    post(client, url, commit, delivery(commit)).await
}

/// Posts a delivery as it is.
pub async fn post(client: &reqwest::Client, url: &str, commit: &str, delivery: SignedDelivery) -> Outcome {
    let SignedDelivery { headers, body } = delivery;
    let request = headers.into_iter().fold(client.post(url), |request, (name, value)| request.header(name, value));
    let answer = request.body(body).send().await;
    let retry_after = answer.as_ref().is_ok_and(|answer| answer.headers().contains_key("retry-after"));
    let status = answer.map(|answer| answer.status().as_u16()).map_err(|error| format!("{error:?}"));
    Outcome { commit: commit.to_owned(), status, retry_after }
}

/// The same push in a body of exactly this length.
pub fn padded(delivery: &SignedDelivery, bytes: u64) -> SignedDelivery {
    let secret = Secret::parse(Provider::Github, SECRET.as_bytes()).unwrap();
    let mut body = delivery.body.to_vec();
    body.resize(usize::try_from(bytes).unwrap(), b' ');
    sign::sign(Provider::Github, &secret, "push", body.into(), "padded", Timestamp::now())
}

/// Senders at work, each posting one delivery after the other until they are told to stop.
pub struct Senders {
    running: JoinSet<Vec<Outcome>>,
    stop: watch::Sender<bool>,
    sent: watch::Receiver<BTreeMap<u16, usize>>,
}

impl Senders {
    /// So many of them; each takes the next of the receivers with every delivery.
    pub fn start(count: usize, receivers: &[&Receiver]) -> Self {
        let urls: Vec<String> = receivers.iter().map(|receiver| receiver.url(PATH)).collect();
        let (stop, stopped) = watch::channel(false);
        let (tally, sent) = watch::channel(BTreeMap::new());
        let mut running = JoinSet::new();
        for number in 0..count {
            let (urls, stopped, tally) = (urls.clone(), stopped.clone(), tally.clone());
            let client = client_of(receivers[0].authority.as_deref());
            running.spawn(async move {
                let mut outcomes = Vec::new();
                while !*stopped.borrow() {
                    let url = &urls[(number + outcomes.len()) % urls.len()];
                    let outcome = deliver(&client, url, &new_commit()).await;
                    // 0: no answer.
                    let status = outcome.status.clone().unwrap_or(0);
                    tally.send_modify(|tally| *tally.entry(status).or_default() += 1);
                    outcomes.push(outcome);
                }
                outcomes
            });
        }
        Self { running, stop, sent }
    }

    /// One that behaves well; everybody else may not.
    pub fn well_behaved(receiver: &Receiver) -> Self {
        Self::start(1, &[receiver])
    }

    /// Waits until `more` further deliveries were answered with a status that fits.
    pub async fn see(&self, what: &str, more: usize, fits: impl Fn(u16) -> bool) {
        let count = |tally: &BTreeMap<u16, usize>| -> usize {
            tally.iter().filter(|(status, _)| fits(**status)).map(|(_, count)| count).sum()
        };
        let before = count(&self.sent.borrow());
        wait_until(what, PATIENCE, async || {
            let tally = self.sent.borrow().clone();
            if count(&tally) >= before + more { Ok(()) } else { Err(format!("answers by status: {tally:?}")) }
        })
        .await
        .unwrap();
    }

    /// Ends them; everything they sent.
    pub async fn stop(self) -> Vec<Outcome> {
        self.stop.send_replace(true);
        self.running.join_all().await.into_iter().flatten().collect()
    }

    /// Ends them; nothing but 202 has come back.
    pub async fn stop_served(self) -> Vec<Outcome> {
        let outcomes = self.stop().await;
        let others: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.status != Ok(202)).collect();
        assert!(others.is_empty(), "{} of {} were not served: {others:?}", others.len(), outcomes.len());
        outcomes
    }
}
