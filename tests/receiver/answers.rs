//! What an answer says and what the log says of it: each answer's request id is in one line, which tells why; and nowhere,
//! at the most talkative level, is a secret or anything that proves its possession.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use harness::config::{Hook, ReceiverConfig};
use harness::nats::Nats;
use harness::towline::field;
use harness::wait_until;
use jiff::Timestamp;
use serde_json::Value;
use towline_receiver::sign::{self, Push, SignedDelivery};
use towline_receiver::{Provider, Secret};

use crate::sender::{REPOSITORY, client, new_commit};
use crate::world::{HOST, PATIENCE, Receiver};

/// Every provider, twice where it has two ways to prove: the hook's secret, and one that a stranger guessed.
const PROVIDERS: [(Provider, &str, &str, &str); 9] = [
    (Provider::Github, "/hooks/github", "hush-github-b1946ac9", "wrong-github-2cd6ee2c"),
    (Provider::Gitlab, "/hooks/gitlab", "hush-gitlab-591785b7", "wrong-gitlab-e3b0c442"),
    (
        Provider::Gitlab,
        "/hooks/gitlab-signed",
        "whsec_aHVzaC1naXRsYWItNTkxNzg1Yjctc2lnbmluZy1rZXktb2Yt",
        "whsec_d3JvbmctZ2l0bGFiLWUzYjBjNDQyLXNpZ25pbmcta2V5LS0t",
    ),
    (Provider::Gitea, "/hooks/gitea", "hush-gitea-794b7ed3", "wrong-gitea-98fc1c14"),
    (Provider::Forgejo, "/hooks/forgejo", "hush-forgejo-9afbf4c8", "wrong-forgejo-996fb924"),
    (Provider::Bitbucket, "/hooks/bitbucket", "hush-bitbucket-27ae41e4", "wrong-bitbucket-649b934c"),
    (Provider::BitbucketServer, "/hooks/bitbucket-server", "hush-server-a495991b", "wrong-server-7852b855"),
    (Provider::AzureDevops, "/hooks/azure-devops", "azure:hush-azure-6ca13d52", "azure:wrong-azure-ca70bd18"),
    (
        Provider::Generic,
        "/hooks/generic",
        "whsec_aHVzaC1nZW5lcmljLWJjN2E1MjYzLXNpZ25pbmcta2V5LS0t",
        "whsec_d3JvbmctZ2VuZXJpYy1jODIxNTFmZi1zaWduaW5nLWtleS0t",
    ),
];

/// What came back for one request.
struct Answered {
    what: String,
    status: u16,
    request: String,
    text: String,
}

struct World {
    _nats: Nats,
    receiver: Receiver,
    client: reqwest::Client,
    answered: Vec<Answered>,
    /// Everything that must be nowhere.
    hidden: BTreeMap<String, String>,
}

impl World {
    async fn new() -> Self {
        let nats = Nats::start_with_streams().await.unwrap();
        let hooks = PROVIDERS.map(|(provider, path, secret, _)| Hook {
            path: path.to_owned(),
            prefix: (provider == Provider::AzureDevops).then(|| "org".to_owned()),
            ..Hook::new(provider.name(), HOST, secret)
        });
        let mut config = ReceiverConfig::new(nats.access("receiver"), hooks.to_vec());
        config.log = Some("trace".to_owned());
        config.extra_tables = "[limits]\nbody_bytes_max = 100000\n".to_owned();
        let seed = std::fs::read_to_string(&config.nats.nkey).unwrap();
        let hidden = BTreeMap::from([("the NATS seed".to_owned(), seed.trim().to_owned())]);
        let receiver = Receiver::start(&config).await;
        Self { _nats: nats, receiver, client: client(), answered: Vec::new(), hidden }
    }

    /// Sends a request as it is and keeps the answer.
    async fn send(&mut self, what: String, request: reqwest::RequestBuilder) -> u16 {
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let headers = format!("{:?}", answer.headers());
        let request = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
        let text = headers + &answer.text().await.unwrap();
        self.answered.push(Answered { what, status, request, text });
        status
    }

    /// Posts a delivery, of which every proof has to stay hidden.
    async fn post(&mut self, what: &str, path: &str, delivery: SignedDelivery) -> u16 {
        let mut request = self.client.post(self.receiver.url(path)).body(delivery.body);
        for (name, value) in delivery.headers {
            if name.contains("signature") || sign::is_secret(name) {
                let bare = value.rsplit([' ', '=', ',']).find(|part| !part.is_empty()).unwrap().to_owned();
                self.hidden.insert(format!("{name} of {what} at {path}"), bare);
            }
            request = request.header(name, value);
        }
        self.send(format!("{what} at {path}"), request).await
    }

