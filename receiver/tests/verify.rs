//! Signatures: published vectors, what must be refused, and the law that what `sign` makes, `verify` accepts.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use rstest::rstest;
use towline_receiver::sign::{self, SignedDelivery};
use towline_receiver::verify::{Refusal, TIMESTAMP_WINDOW, Verified, verify};
use towline_receiver::{Provider, Secret};

const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);
const KEY: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

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

fn check(provider: Provider, texts: &[&str], list: &[(&str, &str)], body: &[u8]) -> Result<Verified, Refusal> {
    verify(provider, &secrets(provider, texts), &headers(list), Bytes::copy_from_slice(body), NOW)
}

/// What is said against a delivery; None if it is believed.
fn refusal(provider: Provider, texts: &[&str], list: &[(&str, &str)], body: &[u8]) -> Option<Refusal> {
    check(provider, texts, list, body).err()
}

mod published_vectors {
    use super::*;

    /// RFC 4231, test case 2, and case 6 with its key longer than a block.
    #[test]
    fn rfc_4231() {
        let case_2 = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let body = b"what do ya want for nothing?";
        assert_eq!(refusal(Provider::Gitea, &["Jefe"], &[("x-gitea-signature", case_2)], body), None);

        let key = Secret::parse(Provider::Gitea, &[0xaa; 131]).unwrap();
        let case_6 = "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54";
        let body = Bytes::from_static(b"Test Using Larger Than Block-Size Key - Hash Key First");
        let case_6 = headers(&[("x-gitea-signature", case_6)]);
        assert!(verify(Provider::Gitea, &[key], &case_6, body, NOW).is_ok());
    }

    #[test]
    fn githubs_documented_example() {
        let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let list = [("x-hub-signature-256", signature)];
        assert_eq!(refusal(Provider::Github, &["It's a Secret to Everybody"], &list, b"Hello, World!"), None);
    }

