//! Refs: their names, their zeros, several in one delivery, and the repositories they are in.

use rstest::rstest;
use serde_json::{Value, json};
use towline_receiver::Provider;
use towline_receiver::judge::Judgement;
use towline_receiver::payload::{Ignored, REFS_MAX, Reading, Unreadable};
use towline_receiver::sign::{self, Push};

use crate::deliveries::{NOW, ONE, SECRET, TWO, ZEROS, ZEROS_64, is_unreadable, judge, push_event, read, told};

/// A push as `sign` makes it.
fn pushed(provider: Provider, repository: &str, reference: &str, before: Option<&str>, after: Option<&str>) -> Value {
    let secret = towline_receiver::Secret::parse(provider, SECRET.as_bytes()).unwrap();
    let push = Push { repository, reference, before, after };
    serde_json::from_slice(&sign::delivery(provider, &secret, &push, "an-id", NOW).body).unwrap()
}

#[rstest]
fn what_sign_makes_is_read(
    #[values(
        "refs/heads/main",
        "refs/heads/a/b.c-d_e/ü>日本",
        "refs/tags/v1.0",
        "refs/tags/refs/heads/main",
        "refs/heads/@"
    )]
    reference: &str,
    #[values(None, Some(ONE))] before: Option<&str>,
) {
    for provider in Provider::ALL {
        let body = pushed(provider, "Org/app", reference, before, Some(TWO));
        let Reading::Pushes(pushes) = read(provider, push_event(provider), body.to_string()).unwrap() else {
            panic!("{provider}: ignored")
        };
        let [push] = pushes.as_slice() else { panic!("{provider}: {pushes:?}") };
        assert_eq!(push.full_name, "Org/app");
        assert_eq!(push.reference.as_str(), reference);
        assert_eq!(push.before.as_ref().map(|id| id.as_str()), before);
        assert_eq!(push.after.as_str(), TWO);
    }
}

/// What Git does not let anybody create is not looked for.
#[rstest]
fn names_that_git_has_not_are_refused(
    #[values(
        "refs/heads/a b",
        "refs/heads/*",
        "refs/heads/a..b",
        "refs/heads/a\u{7}b",
        "refs/heads/a\nb",
        "refs/heads/.hidden",
        "refs/heads/a.lock",
        "refs/heads//a",
        "refs/heads/",
        "refs/heads/a:b",
        "refs/heads/a^",
        "refs/heads/a@{0}"
    )]
    reference: &str,
) {
    for provider in Provider::ALL {
        let body = pushed(provider, "org/app", reference, None, Some(TWO));
        let judged = judge(provider, push_event(provider), body.to_string());
        assert!(is_unreadable(&judged), "{provider}: {}", told(&judged));
    }
}

#[test]
fn a_short_name_is_no_ref_where_full_names_are_sent() {
    for provider in Provider::ALL.into_iter().filter(|provider| *provider != Provider::Bitbucket) {
        for reference in ["main", "heads/main", "", "refs/", "https://attacker.example/refs/heads/main"] {
            let body = pushed(provider, "org/app", reference, None, Some(TWO));
            assert!(read(provider, push_event(provider), body.to_string()).is_err(), "{provider} {reference}");
        }
    }
}

/// SHA-1 and SHA-256 repositories write as many zeros as their ids have digits, or fewer.
#[rstest]
#[case(Provider::Github, "/before", "/after")]
#[case(Provider::Gitlab, "/before", "/after")]
#[case(Provider::Gitea, "/before", "/after")]
#[case(Provider::Forgejo, "/before", "/after")]
#[case(Provider::BitbucketServer, "/changes/0/fromHash", "/changes/0/toHash")]
#[case(Provider::AzureDevops, "/resource/refUpdates/0/oldObjectId", "/resource/refUpdates/0/newObjectId")]
#[case(Provider::Generic, "/before", "/after")]
fn zeros_are_no_commit(#[case] provider: Provider, #[case] before: &str, #[case] after: &str) {
    let read_with = |pointer: &str, id: &str| {
        let mut body = pushed(provider, "org/app", "refs/heads/main", Some(ONE), Some(TWO));
        *body.pointer_mut(pointer).unwrap() = json!(id);
        read(provider, push_event(provider), body.to_string())
    };
    for zeros in [ZEROS, ZEROS_64, &ZEROS[..7], &ZEROS[1..]] {
        let Ok(Reading::Pushes(pushes)) = read_with(before, zeros) else { panic!("{zeros}") };
        assert!(pushes[0].before.is_none());
        assert!(matches!(read_with(after, zeros), Ok(Reading::Ignored(Ignored::Deleted { further: 0, .. }))));
    }
    let ids = [&ONE[1..], "HEAD", &format!("{ONE}1"), &"A".repeat(40), &format!(" {TWO}")];
    for id in ids {
        assert!(matches!(read_with(before, id), Err(Unreadable::Name { .. })), "{id:?}");
        assert!(matches!(read_with(after, id), Err(Unreadable::Name { .. })), "{id:?}");
    }
}

