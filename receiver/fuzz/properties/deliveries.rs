//! Deliveries: nobody is believed who does not know the secret, and whatever a believed one says, what is published is well
//! formed and about the hook's own host.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use sha2::Sha256;
use towline_proto::commit_event::{EVENT_BYTES_MAX, is_traceparent};
use towline_proto::names::RefName;
use towline_proto::subject::Subject;
use towline_proto::{CommitEvent, subject};
use towline_receiver::config::{self, Hook};
use towline_receiver::judge::{Delivery, Identified, Judgement};
use towline_receiver::trace::TraceContext;
use towline_receiver::verify;
use towline_receiver::{Provider, Secret, sign};

/// The clock stands still, so that a seed stays good.
pub const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);
const HOST: &str = "git.example";
const KEY: &[u8] = b"correct horse battery staple";

/// The events that a provider's reader tells apart, and one that it does not know.
fn events(provider: Provider) -> &'static [&'static str] {
    match provider {
        Provider::Github => &["push", "create", "delete", "ping", "other"],
        Provider::Gitea | Provider::Forgejo => &["push", "create", "delete", "other"],
        Provider::Gitlab => &["Push Hook", "Tag Push Hook", "System Hook", "other"],
        Provider::Bitbucket => &["repo:push", "other"],
        Provider::BitbucketServer => &["repo:refs_changed", "diagnostics:ping", "other"],
        // It is in the body.
        Provider::AzureDevops | Provider::Generic => &[""],
    }
}

/// Kinds of secrets differ; what they are made of need not.
fn secret_text(provider: Provider) -> Vec<u8> {
    match provider {
        Provider::Generic => format!("whsec_{}", BASE64.encode(KEY)).into_bytes(),
        Provider::AzureDevops => [b"user:", KEY].concat(),
        _ => KEY.to_vec(),
    }
}

/// One of each kind that the provider takes.
pub fn secrets(provider: Provider) -> Vec<Secret> {
    let key = format!("whsec_{}", BASE64.encode(KEY)).into_bytes();
    let texts = if provider == Provider::Gitlab { vec![KEY.to_vec(), key] } else { vec![secret_text(provider)] };
    texts.iter().map(|text| Secret::parse(provider, text).unwrap()).collect()
}

/// `name: value` lines, an empty line, the body. What is no header is passed over.
fn split(data: &[u8]) -> (HeaderMap, Bytes) {
    let mut headers = HeaderMap::new();
    let mut rest = data;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        if line.is_empty() {
            break;
        }
        let Some(colon) = line.windows(2).position(|pair| pair == b": ") else { continue };
        let (name, value) = (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(&line[colon + 2..]));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    (headers, Bytes::copy_from_slice(rest))
}

/// Any headers before any body. Who is believed has proven itself, by a reckoning of our own; and the same body, signed, is
/// believed, and not when it was changed. Returns whether it was believed as it came.
pub fn verify(provider: Provider, data: &[u8]) -> bool {
    let (headers, body) = split(data);
    let secrets = secrets(provider);
    let believed = verify::verify(provider, &secrets, &headers, body.clone(), NOW).is_ok();
    assert!(!believed || is_proven(provider, &headers, &body), "believed without a proof");
    assert!(verify::verify(provider, &[], &headers, body.clone(), NOW).is_err(), "believed without a secret");
    for secret in &secrets {
        let signed = sign::sign(provider, secret, "push", body.clone(), "id", NOW);
        let headers = header_map(&signed);
        assert!(verify::verify(provider, &secrets, &headers, signed.body.clone(), NOW).is_ok(), "not believed");
        // GitLab's token and Azure's password say nothing of the body.
        if signed.headers.iter().any(|(name, _)| name.contains("signature")) {
            let mut changed = signed.body.to_vec();
            changed.push(b' ');
            assert!(
                verify::verify(provider, &secrets, &headers, changed.into(), NOW).is_err(),
                "believed, and changed"
            );
        }
    }
    believed
}

fn hmac(parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(KEY).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

/// The schemes once more, as their documentation has them, without a thought for time or form.
fn is_proven(provider: Provider, headers: &HeaderMap, body: &[u8]) -> bool {
    let one = |name: &str| {
        let values: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
        if let [value] = values[..] { Some(value.to_vec()) } else { None }
    };
    let hex = HEXLOWER.encode(&hmac(&[body]));
    let prefixed = format!("sha256={hex}").into_bytes();
    let standard = || {
        let (Some(id), Some(at), Some(list)) = (one("webhook-id"), one("webhook-timestamp"), one("webhook-signature"))
        else {
            return false;
        };
        let wanted = format!("v1,{}", BASE64.encode(&hmac(&[&id, b".", &at, b".", body])));
        let seconds: i64 = std::str::from_utf8(&at).unwrap().parse().unwrap();
        let near = (seconds - NOW.as_second()).abs() <= verify::TIMESTAMP_WINDOW.as_secs();
        near && list.split(|byte| *byte == b' ').any(|one| one == wanted.as_bytes())
    };
    match provider {
        Provider::Github => one("x-hub-signature-256") == Some(prefixed),
        Provider::Bitbucket | Provider::BitbucketServer => one("x-hub-signature") == Some(prefixed),
        Provider::Gitea => one("x-gitea-signature") == Some(hex.into_bytes()),
        Provider::Forgejo => one("x-forgejo-signature") == Some(hex.into_bytes()),
        Provider::Generic => standard(),
        Provider::Gitlab if headers.contains_key("webhook-signature") => standard(),
        Provider::Gitlab => one("x-gitlab-token").as_deref() == Some(KEY),
        Provider::AzureDevops => {
            let value = one("authorization").unwrap();
            let encoded = BASE64.encode(&secret_text(provider)).into_bytes();
            value[..6].eq_ignore_ascii_case(b"basic ") && value[6..] == encoded
        }
    }
}

fn header_map(signed: &sign::SignedDelivery) -> HeaderMap {
    let pairs = signed.headers.iter();
    pairs.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())).collect()
}