    #[test]
    fn standard_webhooks_example() {
        let list = [
            ("webhook-id", "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk"),
            ("webhook-timestamp", "1649367553"),
            ("webhook-signature", "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="),
        ];
        let body = Bytes::from_static(br#"{"email":"test@example.com","username":"test_user"}"#);
        let then = Timestamp::from_second(1_649_367_553).unwrap();
        let secrets = secrets(Provider::Gitlab, &[KEY]);
        assert!(verify(Provider::Gitlab, &secrets, &headers(&list), body.clone(), then).is_ok());
        let late = verify(Provider::Gitlab, &secrets, &headers(&list), body, NOW).err();
        assert!(matches!(late, Some(Refusal::OutsideWindow { .. })));
    }
}

/// Well-formed, and the HMAC of nothing here.
const WRONG: &str = "27a20c08c3edf6bed88fcbc08bb6f33dd6f9bc1dac8cc8b2a9b4b6ff3d7b0f1d";

/// The HMAC of `{}` with the key `k`.
fn good_hex() -> String {
    let secret = Secret::parse(Provider::Gitea, b"k").unwrap();
    let signed = sign::sign(Provider::Gitea, &secret, "push", Bytes::from_static(b"{}"), "id", NOW);
    signed.headers.into_iter().find(|(name, _)| *name == "x-gitea-signature").unwrap().1
}

#[test]
fn hex_signatures_have_one_form() {
    let good = good_hex();
    let upper = good.to_uppercase();
    let bad = [
        String::new(),
        good[..63].to_owned(),
        format!("{good}0"),
        upper,
        format!("{good} "),
        format!(" {good}"),
        format!("sha1={}", &good[..40]),
        format!("sha256={good},sha256={good}"),
    ];
    for text in &bad {
        let text = text.as_str();
        let github = format!("sha256={text}");
        for (provider, name, value) in [
            (Provider::Github, "x-hub-signature-256", text),
            (Provider::Github, "x-hub-signature-256", github.as_str()),
            (Provider::Gitea, "x-gitea-signature", text),
        ] {
            let said = refusal(provider, &["k"], &[(name, value)], b"{}");
            assert_eq!(said, Some(Refusal::Malformed(name)), "{provider}: {value:?}");
        }
    }
    let bare = refusal(Provider::Github, &["k"], &[("x-hub-signature-256", &good)], b"{}");
    assert_eq!(bare, Some(Refusal::Malformed("x-hub-signature-256")));
    let prefixed = refusal(Provider::Gitea, &["k"], &[("x-gitea-signature", &format!("sha256={good}"))], b"{}");
    assert_eq!(prefixed, Some(Refusal::Malformed("x-gitea-signature")));
}

#[test]
fn one_header_and_the_right_one() {
    let good = good_hex();
    let prefixed = format!("sha256={good}");
    let name = "x-hub-signature-256";
    let twice = [(name, prefixed.as_str()), (name, prefixed.as_str())];
    assert_eq!(refusal(Provider::Github, &["k"], &twice, b"{}"), Some(Refusal::Repeated(name)));
    assert_eq!(refusal(Provider::Github, &["k"], &[], b"{}"), Some(Refusal::Missing(name)));
    // Signature checked only if present; a SHA-1 signature alone; another provider's header.
    let old = refusal(Provider::Github, &["k"], &[("x-hub-signature", "sha1=0")], b"{}");
    assert_eq!(old, Some(Refusal::OnlySha1));
    for other in ["x-gitea-signature", "x-gitlab-token"] {
        let said = refusal(Provider::Github, &["k"], &[(other, prefixed.as_str())], b"{}");
        assert_eq!(said, Some(Refusal::Missing(name)));
    }
    // Gitea sends GitHub's header too: a good one there does not rescue a bad one here.
    let rescued = [("x-gitea-signature", WRONG), (name, prefixed.as_str())];
    assert_eq!(refusal(Provider::Gitea, &["k"], &rescued, b"{}"), Some(Refusal::Wrong("x-gitea-signature")));
}

#[test]
fn every_secret_is_good_while_one_is_replaced() {
    let good = good_hex();
    for texts in [&["k", "new"][..], &["old", "k"], &["a", "b", "k"]] {
        assert_eq!(refusal(Provider::Gitea, texts, &[("x-gitea-signature", &good)], b"{}"), None);
    }
    let gone = refusal(Provider::Gitea, &["a", "b"], &[("x-gitea-signature", &good)], b"{}");
    assert_eq!(gone, Some(Refusal::Wrong("x-gitea-signature")));
    // RUSTSEC-2024-0010: comparing only as many bytes as the shorter side has would accept an empty one.
    assert!(refusal(Provider::Gitlab, &["token"], &[("x-gitlab-token", "")], b"{}").is_some());
    assert!(refusal(Provider::Gitlab, &["token"], &[("x-gitlab-token", "tok")], b"{}").is_some());
    assert!(refusal(Provider::Gitlab, &["token"], &[("x-gitlab-token", "tokens")], b"{}").is_some());
    assert!(refusal(Provider::Gitlab, &["token"], &[("x-gitlab-token", "token")], b"{}").is_none());
}

mod gitlab_signatures {
    use super::*;

    fn signed(key: &str, sent: Timestamp) -> HeaderMap {
        let secret = Secret::parse(Provider::Gitlab, key.as_bytes()).unwrap();
        headers_of(&sign::sign(Provider::Gitlab, &secret, "Push Hook", Bytes::from_static(b"{}"), "id-1", sent))
    }

    fn judged(texts: &[&str], headers: &HeaderMap) -> Option<Refusal> {
        verify(Provider::Gitlab, &secrets(Provider::Gitlab, texts), headers, Bytes::from_static(b"{}"), NOW).err()
    }

    fn set(headers: &HeaderMap, name: &'static str, value: &str) -> HeaderMap {
        let mut headers = headers.clone();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        headers
    }

    #[rstest]
    #[case(SignedDuration::ZERO, true)]
    #[case(TIMESTAMP_WINDOW, true)]
    #[case(-TIMESTAMP_WINDOW, true)]
    #[case(TIMESTAMP_WINDOW + SignedDuration::from_secs(1), false)]
    #[case(-TIMESTAMP_WINDOW - SignedDuration::from_secs(1), false)]
    fn the_window_is_five_minutes_both_ways(#[case] offset: SignedDuration, #[case] believed: bool) {
        assert_eq!(judged(&[KEY], &signed(KEY, NOW + offset)).is_none(), believed);
    }

