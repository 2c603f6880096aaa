//! The two schemes in which the secret itself is sent: GitLab's token and Azure DevOps' basic authentication.

use super::*;

const TOKEN: &str = "x-gitlab-token";
const AUTHORIZATION: &str = "authorization";

fn basic(credentials: &str) -> String {
    format!("Basic {}", data_encoding::BASE64.encode(credentials.as_bytes()))
}

#[test]
fn a_token_is_the_whole_token() {
    let judged = |value: &str| refusal(Provider::Gitlab, &["token-12345"], &headers(&[(TOKEN, value)]));
    assert_eq!(judged("token-12345"), None);
    assert_eq!(judged(""), Some(Refusal::Unsigned(TOKEN)));
    for end in 1.."token-12345".len() {
        assert_eq!(judged(&"token-12345"[..end]), Some(Refusal::Wrong(TOKEN)));
    }
    let hex = data_encoding::HEXLOWER.encode(&[7; 33]);
    for wrong in [
        "token-123456",
        "token-12345 ",
        " token-12345",
        "TOKEN-12345",
        "Basic token-12345",
        "sha256=",
        "sha256=token-12345",
        "token-12345,token-12345",
        &hex[..63],
        &hex[..65],
    ] {
        assert_eq!(judged(wrong), Some(Refusal::Wrong(TOKEN)), "{wrong:?}");
    }
}

#[test]
fn a_token_is_sent_once() {
    for pair in [["token", "token"], ["token", "wrong"], ["wrong", "token"], ["", "token"]] {
        let said = refusal(Provider::Gitlab, &["token"], &headers(&pair.map(|value| (TOKEN, value))));
        assert_eq!(said, Some(Refusal::Repeated(TOKEN)));
    }
    assert_eq!(refusal(Provider::Gitlab, &["token"], &HeaderMap::new()), Some(Refusal::Unsigned(TOKEN)));
    let rotated = headers(&[(TOKEN, "new")]);
    assert_eq!(refusal(Provider::Gitlab, &["old", "new"], &rotated), None);
}

#[test]
fn credentials_are_user_and_password() {
    let judged = |text: &str| refusal(Provider::AzureDevops, &["user:pass:word"], &headers(&[(AUTHORIZATION, text)]));
    let good = basic("user:pass:word");
    assert_eq!(judged(&good), None);
    let encoded = good.strip_prefix("Basic ").unwrap();
    // The scheme's name has no case.
    assert_eq!(judged(&format!("basic {encoded}")), None);
    assert_eq!(judged(&format!("BASIC {encoded}")), None);
    assert_eq!(judged(""), Some(Refusal::Unsigned(AUTHORIZATION)));
    for wrong in
        ["user:pass:wor", "user:pass:words", "user:", "user", ":pass:word", "USER:pass:word", "user:pass:word\n", "x"]
    {
        assert_eq!(judged(&basic(wrong)), Some(Refusal::Wrong(AUTHORIZATION)), "{wrong:?}");
    }
    let hex = data_encoding::HEXLOWER.encode(b"user:pass:word-of-more-than-32-bytes");
    for bad in [
        "Basic".to_owned(),
        "Basic ".to_owned(),
        encoded.to_owned(),
        format!("Bearer {encoded}"),
        format!("Digest {encoded}"),
        format!("Basic{encoded}"),
        format!("Basic  {encoded}"),
        format!("Basic {encoded} "),
        format!(" Basic {encoded}"),
        format!("Basic {encoded},Basic {encoded}"),
        format!("Basic {}", &hex[..63]),
        format!("Basic {}", &hex[..65]),
        "Basic user:pass:word".to_owned(),
        format!("Basic {}", encoded.trim_end_matches('=')),
        "B\u{e9}sic x".to_owned(),
    ] {
        assert!(is_malformed(judged(&bad), AUTHORIZATION), "{bad:?}: {:?}", judged(&bad));
    }
    for end in 0..encoded.len() {
        assert!(judged(&format!("Basic {}", &encoded[..end])).is_some(), "truncated base64");
    }
    assert!(judged(&format!("Basic {}", encoded.to_uppercase())).is_some());
}

#[test]
fn credentials_are_sent_once() {
    let (good, wrong) = (basic("user:secret"), basic("user:wrong"));
    for pair in [[&good, &good], [&good, &wrong], [&wrong, &good]] {
        let twice = headers(&pair.map(|value| (AUTHORIZATION, value.as_str())));
        let said = refusal(Provider::AzureDevops, &["user:secret"], &twice);
        assert_eq!(said, Some(Refusal::Repeated(AUTHORIZATION)));
    }
    let rotated = headers(&[(AUTHORIZATION, &good)]);
    assert_eq!(refusal(Provider::AzureDevops, &["user:new", "user:secret"], &rotated), None);
}

/// A file with a password only: the user has no name, which is not any name.
#[test]
fn a_password_alone_is_that_of_nobody() {
    let judged = |text: &str| refusal(Provider::AzureDevops, &["secret"], &headers(&[(AUTHORIZATION, &basic(text))]));
    assert_eq!(judged(":secret"), None);
    for wrong in ["secret", "user:secret", ":", "", "secret:", ":secret:"] {
        assert!(judged(wrong).is_some(), "{wrong:?}");
    }
}

/// Nothing but the body tells two deliveries apart, and the body has the event's id.
#[test]
fn the_body_makes_the_message() {
    let secrets = secrets(Provider::AzureDevops, &["user:secret"]);
    let headers = headers(&[(AUTHORIZATION, &basic("user:secret"))]);
    let id = |body| {
        let verified = verify(Provider::AzureDevops, &secrets, &headers, Bytes::from_static(body), NOW).unwrap();
        verified.message_id("s")
    };
    assert_eq!(id(b"{}"), id(b"{}"));
    assert_ne!(id(b"{}"), id(b"{ }"));
}

/// A branch goes forth, back and forth again: two bodies are equal, and both events have to be told.
#[test]
fn two_events_of_gitlab_with_one_body_are_two() {
    let id = |list: &[(&str, &str)]| {
        let mut headers = headers(list);
        headers.insert(TOKEN, HeaderValue::from_static("token"));
        let secrets = secrets(Provider::Gitlab, &["token"]);
        verify(Provider::Gitlab, &secrets, &headers, Bytes::from_static(b"{}"), NOW).unwrap().message_id("subject")
    };
    for name in ["idempotency-key", "x-gitlab-event-uuid", "webhook-id"] {
        assert_ne!(id(&[(name, "1")]), id(&[(name, "2")]), "{name}");
        assert_eq!(id(&[(name, "1")]), id(&[(name, "1")]), "{name}");
    }
    // A repetition has the key again, whatever else is new.
    let repeated = [("idempotency-key", "1"), ("x-gitlab-event-uuid", "3"), ("webhook-id", "4")];
    assert_eq!(id(&[("idempotency-key", "1"), ("x-gitlab-event-uuid", "2")]), id(&repeated));
    assert_eq!(id(&[]), id(&[]));
}