/// A hook of each provider. Only a file makes one.
fn hook(provider: Provider) -> Arc<Hook> {
    static HOOKS: OnceLock<Vec<Arc<Hook>>> = OnceLock::new();
    let hooks = HOOKS.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("towline-properties-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut text = "listen = \"127.0.0.1:0\"\n[nats]\nurl = \"nats://127.0.0.1:1\"\n".to_owned();
        for provider in Provider::ALL {
            let file = folder.join(provider.name());
            std::fs::write(&file, secret_text(provider)).unwrap();
            text += &format!(
                "[[hooks]]\npath = \"/{provider}\"\nprovider = \"{provider}\"\nhost = \"{HOST}\"\nsecrets = [{file:?}]\n"
            );
            if provider == Provider::AzureDevops {
                text += "prefix = \"organisation\"\n";
            }
        }
        std::fs::write(folder.join("receiver.toml"), text).unwrap();
        let config = config::load(Some(&folder.join("receiver.toml")));
        std::fs::remove_dir_all(&folder).unwrap();
        config.unwrap_or_else(|error| panic!("{error}")).hooks().to_vec()
    });
    hooks.iter().find(|hook| hook.provider() == provider).unwrap().clone()
}

/// Any body, signed, as each of the provider's events.
pub fn payload(provider: Provider, data: &[u8]) {
    let secret = Secret::parse(provider, &secret_text(provider)).unwrap();
    for event in events(provider) {
        let signed = sign::sign(provider, &secret, event, Bytes::copy_from_slice(data), "id", NOW);
        let headers = header_map(&signed);
        judged(provider, headers, signed.body);
    }
}

/// Any trace context beside a push.
pub fn traceparent(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(data) else { return };
    let provider = Provider::Github;
    let secret = Secret::parse(provider, &secret_text(provider)).unwrap();
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let push = sign::Push { repository: "org/app", reference: "refs/heads/main", before: None, after: Some(commit) };
    let signed = sign::delivery(provider, &secret, &push, "id", NOW);
    let mut headers = header_map(&signed);
    headers.insert("traceparent", value.clone());
    headers.insert("tracestate", value);
    if let Some(trace) = TraceContext::from_headers(&headers) {
        assert!(is_traceparent(trace.traceparent()) && trace.trace_id().len() == 32, "{trace:?}");
        assert!(trace.tracestate().is_none_or(|state| state.len() <= 512), "{trace:?}");
    }
    let events = judged(provider, headers, signed.body);
    assert_eq!(events.len(), 1, "a trace context costs nobody an event");
}

/// What follows from a delivery whose signature is good.
fn judged(provider: Provider, headers: HeaderMap, body: Bytes) -> Vec<Identified> {
    let delivery = Delivery { hook: hook(provider), headers, received_at: NOW };
    let judged = delivery.judge(body);
    for names in judged.names.iter() {
        assert!(names.event.bytes().chain(names.delivery.bytes()).all(|byte| byte.is_ascii_graphic()), "{names:?}");
    }
    match judged.judgement {
        Judgement::Publish(events) => {
            events.iter().for_each(publishable);
            events
        }
        Judgement::Refuse(refusal) => panic!("a good signature was refused: {refusal}"),
        Judgement::Answer { answer, reason } => {
            assert!(answer.status().as_u16() == 200 || answer.status().as_u16() == 400, "{answer:?}");
            assert!(!reason.is_empty() && reason.len() <= 2048, "{} bytes of reason", reason.len());
            Vec::new()
        }
    }
}

fn publishable(identified: &Identified) {
    let Identified { event, id } = identified;
    let home = if event.provider == "azure-devops" { format!("{HOST}/organisation/") } else { format!("{HOST}/") };
    assert!(event.repository.as_str().starts_with(&home), "{} is elsewhere", event.repository.as_str());
    assert!(id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    let subject = subject::commit(&event.repository, &event.reference);
    assert!(
        subject.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'.'),
        "{subject}"
    );
    let parsed = Subject::Commit { repository: event.repository.token(), reference: event.reference.clone() };
    assert_eq!(Subject::parse(&subject).ok(), Some(parsed));
    assert_eq!(RefName::parse(event.reference.as_str()).ok().as_ref(), Some(&event.reference));
    let encoded = event.encode();
    assert!(encoded.len() <= EVENT_BYTES_MAX, "{} bytes of event", encoded.len());
    let decoded = CommitEvent::decode(&encoded).unwrap();
    assert_eq!((&decoded.repository, &decoded.reference), (&event.repository, &event.reference));
    assert_eq!((&decoded.before, &decoded.after), (&event.before, &event.after));
    assert_eq!(decoded.traceparent, None, "what is in the headers is none of the judge's business");
}