    #[test]
    fn several_signatures_one_is_enough() {
        let headers = signed(KEY, NOW);
        let good = headers["webhook-signature"].to_str().unwrap().to_owned();
        let wrong = format!("v1,{}", data_encoding::BASE64.encode(&[7; 32]));
        for list in [format!("{wrong} {good}"), format!("v2,abc {good} {wrong}"), format!("{good} {good}")] {
            assert_eq!(judged(&[KEY], &set(&headers, "webhook-signature", &list)), None, "{list}");
        }
        let said = judged(&[KEY], &set(&headers, "webhook-signature", &wrong));
        assert_eq!(said, Some(Refusal::Wrong("webhook-signature")));
    }

    #[test]
    fn malformed_ones_are_none() {
        let headers = signed(KEY, NOW);
        let good = headers["webhook-signature"].to_str().unwrap().to_owned();
        let bare = good.trim_start_matches("v1,").to_owned();
        for bad in
            ["", "v1", "v1,", &good[..good.len() - 2], &bare, &good.replace("v1,", "v2,"), &good.replace("v1,", "V1,")]
        {
            let said = judged(&[KEY], &set(&headers, "webhook-signature", bad));
            assert_eq!(said, Some(Refusal::Malformed("webhook-signature")), "{bad:?}");
        }
        let mut twice = headers.clone();
        twice.append("webhook-signature", HeaderValue::from_str(&good).unwrap());
        assert_eq!(judged(&[KEY], &twice), Some(Refusal::Repeated("webhook-signature")));
        for name in ["webhook-id", "webhook-timestamp"] {
            let mut without = headers.clone();
            without.remove(name);
            assert_eq!(judged(&[KEY], &without), Some(Refusal::Missing(name)));
            assert_eq!(judged(&[KEY], &set(&headers, name, "5")), Some(Refusal::Wrong("webhook-signature")));
        }
    }

    #[test]
    fn a_token_beside_a_signature_changes_nothing() {
        let both = [KEY, "token"];
        let bad_signature = set(&signed("whsec_b3RoZXI=", NOW), "x-gitlab-token", "token");
        assert_eq!(judged(&both, &bad_signature), Some(Refusal::Wrong("webhook-signature")));
        let bad_token = set(&signed(KEY, NOW), "x-gitlab-token", "wrong");
        assert_eq!(judged(&both, &bad_token), None);
        // A sender that does not sign yet, while the hook has both.
        assert_eq!(judged(&both, &headers(&[("x-gitlab-token", "token")])), None);
        // The text of the key is not a token.
        let said = judged(&[KEY], &headers(&[("x-gitlab-token", KEY)]));
        assert_eq!(said, Some(Refusal::Wrong("x-gitlab-token")));
        // A hook that knows tokens only does not mind a signature it cannot judge.
        assert_eq!(judged(&["token"], &set(&signed(KEY, NOW), "x-gitlab-token", "token")), None);
    }

