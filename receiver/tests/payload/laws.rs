//! What holds for any bytes and any texts: no panic, and what comes out is a ref under the hook's host.

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};
use towline_receiver::Provider;
use towline_receiver::Provider::{AzureDevops, Bitbucket, BitbucketServer, Forgejo, Generic, Gitea, Github, Gitlab};
use towline_receiver::judge::{Judged, Judgement};

use crate::deliveries::{is_unreadable, judge, place, push_event, recorded};

/// Shapes of pushes, and where in them the texts stand that are used.
const SHAPES: [(Provider, &str, &str, &[&str]); 9] = [
    (Github, "push", "github-push", &["/repository/full_name", "/ref", "/before", "/after"]),
    (Gitea, "push", "gitea-push", &["/repository/full_name", "/ref", "/before", "/after"]),
    (Forgejo, "push", "forgejo-push", &["/repository/full_name", "/ref", "/before", "/after"]),
    (Gitlab, "Push Hook", "gitlab-push", &["/project/path_with_namespace", "/ref", "/before", "/after"]),
    (
        Gitlab,
        "System Hook",
        "gitlab-system-repository-update",
        &["/project/path_with_namespace", "/changes/0/ref", "/changes/0/before", "/changes/1/after", "/event_name"],
    ),
    (
        Bitbucket,
        "repo:push",
        "bitbucket-push",
        &[
            "/repository/full_name",
            "/push/changes/0/new/name",
            "/push/changes/0/new/type",
            "/push/changes/0/new/target/hash",
            "/push/changes/4/old/name",
        ],
    ),
    (
        BitbucketServer,
        "repo:refs_changed",
        "bitbucket-server-refs-changed",
        &[
            "/repository/slug",
            "/repository/project/key",
            "/changes/0/ref/id",
            "/changes/1/fromHash",
            "/changes/2/toHash",
        ],
    ),
    (
        AzureDevops,
        "",
        "azure-devops-push",
        &[
            "/resource/repository/name",
            "/resource/repository/project/name",
            "/resource/refUpdates/0/name",
            "/resource/refUpdates/0/newObjectId",
            "/eventType",
            "/id",
        ],
    ),
    (Generic, "push", "generic-push", &["/repository", "/ref", "/before", "/after"]),
];

static BODIES: LazyLock<Vec<Value>> = LazyLock::new(|| SHAPES.iter().map(|(_, _, name, _)| recorded(name)).collect());

/// Texts of the kinds that names are made of, and of no kind at all.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[0-9a-f]{40}",
        "0{39,65}",
        "refs/(heads|tags)/\\PC{0,20}",
        "[a-zA-Z~./_@: -]{0,30}",
        "(scm|projects|repos|users|_git|_ssh|v3|DefaultCollection|\\.\\.|org|app)(/(scm|projects|repos|_git|app|\\.git)){0,4}",
    ]
}

/// Any JSON, with names that are asked for.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    let name = prop::sample::select(
        &[
            "ref",
            "before",
            "after",
            "repository",
            "full_name",
            "project",
            "path_with_namespace",
            "event_name",
            "changes",
            "push",
            "old",
            "new",
            "type",
            "name",
            "target",
            "hash",
            "slug",
            "key",
            "id",
            "fromHash",
            "toHash",
            "eventType",
            "resource",
            "refUpdates",
            "oldObjectId",
            "newObjectId",
            "unknown",
        ][..],
    );
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..8)
                .prop_map(|fields| fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    })
}

/// What comes out is under the hook's host and prefix, and is small enough to be an event.
fn is_under_the_host(provider: Provider, judged: &Judged) -> Result<(), TestCaseError> {
    let (host, prefix) = place(provider);
    let root = prefix.map_or_else(|| format!("{host}/"), |prefix| format!("{host}/{prefix}/"));
    if let Judgement::Publish(events) = &judged.judgement {
        prop_assert!(!events.is_empty());
        for identified in events {
            prop_assert!(identified.event.repository.as_str().starts_with(&root), "{}", identified.event.repository);
            prop_assert!(identified.event.encode().len() <= towline_proto::commit_event::EVENT_BYTES_MAX);
            prop_assert!(identified.event.after.is_some());
        }
    }
    Ok(())
}

proptest! {
    // Each case is nine deliveries.
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_bytes(body in prop::collection::vec(any::<u8>(), 0..200)) {
        for provider in Provider::ALL {
            prop_assert!(is_unreadable(&judge(provider, push_event(provider), body.clone())));
        }
        judge(Gitlab, "System Hook", body);
    }

    #[test]
    fn any_form(body in "payload=[ -~]{0,60}") {
        let judged = judge(Github, "push", body);
        prop_assert!(is_unreadable(&judged));
    }

    #[test]
    fn any_json(body in json()) {
        for (provider, event, _, _) in SHAPES {
            is_under_the_host(provider, &judge(provider, event, body.to_string()))?;
        }
    }

    #[test]
    fn any_texts_in_the_fields(texts in prop::collection::vec(text(), 6), which in any::<[bool; 6]>()) {
        for ((provider, event, _, pointers), body) in SHAPES.iter().zip(&*BODIES) {
            let mut body = body.clone();
            for ((pointer, text), is_changed) in pointers.iter().zip(&texts).zip(which) {
                if is_changed {
                    *body.pointer_mut(pointer).unwrap() = json!(text);
                }
            }
            is_under_the_host(*provider, &judge(*provider, event, body.to_string()))?;
        }
    }
}
