//! Deliveries as each provider signs them, taken by a hook of each provider. A payload comes to be read only so.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use serde_json::Value;
use towline_receiver::answer::Answer;
use towline_receiver::config::{self, Hook};
use towline_receiver::judge::{Delivery, Judged, Judgement};
use towline_receiver::payload::{self, Reading, Unreadable};
use towline_receiver::sign::{self, SignedDelivery};
use towline_receiver::verify::verify;
use towline_receiver::{Provider, Secret};

pub(crate) const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);
pub(crate) const ZEROS: &str = "0000000000000000000000000000000000000000";
pub(crate) const ZEROS_64: &str = "0000000000000000000000000000000000000000000000000000000000000000";
pub(crate) const ONE: &str = "1111111111111111111111111111111111111111";
pub(crate) const TWO: &str = "2222222222222222222222222222222222222222";

/// A key of Standard Webhooks, which the generic provider needs; text like any other to those that take text.
pub(crate) const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// Host and prefix of each provider's hook.
pub(crate) fn place(provider: Provider) -> (&'static str, Option<&'static str>) {
    match provider {
        Provider::Github => ("github.com", None),
        Provider::Gitlab => ("gitlab.example", Some("tools/gitlab")),
        Provider::Gitea => ("gitea.example", None),
        Provider::Forgejo => ("codeberg.org", None),
        Provider::Bitbucket => ("bitbucket.org", None),
        Provider::BitbucketServer => ("bitbucket.example", Some("bitbucket")),
        Provider::AzureDevops => ("dev.azure.com", Some("fabrikam")),
        Provider::Generic => ("git.example", None),
    }
}

/// The event that tells of a push to a branch.
pub(crate) fn push_event(provider: Provider) -> &'static str {
    match provider {
        Provider::Github | Provider::Gitea | Provider::Forgejo | Provider::Generic => "push",
        Provider::Gitlab => "Push Hook",
        Provider::Bitbucket => "repo:push",
        Provider::BitbucketServer => "repo:refs_changed",
        Provider::AzureDevops => "git.push",
    }
}

/// A recorded shape.
pub(crate) fn recorded(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/payloads").join(name).with_extension("json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

pub(crate) fn signed(provider: Provider, event: &str, body: impl Into<Bytes>) -> SignedDelivery {
    let secret = Secret::parse(provider, SECRET.as_bytes()).unwrap();
    sign::sign(provider, &secret, event, body.into(), "an-id", NOW)
}

pub(crate) fn headers(delivery: &SignedDelivery) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in &delivery.headers {
        headers.insert(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

/// What the provider's reader makes of a body.
pub(crate) fn read(provider: Provider, event: &str, body: impl Into<Bytes>) -> Result<Reading, Unreadable> {
    let delivery = signed(provider, event, body);
    let secret = Secret::parse(provider, SECRET.as_bytes()).unwrap();
    payload::read(&verify(provider, &[secret], &headers(&delivery), delivery.body, NOW).unwrap()).reading
}

/// What the provider's hook makes of a body.
pub(crate) fn judge(provider: Provider, event: &str, body: impl Into<Bytes>) -> Judged {
    let delivery = signed(provider, event, body);
    judge_with(provider, headers(&delivery), delivery.body)
}

pub(crate) fn judge_with(provider: Provider, headers: HeaderMap, body: Bytes) -> Judged {
    let hook = HOOKS.iter().find(|hook| hook.provider() == provider).unwrap();
    Delivery { hook: Arc::clone(hook), headers, received_at: NOW }.judge(body)
}

/// In words: an event a line, or the answer.
pub(crate) fn told(judged: &Judged) -> String {
    match &judged.judgement {
        Judgement::Publish(events) => {
            let line = |identified: &towline_receiver::judge::Identified| {
                let event = &identified.event;
                let id = |id: &Option<towline_proto::CommitId>| id.as_ref().map_or("none", |id| id.short()).to_owned();
                let (before, after) = (id(&event.before), id(&event.after));
                format!("{} {} {before} -> {after} by {}\n", event.repository, event.reference, event.delivery)
            };
            events.iter().map(line).collect()
        }
        Judgement::Refuse(refusal) => format!("refused: {refusal}"),
        Judgement::Answer { answer, reason } => format!("{} {}: {reason}", answer.status(), answer.outcome()),
    }
}

pub(crate) fn is_unreadable(judged: &Judged) -> bool {
    matches!(&judged.judgement, Judgement::Answer { answer: Answer::Unreadable { .. }, .. })
}

static HOOKS: LazyLock<Vec<Arc<Hook>>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, SECRET).unwrap();
    let mut text = "listen = \"127.0.0.1:0\"\n[nats]\nurl = \"nats://127.0.0.1:1\"\n".to_owned();
    for provider in Provider::ALL {
        let (host, prefix) = place(provider);
        text += &format!("[[hooks]]\npath = \"/hooks/{provider}\"\nprovider = \"{provider}\"\nhost = \"{host}\"\n");
        text += &format!("secrets = [{:?}]\n", secret.display().to_string());
        text += &prefix.map(|prefix| format!("prefix = \"{prefix}\"\n")).unwrap_or_default();
    }
    let path = folder.path().join("receiver.toml");
    std::fs::write(&path, text).unwrap();
    config::load(Some(&path)).unwrap().hooks().to_vec()
});