/// Bitbucket Cloud has null where there is no commit, so zeros are not an id.
#[test]
fn bitbucket_has_no_zeros() {
    let mut body = pushed(Provider::Bitbucket, "org/app", "refs/heads/main", None, Some(TWO));
    body["push"]["changes"][0]["new"]["target"]["hash"] = json!(ZEROS);
    assert!(matches!(read(Provider::Bitbucket, "repo:push", body.to_string()), Err(Unreadable::Name { .. })));
    body["push"]["changes"][0]["new"] = json!({"type": "bookmark", "name": "x", "target": {"hash": TWO}});
    assert!(matches!(read(Provider::Bitbucket, "repo:push", body.to_string()), Err(Unreadable::NoKindOfRef(_))));
}

/// Providers whose deliveries have lists, with the list's place.
const LISTS: [(Provider, &str, &str); 4] = [
    (Provider::Gitlab, "System Hook", "/changes"),
    (Provider::Bitbucket, "repo:push", "/push/changes"),
    (Provider::BitbucketServer, "repo:refs_changed", "/changes"),
    (Provider::AzureDevops, "", "/resource/refUpdates"),
];

/// A delivery of several refs; None is a deleted one.
fn several(provider: Provider, list: &str, refs: &[(String, Option<&str>)]) -> String {
    let item = |(name, after): &(String, Option<&str>)| {
        let body = pushed(provider, "org/app", name, Some(ONE), *after);
        match provider {
            Provider::Gitlab => json!({"ref": body["ref"], "before": body["before"], "after": body["after"]}),
            _ => body.pointer(list).unwrap()[0].clone(),
        }
    };
    let items: Vec<Value> = refs.iter().map(item).collect();
    let mut body = pushed(provider, "org/app", "refs/heads/main", Some(ONE), Some(TWO));
    if provider == Provider::Gitlab {
        body["event_name"] = json!("repository_update");
        body["changes"] = json!([]);
    }
    *body.pointer_mut(list).unwrap() = json!(items);
    body.to_string()
}

#[test]
fn the_last_word_on_a_ref_counts() {
    let refs = [("a", Some(ONE)), ("b", Some(ONE)), ("a", Some(TWO)), ("c", Some(ONE)), ("c", None), ("d", None)];
    let refs = refs.map(|(name, after)| (format!("refs/heads/{name}"), after));
    for (provider, event, list) in LISTS {
        let Ok(Reading::Pushes(pushes)) = read(provider, event, several(provider, list, &refs)) else {
            panic!("{provider}")
        };
        let pushes: Vec<_> = pushes.iter().map(|push| (push.reference.short(), push.after.as_str())).collect();
        assert_eq!(pushes, [("b", ONE), ("a", TWO)], "{provider}");
        let gone = [("refs/heads/a".to_owned(), None), ("refs/tags/b".to_owned(), None)];
        let told = told(&judge(provider, event, several(provider, list, &gone)));
        assert!(told.starts_with("200 OK ignored: refs/heads/a of org/app was deleted, and 1 more"), "{told}");
        let none = read(provider, event, several(provider, list, &[]));
        assert!(matches!(none, Ok(Reading::Ignored(Ignored::NoRef { .. }))), "{provider}");
    }
}

#[test]
fn one_ref_that_cannot_be_read_is_not_passed_over() {
    let refs = [("refs/heads/a".to_owned(), Some(TWO)), ("refs/heads/a b".to_owned(), Some(TWO))];
    for (provider, event, list) in LISTS {
        let error = read(provider, event, several(provider, list, &refs)).unwrap_err().to_string();
        assert!(error.contains("[1]"), "{provider}: {error}");
    }
}

