//! Payloads: recorded shapes of the providers' deliveries to what they say, and every way in which a field can be missing
//! or wrong.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};
use towline_receiver::payload::{self, Ignored, Reading, Unreadable};
use towline_receiver::sign::{self, Push};
use towline_receiver::verify::verify;
use towline_receiver::{Provider, Secret};

const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);
const ZEROS: &str = "0000000000000000000000000000000000000000";
const ONE: &str = "1111111111111111111111111111111111111111";
const TWO: &str = "2222222222222222222222222222222222222222";

/// Whose pushes are read.
const READ: [Provider; 3] = [Provider::Github, Provider::Gitlab, Provider::Gitea];

/// A payload comes to be read only through a signature.
fn read(provider: Provider, event: &str, body: impl Into<Bytes>) -> Result<Reading, Unreadable> {
    let secret = Secret::parse(provider, b"secret").unwrap();
    let delivery = sign::sign(provider, &secret, event, body.into(), "id", NOW);
    let mut headers = HeaderMap::new();
    for (name, value) in &delivery.headers {
        headers.insert(*name, HeaderValue::from_str(value).unwrap());
    }
    payload::read(&verify(provider, &[secret], &headers, delivery.body, NOW).unwrap()).map(|read| read.reading)
}

fn push_event(provider: Provider) -> &'static str {
    if provider == Provider::Gitlab { "Push Hook" } else { "push" }
}

#[rstest]
#[case("github-push.json", Provider::Github, "push")]
#[case("github-tag-created.json", Provider::Github, "push")]
#[case("github-branch-deleted.json", Provider::Github, "push")]
#[case("github-forced.json", Provider::Github, "push")]
#[case("github-ping.json", Provider::Github, "ping")]
#[case("gitea-push.json", Provider::Gitea, "push")]
#[case("gitea-tag-created.json", Provider::Gitea, "push")]
#[case("gitea-delete.json", Provider::Gitea, "delete")]
#[case("gitlab-push.json", Provider::Gitlab, "Push Hook")]
#[case("gitlab-tag-push.json", Provider::Gitlab, "Tag Push Hook")]
#[case("gitlab-branch-deleted.json", Provider::Gitlab, "Push Hook")]
#[case("gitlab-note.json", Provider::Gitlab, "Note Hook")]
fn documented_shapes(#[case] file: &str, #[case] provider: Provider, #[case] event: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/payloads").join(file);
    let reading = read(provider, event, std::fs::read(path).unwrap()).unwrap();
    insta::assert_debug_snapshot!(file.trim_end_matches(".json"), reading);
}

#[rstest]
fn what_sign_makes_is_read(
    #[values(Provider::Github, Provider::Gitlab, Provider::Gitea)] provider: Provider,
    #[values("refs/heads/main", "refs/heads/a/b.c d*>é", "refs/tags/v1.0")] reference: &str,
    #[values(None, Some(ONE))] before: Option<&str>,
) {
    let secret = Secret::parse(provider, b"secret").unwrap();
    let push = Push { repository: "Org/sub/app", reference, before, after: Some(TWO) };
    let delivery = sign::delivery(provider, &secret, &push, "id", NOW);
    let event = &delivery.headers.iter().find(|(name, _)| name.ends_with("-event")).unwrap().1;
    let Reading::Pushes(pushes) = read(provider, event, delivery.body).unwrap() else { panic!("ignored") };
    assert_eq!(pushes.len(), 1);
    assert_eq!(pushes[0].full_name, "Org/sub/app");
    assert_eq!(pushes[0].reference.as_str(), reference);
    assert_eq!(pushes[0].before.as_ref().map(|id| id.as_str()), before);
    assert_eq!(pushes[0].after.as_str(), TWO);
}

fn good(provider: Provider) -> Value {
    let repository = match provider {
        Provider::Gitlab => json!({"project": {"path_with_namespace": "org/app"}}),
        _ => json!({"repository": {"full_name": "org/app"}}),
    };
    let mut body = json!({"ref": "refs/heads/main", "before": ONE, "after": TWO});
    body.as_object_mut().unwrap().extend(repository.as_object().unwrap().clone());
    body
}

