//! What a delivery calls itself.

use rstest::rstest;
use towline_receiver::verify::{Names, names};

use super::*;

#[rstest]
#[case(Provider::Github, &[("x-github-event", "push"), ("x-github-delivery", "1")], "push", "1")]
#[case(Provider::Gitlab, &[("x-gitlab-event", "Tag Push Hook"), ("webhook-id", "1")], "Tag-Push-Hook", "1")]
#[case(Provider::Gitlab, &[("idempotency-key", "1"), ("x-gitlab-event-uuid", "2")], "", "1")]
#[case(Provider::Gitlab, &[("x-gitlab-event-uuid", "2")], "", "2")]
#[case(Provider::Gitea, &[("x-gitea-event", "push"), ("x-gitea-delivery", "1")], "push", "1")]
#[case(Provider::Forgejo, &[("x-forgejo-event", "push"), ("x-forgejo-delivery", "1"), ("x-gitea-event", "x")], "push", "1")]
#[case(Provider::Bitbucket, &[("x-event-key", "repo:push"), ("x-request-uuid", "1")], "repo:push", "1")]
#[case(Provider::BitbucketServer, &[("x-event-key", "repo:refs_changed"), ("x-request-id", "1")], "repo:refs_changed", "1")]
#[case(Provider::AzureDevops, &[("x-event-key", "a"), ("x-request-id", "1")], "", "")]
#[case(Provider::Generic, &[("webhook-id", "1")], "push", "1")]
fn where_providers_say_them(
    #[case] provider: Provider,
    #[case] list: &[(&str, &str)],
    #[case] event: &str,
    #[case] delivery: &str,
) {
    assert_eq!(names(provider, &headers(list)), Names::new(event, delivery));
}

#[test]
fn they_are_made_safe() {
    let headers = with(&signed(Provider::Gitea, "k"), "x-gitea-event", "a b\tc");
    let headers = with(&headers, "x-gitea-delivery", &"x".repeat(500));
    let verified = check(Provider::Gitea, &["k"], &headers).unwrap();
    assert_eq!(verified.event(), "a-b_c");
    assert_eq!(verified.names().delivery.len(), 128);
    let names = Names::new("\u{1b}[31m\r\n", "id\u{202e}\0");
    assert!(names.event.bytes().chain(names.delivery.bytes()).all(|byte| byte.is_ascii_graphic()), "{names:?}");
}

/// Two of a name: which of them counts would depend on who looks.
#[test]
fn they_are_sent_once() {
    for (provider, secret) in SENDERS {
        let headers = signed(provider, secret);
        for name in headers.keys().filter(|name| name.as_str() != "content-type") {
            let mut twice = headers.clone();
            twice.append(name, headers[name].clone());
            let said = refusal(provider, &[secret], &twice);
            assert!(
                matches!(said, Some(Refusal::Repeated(said)) if said == name.as_str()),
                "{provider}: {name}: {said:?}"
            );
        }
    }
}