#[test]
fn too_many_refs_are_said_to_be_too_many() {
    let refs: Vec<_> = (0..=REFS_MAX).map(|n| (format!("refs/tags/v{n}"), Some(TWO))).collect();
    for (provider, event, list) in LISTS {
        let most = read(provider, event, several(provider, list, &refs[1..]));
        assert!(matches!(most, Ok(Reading::Pushes(pushes)) if pushes.len() == REFS_MAX), "{provider}");
        let told = told(&judge(provider, event, several(provider, list, &refs)));
        assert!(told.starts_with("400 Bad Request unreadable: 1001 refs are more than the 1000"), "{told}");
    }
}

/// Three bytes are an item: a body of 25 MiB can list millions of them, and none beyond the bound is held.
#[test]
fn a_list_of_nothing_is_counted_and_not_held() {
    let items = vec!["{}"; 100_000].join(",");
    let body = format!("{{\"event_name\":\"repository_update\",\"changes\":[{items}]}}");
    let error = read(Provider::Gitlab, "System Hook", body).unwrap_err();
    assert!(matches!(error, Unreadable::TooMany { found: 100_000 }), "{error}");
}

#[rstest]
#[case(Provider::Github, "ORG/App", "github.com/org/app")]
#[case(Provider::Gitlab, "Group/Sub/App", "gitlab.example/tools/gitlab/group/sub/app")]
#[case(Provider::Gitea, "Org/App", "gitea.example/org/app")]
#[case(Provider::Forgejo, "Org/App", "codeberg.org/org/app")]
#[case(Provider::Bitbucket, "Team/App", "bitbucket.org/team/app")]
#[case(Provider::BitbucketServer, "PROJ/app", "bitbucket.example/bitbucket/proj/app")]
#[case(Provider::BitbucketServer, "~JDoe/app", "bitbucket.example/bitbucket/~jdoe/app")]
#[case(Provider::AzureDevops, "My Project/My Repo", "dev.azure.com/fabrikam/my project/my repo")]
#[case(Provider::Generic, "Org/App", "git.example/org/app")]
fn identities(#[case] provider: Provider, #[case] full_name: &str, #[case] identity: &str) {
    let id_of = |full_name: &str| {
        let body = pushed(provider, full_name, "refs/heads/main", None, Some(TWO));
        match judge(provider, push_event(provider), body.to_string()).judgement {
            Judgement::Publish(events) => events[0].event.repository.to_string(),
            Judgement::Refuse(refusal) => panic!("{refusal}"),
            Judgement::Answer { reason, .. } => panic!("{reason}"),
        }
    };
    assert_eq!(id_of(full_name), identity);
    assert_eq!(id_of(&full_name.to_uppercase()), identity, "case makes no difference");
    assert_ne!(id_of(&format!("{full_name}-renamed")), identity, "a renamed repository is another one");
}

#[rstest]
fn names_that_are_of_no_repository(
    #[values("", "/", "../x", "org/..", "org/a\\b", "org/ app", "org/a\u{0}b", "./.")] full_name: &str,
) {
    for provider in [Provider::Github, Provider::Gitlab, Provider::Gitea, Provider::Bitbucket, Provider::Generic] {
        let body = pushed(provider, full_name, "refs/heads/main", None, Some(TWO));
        assert!(is_unreadable(&judge(provider, push_event(provider), body.to_string())), "{provider} {full_name:?}");
    }
}

/// A name is repeated for each ref: a long one is refused before that.
#[test]
fn a_long_name_is_not_multiplied() {
    let body = pushed(Provider::Github, &"a/".repeat(100_000), "refs/heads/main", None, Some(TWO));
    assert!(matches!(read(Provider::Github, "push", body.to_string()), Err(Unreadable::Repository(_))));
}

/// A part with a slash in it would name another repository.
#[rstest]
#[case(Provider::BitbucketServer, "/repository/slug")]
#[case(Provider::BitbucketServer, "/repository/project/key")]
#[case(Provider::AzureDevops, "/resource/repository/name")]
#[case(Provider::AzureDevops, "/resource/repository/project/name")]
fn a_part_of_a_name_is_one_part(
    #[case] provider: Provider,
    #[case] pointer: &str,
    #[values("", "a/b", "/")] part: &str,
) {
    let mut body = pushed(provider, "org/app", "refs/heads/main", None, Some(TWO));
    *body.pointer_mut(pointer).unwrap() = json!(part);
    let error = read(provider, push_event(provider), body.to_string()).unwrap_err();
    assert!(matches!(error, Unreadable::NotAPart(_)), "{error}");
}