    #[test]
    fn the_signed_id_and_time_make_another_message() {
        let secrets = secrets(Provider::Gitlab, &[KEY]);
        let id = |sent| {
            let headers = signed(KEY, sent);
            verify(Provider::Gitlab, &secrets, &headers, Bytes::from_static(b"{}"), NOW).unwrap().message_id("s")
        };
        assert_eq!(id(NOW), id(NOW));
        assert_ne!(id(NOW), id(NOW + SignedDuration::from_secs(1)));
    }
}

#[test]
fn the_unsigned_delivery_id_does_not_make_another_message() {
    let good = good_hex();
    let id = |delivery: &str, subject: &str| {
        let list = [("x-gitea-signature", good.as_str()), ("x-gitea-delivery", delivery)];
        check(Provider::Gitea, &["k"], &list, b"{}").unwrap().message_id(subject)
    };
    assert_eq!(id("1", "a"), id("2", "a"));
    assert_ne!(id("1", "a"), id("1", "b"));
    assert_eq!(id("1", "a").len(), 64);
}

#[test]
fn names_from_headers_are_made_safe() {
    let long = "x".repeat(500);
    let list = [("x-gitea-signature", &*good_hex()), ("x-gitea-event", "a b\tc"), ("x-gitea-delivery", &long)];
    let verified = check(Provider::Gitea, &["k"], &list, b"{}").unwrap();
    assert_eq!(verified.event(), "a-b_c");
    assert_eq!(verified.names().delivery.len(), 128);
}

fn signing_key(bytes: Vec<u8>) -> Vec<u8> {
    format!("whsec_{}", data_encoding::BASE64.encode(&bytes)).into_bytes()
}

fn any_provider_and_secret() -> impl Strategy<Value = (Provider, Vec<u8>)> {
    prop_oneof![
        (Just(Provider::Github), prop::collection::vec(any::<u8>(), 1..80)),
        (Just(Provider::Gitea), prop::collection::vec(any::<u8>(), 1..80)),
        (Just(Provider::Forgejo), prop::collection::vec(any::<u8>(), 1..80)),
        (Just(Provider::Bitbucket), prop::collection::vec(any::<u8>(), 1..80)),
        (Just(Provider::BitbucketServer), prop::collection::vec(any::<u8>(), 1..80)),
        (Just(Provider::AzureDevops), prop::collection::vec(any::<u8>(), 1..80)),
        (Just(Provider::Generic), prop::collection::vec(any::<u8>(), 1..64).prop_map(signing_key)),
        (Just(Provider::Gitlab), "[!-~]{1,60}".prop_map(String::into_bytes)),
        (Just(Provider::Gitlab), prop::collection::vec(any::<u8>(), 1..64).prop_map(signing_key)),
    ]
}

proptest! {
    #[test]
    fn what_sign_makes_verify_accepts(
        (provider, text) in any_provider_and_secret(),
        body in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let Ok(secret) = Secret::parse(provider, &text) else { return Ok(()) };
        let delivery = sign::sign(provider, &secret, "push", Bytes::from(body), "id-1", NOW);
        let result = verify(provider, &[secret], &headers_of(&delivery), delivery.body, NOW);
        prop_assert!(result.is_ok(), "{:?}", result.err());
    }

    #[test]
    fn a_flipped_bit_is_refused(
        (provider, text) in any_provider_and_secret(),
        body in prop::collection::vec(any::<u8>(), 1..200),
        position in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let Ok(secret) = Secret::parse(provider, &text) else { return Ok(()) };
        let delivery = sign::sign(provider, &secret, "push", Bytes::from(body), "id-1", NOW);
        let is_token = delivery.headers.iter().any(|(name, _)| sign::is_secret(name));
        prop_assume!(!is_token);
        let mut flipped = delivery.body.to_vec();
        let at = position.index(flipped.len());
        flipped[at] ^= 1 << bit;
        prop_assert!(verify(provider, &[secret], &headers_of(&delivery), Bytes::from(flipped), NOW).is_err());
    }

    #[test]
    fn any_headers_at_all_never_panic(
        provider in prop::sample::select(&Provider::ALL[..]),
        values in prop::collection::vec(("[ -~]{0,90}", 0..9_usize), 0..6),
        body in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        const NAMES: [&str; 9] = [
            "x-hub-signature-256", "x-gitea-signature", "x-gitlab-token", "webhook-signature", "webhook-id",
            "webhook-timestamp", "x-github-event", "x-gitlab-event", "x-gitea-delivery",
        ];
        let list: Vec<_> = values.iter().map(|(value, name)| (NAMES[*name], value.as_str())).collect();
        let texts: &[&str] = if provider == Provider::Generic { &[KEY] } else { &["secret", KEY] };
        let secrets = secrets(provider, texts);
        prop_assert!(verify(provider, &secrets, &headers(&list), Bytes::from(body), NOW).is_err());
    }
}
