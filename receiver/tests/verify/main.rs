//! Who sent a delivery: published vectors, everything that must be refused, laws, and the incidents of other receivers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod hexadecimal;
mod incidents;
mod laws;
mod names;
mod plain;
mod standard_webhooks;
mod vectors;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use towline_receiver::sign::{self, SignedDelivery};
use towline_receiver::verify::{Refusal, Verified, verify};
use towline_receiver::{Provider, Secret};

const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);
const KEY: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const OTHER_KEY: &str = "whsec_b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcg==";

/// Each provider with a secret it takes; GitLab with both of its kinds.
const SENDERS: [(Provider, &str); 9] = [
    (Provider::Github, "secret"),
    (Provider::Gitlab, "secret"),
    (Provider::Gitlab, KEY),
    (Provider::Gitea, "secret"),
    (Provider::Forgejo, "secret"),
    (Provider::Bitbucket, "secret"),
    (Provider::BitbucketServer, "secret"),
    (Provider::AzureDevops, "user:secret"),
    (Provider::Generic, KEY),
];

/// The headers that prove something, of all providers.
const PROOFS: [&str; 7] = [
    "x-hub-signature-256",
    "x-hub-signature",
    "x-gitea-signature",
    "x-forgejo-signature",
    "x-gitlab-token",
    "webhook-signature",
    "authorization",
];

fn secrets(provider: Provider, texts: &[&str]) -> Vec<Secret> {
    texts.iter().map(|text| Secret::parse(provider, text.as_bytes()).unwrap()).collect()
}

fn headers(list: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in list {
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    map
}

fn headers_of(delivery: &SignedDelivery) -> HeaderMap {
    headers(&delivery.headers.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>())
}

/// `{}` as the provider would send it.
fn signed(provider: Provider, secret: &str) -> HeaderMap {
    let secret = Secret::parse(provider, secret.as_bytes()).unwrap();
    headers_of(&sign::sign(provider, &secret, "push", Bytes::from_static(b"{}"), "id-1", NOW))
}

/// The header that proves it, and its value.
fn proof(headers: &HeaderMap) -> (&'static str, String) {
    let name = PROOFS.into_iter().find(|name| headers.contains_key(*name)).unwrap();
    (name, headers[name].to_str().unwrap().to_owned())
}

fn with(headers: &HeaderMap, name: &'static str, value: &str) -> HeaderMap {
    let mut headers = headers.clone();
    headers.insert(name, HeaderValue::from_str(value).unwrap());
    headers
}

fn without(headers: &HeaderMap, name: &str) -> HeaderMap {
    let mut headers = headers.clone();
    headers.remove(name);
    headers
}

/// The header once more, with another value.
fn and(headers: &HeaderMap, name: &'static str, value: &str) -> HeaderMap {
    let mut headers = headers.clone();
    headers.append(name, HeaderValue::from_str(value).unwrap());
    headers
}

fn check(provider: Provider, texts: &[&str], headers: &HeaderMap) -> Result<Verified, Refusal> {
    verify(provider, &secrets(provider, texts), headers, Bytes::from_static(b"{}"), NOW)
}

/// What is said against `{}` with these headers; None if it is believed.
fn refusal(provider: Provider, texts: &[&str], headers: &HeaderMap) -> Option<Refusal> {
    check(provider, texts, headers).err()
}

fn is_malformed(refusal: Option<Refusal>, name: &str) -> bool {
    matches!(refusal, Some(Refusal::Malformed { header, .. }) if header == name)
}