    /// The line about an answer: there is one with its id, and no other.
    fn line(&self, answered: &Answered) -> Result<Value, String> {
        let log = self.receiver.daemon.log();
        // The id is in the trace context too, which the NATS client shows at the level of this test.
        let is_ours = |line: &&str| line.contains(&answered.request) && !line.contains("\"target\":\"async_nats");
        let lines: Vec<&str> = log.lines().filter(is_ours).collect();
        match &lines[..] {
            [line] => serde_json::from_str(line).map_err(|error| error.to_string()),
            lines => Err(format!("{} lines about {}: {lines:?}", lines.len(), answered.what)),
        }
    }

    async fn every_answer_has_its_line(&self) {
        for answered in &self.answered {
            let line = wait_until("the answer is in the log", PATIENCE, async || self.line(answered)).await.unwrap();
            let Answered { what, status, .. } = answered;
            assert_eq!(line["fields"]["status"], *status, "{what}: {line}");
            let says = |name| field(&line, name).is_some_and(|text| !text.is_empty());
            assert!(says("outcome"), "{what}: {line}");
            assert!(*status < 300 || line["level"] == "WARN", "not in a log of the default level: {what}: {line}");
            assert!(
                *status == 202 || !matches!(status, 200 | 400 | 401 | 404) || says("reason"),
                "no reason: {what}: {line}"
            );
        }
    }

    /// Log, answers and metrics, searched for everything hidden.
    async fn nothing_hidden_is_shown(&mut self) {
        let seen = self.receiver.daemon.log();
        let (_, metrics) = self.receiver.ask("/metrics").await.unwrap();
        let answers: String = self.answered.iter().map(|answered| answered.text.as_str()).collect();
        for (_, _, secret, wrong) in PROVIDERS {
            for text in [secret, wrong] {
                let bare = text.rsplit([':', '_']).next().unwrap();
                self.hidden.insert(format!("the secret {text}"), bare.to_owned());
                self.hidden.insert(format!("the secret {text} in base64"), BASE64.encode(bare.as_bytes()));
                if let Ok(key) = BASE64.decode(bare.as_bytes()) {
                    self.hidden.insert(format!("the key of {text}"), String::from_utf8(key).unwrap());
                }
            }
        }
        for (what, text) in &self.hidden {
            assert!(text.len() > 10, "too short to be looked for: {what}: {text}");
            for (place, shown) in [("log", &seen), ("metrics", &metrics), ("answers", &answers)] {
                assert!(!shown.contains(text), "the {place} shows {what}");
            }
        }
    }
}

fn delivery(provider: Provider, secret: &str) -> SignedDelivery {
    let secret = Secret::parse(provider, secret.as_bytes()).unwrap();
    let commit = new_commit();
    let reference = format!("refs/heads/{commit}");
    let push = Push { repository: REPOSITORY, reference: &reference, before: None, after: Some(&commit) };
    sign::delivery(provider, &secret, &push, &format!("delivery-{commit}"), Timestamp::now())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_explained_and_nothing_secret_is_shown() {
    let mut world = World::new().await;
    for (provider, path, secret, wrong) in PROVIDERS {
        let unproven = || {
            let mut delivery = delivery(provider, secret);
            delivery.headers.retain(|(name, _)| !name.contains("signature") && !sign::is_secret(name));
            delivery
        };
        let unreadable = {
            let secret = Secret::parse(provider, secret.as_bytes()).unwrap();
            let event = match provider {
                Provider::Gitlab => "Push Hook",
                Provider::Bitbucket => "repo:push",
                Provider::BitbucketServer => "repo:refs_changed",
                _ => "push",
            };
            let body = "{\"not\": json".into();
            sign::sign(provider, &secret, event, body, &new_commit(), Timestamp::now())
        };
        assert_eq!(world.post("a push", path, delivery(provider, secret)).await, 202, "{path}");
        assert_eq!(world.post("a guessed secret", path, delivery(provider, wrong)).await, 401, "{path}");
        assert_eq!(world.post("no proof", path, unproven()).await, 401, "{path}");
        assert_eq!(world.post("an unreadable body", path, unreadable).await, 400, "{path}");
    }
    let (client, github) = (world.client.clone(), world.receiver.url("/hooks/github"));
    let json = |request: reqwest::RequestBuilder| request.header("content-type", "application/json");
    let others = [
        (404, "no such hook", json(client.post(world.receiver.url("/hooks/none"))).body("{}")),
        (405, "a GET", client.get(&github)),
        (415, "another type", client.post(&github).header("content-type", "text/plain").body("{}")),
        (415, "compressed", json(client.post(&github)).header("content-encoding", "gzip").body("{}")),
        (413, "too large", json(client.post(&github)).body(vec![b' '; 100_001])),
    ];
    for (status, what, request) in others {
        assert_eq!(world.send(what.to_owned(), request).await, status, "{what}");
    }
    world.every_answer_has_its_line().await;
    world.nothing_hidden_is_shown().await;
}
