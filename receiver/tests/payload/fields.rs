//! Each field that is used, of each provider: away, null, and of every other type. The answer names the field, and quotes
//! nothing.

use rstest::rstest;
use serde_json::{Value, json};
use towline_receiver::Provider;
use towline_receiver::Provider::{AzureDevops, Bitbucket, BitbucketServer, Forgejo, Generic, Gitea, Github, Gitlab};
use towline_receiver::payload::{Reading, Unreadable};

use crate::deliveries::{judge, push_event, read, recorded, told};

/// What a field must be, and what else it may be.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Used {
    Text,
    Object,
    List,
    /// A text, or null.
    TextOrNull,
    /// A text, or null, or not there.
    TextOrNothing,
    /// An object, or null.
    ObjectOrNull,
}
use Used::{List, Object, ObjectOrNull, Text, TextOrNothing, TextOrNull};

type Fields = &'static [(&'static str, Used)];

const GITHUB: Fields =
    &[("/ref", Text), ("/before", Text), ("/after", Text), ("/repository", Object), ("/repository/full_name", Text)];

const GITLAB: Fields = &[
    ("/ref", Text),
    ("/before", Text),
    ("/after", Text),
    ("/project", Object),
    ("/project/path_with_namespace", Text),
];

const GITLAB_UPDATE: Fields = &[
    ("/changes", List),
    ("/changes/1", Object),
    ("/changes/1/ref", Text),
    ("/changes/1/before", Text),
    ("/changes/1/after", Text),
    ("/project", Object),
    ("/project/path_with_namespace", Text),
];

const BITBUCKET: Fields = &[
    ("/repository", Object),
    ("/repository/full_name", Text),
    ("/push", Object),
    ("/push/changes", List),
    ("/push/changes/0", Object),
    ("/push/changes/0/old", ObjectOrNull),
    ("/push/changes/0/old/target", Object),
    ("/push/changes/0/old/target/hash", Text),
    ("/push/changes/0/new", ObjectOrNull),
    ("/push/changes/0/new/type", Text),
    ("/push/changes/0/new/name", Text),
    ("/push/changes/0/new/target", Object),
    ("/push/changes/0/new/target/hash", Text),
    ("/push/changes/4/old", Object),
    ("/push/changes/4/old/type", Text),
    ("/push/changes/4/old/name", Text),
];

const BITBUCKET_SERVER: Fields = &[
    ("/repository", Object),
    ("/repository/slug", Text),
    ("/repository/project", Object),
    ("/repository/project/key", Text),
    ("/changes", List),
    ("/changes/2", Object),
    ("/changes/2/ref", Object),
    ("/changes/2/ref/id", Text),
    ("/changes/2/fromHash", Text),
    ("/changes/2/toHash", Text),
];

const AZURE_DEVOPS: Fields = &[
    ("/eventType", Text),
    ("/resource", Object),
    ("/resource/repository", Object),
    ("/resource/repository/name", Text),
    ("/resource/repository/project", Object),
    ("/resource/repository/project/name", Text),
    ("/resource/refUpdates", List),
    ("/resource/refUpdates/1", Object),
    ("/resource/refUpdates/1/name", Text),
    ("/resource/refUpdates/1/oldObjectId", Text),
    ("/resource/refUpdates/1/newObjectId", Text),
];

const GENERIC: Fields = &[("/repository", Text), ("/ref", Text), ("/before", TextOrNothing), ("/after", TextOrNull)];