/// CVE-2025-59531, CVE-2025-59537, CVE-2025-59538, CVE-2023-50728: missing fields ended the process.
#[rstest]
fn no_field_can_be_missing_null_or_of_another_type(
    #[values(Provider::Github, Provider::Gitlab, Provider::Gitea)] provider: Provider,
) {
    let body = good(provider);
    assert!(matches!(read(provider, push_event(provider), body.to_string()), Ok(Reading::Pushes(_))));
    for field in body.as_object().unwrap().keys() {
        for wrong in [None, Some(Value::Null), Some(json!(7)), Some(json!([])), Some(json!("x")), Some(json!({}))] {
            let mut body = body.clone();
            match &wrong {
                None => drop(body.as_object_mut().unwrap().remove(field)),
                Some(value) => body[field] = value.clone(),
            }
            let result = read(provider, push_event(provider), body.to_string());
            // Only `before` may be absent: it is not needed to look at a ref.
            let may_be_absent = field == "before" && wrong.is_none_or(|value| value.is_null());
            assert_eq!(result.is_ok(), may_be_absent, "{field}: {result:?}");
        }
    }
    for body in ["", "null", "[]", "7", "\"x\"", "{", "{}", "\u{feff}{}"] {
        assert!(read(provider, push_event(provider), body).is_err(), "{body:?}");
    }
    assert!(read(provider, push_event(provider), "[".repeat(100_000)).is_err());
}

#[rstest]
#[case("refs/heads/main", ONE, ZEROS, true)]
#[case("refs/heads/main", ONE, "", true)]
#[case("refs/heads/main", ZEROS, TWO, false)]
#[case("refs/heads/main", ONE, "0000000000000000000000000000000000000000000000000000000000000000", true)]
fn zeros_of_either_length_are_no_commit(
    #[case] reference: &str,
    #[case] before: &str,
    #[case] after: &str,
    #[case] deleted: bool,
) {
    let body = json!({"ref": reference, "before": before, "after": after, "repository": {"full_name": "org/app"}});
    match read(Provider::Github, "push", body.to_string()).unwrap() {
        Reading::Ignored(ignored) => assert!(deleted && matches!(ignored, Ignored::Deleted { .. })),
        Reading::Pushes(pushes) => assert!(!deleted && pushes[0].before.is_none()),
    }
}

#[test]
fn mistakes_name_fields_and_quote_nothing() {
    let body = json!({"ref": "hunter2", "after": TWO, "repository": {"full_name": "org/app"}});
    let error = read(Provider::Github, "push", body.to_string()).unwrap_err();
    assert!(!towline_daemon::error::chain(&error).contains("hunter2"), "{error}");
    let body = json!({"ref": {"hunter2": 1}, "after": TWO});
    let error = read(Provider::Github, "push", body.to_string()).unwrap_err();
    assert!(error.to_string().starts_with("a field has another type than documented (line 1, column "), "{error}");
}

#[test]
fn a_form_says_what_its_json_says() {
    let json = good(Provider::Github).to_string();
    let hex = |byte: u8| format!("%{byte:02X}");
    let form = format!("payload={}", json.bytes().map(hex).collect::<String>());
    let read_it = |body: String| read(Provider::Github, "push", body).unwrap();
    assert_eq!(read_it(form.clone()), read_it(json));
    assert!(matches!(read(Provider::Gitea, "push", form), Err(Unreadable::NotJson { .. })));
}

proptest! {
    #[test]
    fn any_bytes_at_all_never_panic(
        provider in prop::sample::select(&READ[..]),
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        prop_assert!(read(provider, push_event(provider), body).is_err());
    }

    #[test]
    fn any_texts_in_the_fields_never_panic(
        provider in prop::sample::select(&READ[..]),
        reference in any::<String>(),
        name in any::<String>(),
        after in prop_oneof![any::<String>(), "[0-9a-f]{40}", "0{40}"],
    ) {
        let mut body = good(provider);
        body["ref"] = json!(reference);
        body["after"] = json!(after);
        match provider {
            Provider::Gitlab => body["project"]["path_with_namespace"] = json!(name),
            _ => body["repository"]["full_name"] = json!(name),
        }
        let _may_be_anything_but_a_panic = read(provider, push_event(provider), body.to_string());
    }
}