#[rstest]
#[case(Github, "push", "github-push", GITHUB)]
#[case(Gitea, "push", "gitea-push", GITHUB)]
#[case(Forgejo, "push", "forgejo-push", GITHUB)]
#[case(Gitlab, "Push Hook", "gitlab-push", GITLAB)]
#[case(Gitlab, "Tag Push Hook", "gitlab-tag-push", GITLAB)]
#[case(Gitlab, "System Hook", "gitlab-system-push", GITLAB)]
#[case(Gitlab, "System Hook", "gitlab-system-tag-push", GITLAB)]
#[case(Gitlab, "System Hook", "gitlab-system-repository-update", GITLAB_UPDATE)]
#[case(Bitbucket, "repo:push", "bitbucket-push", BITBUCKET)]
#[case(BitbucketServer, "repo:refs_changed", "bitbucket-server-refs-changed", BITBUCKET_SERVER)]
#[case(AzureDevops, "", "azure-devops-push", AZURE_DEVOPS)]
#[case(Generic, "push", "generic-push", GENERIC)]
fn every_field_that_is_used(
    #[case] provider: Provider,
    #[case] event: &str,
    #[case] name: &str,
    #[case] fields: Fields,
) {
    let good = recorded(name);
    assert!(matches!(read(provider, event, good.to_string()), Ok(Reading::Pushes(_))));
    for (pointer, used) in fields {
        for wrong in every_mistake(*used) {
            let body = with(&good, pointer, wrong.clone());
            let error = read(provider, event, body.to_string()).expect_err(&format!("{pointer}: {wrong:?}"));
            let text = towline_daemon::error::chain(&error);
            assert!(text.contains(&path_of(pointer)), "{pointer}: {wrong:?}: {text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
        for allowed in every_freedom(*used) {
            let body = with(&good, pointer, allowed.clone());
            assert!(read(provider, event, body.to_string()).is_ok(), "{pointer}: {allowed:?}");
        }
    }
}

/// None is a field that is away.
fn every_mistake(used: Used) -> Vec<Option<Value>> {
    let mut mistakes = vec![Some(json!(7)), Some(json!(-1.5e300)), Some(json!(true)), Some(json!(["hunter2"]))];
    match used {
        Text | TextOrNull | TextOrNothing => mistakes.push(Some(json!({ "hunter2": "hunter2" }))),
        Object | ObjectOrNull => mistakes.extend([Some(json!("hunter2")), Some(json!({ "hunter2": [] }))]),
        List => mistakes.extend([Some(json!("hunter2")), Some(json!({ "0": "hunter2" }))]),
    }
    if !matches!(used, TextOrNull | TextOrNothing | ObjectOrNull) {
        mistakes.push(Some(Value::Null));
    }
    if used != TextOrNothing {
        mistakes.push(None);
    }
    mistakes
}

fn every_freedom(used: Used) -> Vec<Option<Value>> {
    match used {
        Text | Object | List => vec![],
        TextOrNull | ObjectOrNull => vec![Some(Value::Null)],
        TextOrNothing => vec![Some(Value::Null), None],
    }
}

fn with(body: &Value, pointer: &str, value: Option<Value>) -> Value {
    let mut body = body.clone();
    match value {
        Some(value) => *body.pointer_mut(pointer).unwrap() = value,
        None => {
            let (parent, last) = pointer.rsplit_once('/').unwrap();
            match body.pointer_mut(parent).unwrap() {
                // An item cannot be away; an empty one is as little of use.
                Value::Array(items) => items[last.parse::<usize>().unwrap()] = json!({}),
                parent => drop(parent.as_object_mut().unwrap().remove(last).unwrap()),
            }
        }
    }
    body
}

/// As the receiver writes it: `push.changes[0].new.name`.
fn path_of(pointer: &str) -> String {
    let mut path = String::new();
    for part in pointer.split('/').skip(1) {
        match part.parse::<usize>() {
            Ok(index) => path += &format!("[{index}]"),
            Err(_) if path.is_empty() => path += part,
            Err(_) => path += &format!(".{part}"),
        }
    }
    path
}

#[rstest]
fn bodies_that_are_no_objects(#[values("", " ", "null", "[]", "7", "\"x\"", "{", "{}", "\u{feff}{}")] body: &str) {
    for provider in Provider::ALL {
        assert!(read(provider, push_event(provider), body.to_owned()).is_err(), "{provider}: {body:?}");
    }
    assert!(read(Gitlab, "System Hook", body.to_owned()).is_err() || body == "{}");
}

/// A pipe through another program could have read the other one.
#[test]
fn a_used_field_twice_is_refused() {
    for provider in Provider::ALL {
        let (name, field) = match provider {
            Github => ("github-push", "repository"),
            Gitlab => ("gitlab-push", "ref"),
            Gitea => ("gitea-push", "after"),
            Forgejo => ("forgejo-push", "before"),
            Bitbucket => ("bitbucket-push", "push"),
            BitbucketServer => ("bitbucket-server-refs-changed", "changes"),
            AzureDevops => ("azure-devops-push", "resource"),
            Generic => ("generic-push", "repository"),
        };
        let body = recorded(name);
        let twice = body.to_string().replacen('{', &format!("{{\"{field}\":{},", body[field]), 1);
        let error = read(provider, push_event(provider), twice).unwrap_err();
        assert!(matches!(error, Unreadable::Repeated { .. }), "{provider}: {error}");
    }
}

/// What is not asked for is skipped without being held: it costs no stack, however deep it is.
#[test]
fn nesting_costs_no_stack() {
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let objects = format!("{}1{}", "{\"a\":".repeat(20_000), "}".repeat(20_000));
    for provider in Provider::ALL {
        let event = push_event(provider);
        for nested in [&deep, &objects] {
            assert!(read(provider, event, nested.clone()).is_err());
            assert!(read(provider, event, nested[..10_000].to_owned()).is_err());
            for field in ["repository", "project", "ref", "after", "push", "changes", "resource", "eventType"] {
                let body = format!("{{\"{field}\":{nested}}}");
                assert!(read(provider, event, body).is_err(), "{provider} {field}");
            }
        }
    }
    let body = recorded("github-push").to_string().replacen('{', &format!("{{\"unused\":{deep},"), 1);
    assert!(read(Github, "push", body).is_ok());
}

#[test]
fn numbers_beyond_any_type() {
    for number in ["1e999999999", "-1e999999999", &"9".repeat(100_000), "0.000000000000000000000000000001e-99999"] {
        for provider in Provider::ALL {
            for field in ["repository", "project", "ref", "after", "push", "changes", "resource", "eventType"] {
                assert!(read(provider, push_event(provider), format!("{{\"{field}\":{number}}}")).is_err());
            }
        }
    }
}

#[test]
fn texts_that_are_no_texts() {
    for text in [&b"\"\\ud800\""[..], b"\"\\udc00\\ud800\"", b"\"\xff\xfe\"", b"\"\\x\"", b"\"\n\"", b"\"a"] {
        let body = [&b"{\"ref\":"[..], text, b"}"].concat();
        assert!(matches!(read(Github, "push", body), Err(Unreadable::NotJson { .. })));
    }
}

#[test]
fn a_form_says_what_its_json_says() {
    let json = recorded("github-push").to_string();
    let hex = |byte: u8| format!("%{byte:02X}");
    let form = format!("payload={}", json.bytes().map(hex).collect::<String>());
    let in_a_form = told(&judge(Github, "push", form.clone()));
    assert_eq!(in_a_form, told(&judge(Github, "push", json)));
    assert!(in_a_form.starts_with("github.com/codertocat/hello-world refs/heads/"), "{in_a_form}");
    for other in Provider::ALL.into_iter().filter(|provider| *provider != Github) {
        assert!(matches!(read(other, push_event(other), form.clone()), Err(Unreadable::NotJson { .. })));
    }
    assert!(matches!(read(Github, "push", format!("{form}&payload={{}}")), Err(Unreadable::NotAForm)));
}

/// The log of a delivery that cannot be read says which one it was, also where only the body knows.
#[test]
fn an_unreadable_body_keeps_its_names() {
    let body = with(&recorded("azure-devops-push"), "/resource", None);
    let names = judge(AzureDevops, "", body.to_string()).names.unwrap();
    assert_eq!((names.event.as_str(), &names.delivery[..8]), ("git.push", "03c164c2"));
    let body = with(&recorded("gitlab-system-repository-update"), "/project", None);
    assert_eq!(judge(Gitlab, "System Hook", body.to_string()).names.unwrap().event, "repository_update");
}
