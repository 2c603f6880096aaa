//! The body of a push in each provider's documented shape, with the fields that matter and no others. Pure; knows nothing of
//! signatures.

use serde_json::{Value, json};

use super::Push;
use crate::provider::Provider;

/// What Git hosts write where there is no commit.
const NO_COMMIT: &str = "0000000000000000000000000000000000000000";

/// The delivery's id is in the body where no header has it.
pub(super) fn of_push(provider: Provider, push: &Push<'_>, id: &str) -> Value {
    let (before, after) = (push.before.unwrap_or(NO_COMMIT), push.after.unwrap_or(NO_COMMIT));
    match provider {
        Provider::Github => json!({
            "ref": push.reference,
            "before": before,
            "after": after,
            "created": push.before.is_none(),
            "deleted": push.after.is_none(),
            "forced": false,
            "repository": { "full_name": push.repository },
        }),
        Provider::Gitea | Provider::Forgejo => json!({
            "ref": push.reference,
            "before": before,
            "after": after,
            "repository": { "full_name": push.repository },
        }),
        Provider::Gitlab => json!({
            "object_kind": if push.is_tag() { "tag_push" } else { "push" },
            "ref": push.reference,
            "before": before,
            "after": after,
            "checkout_sha": push.after,
            "project": { "path_with_namespace": push.repository },
        }),
        Provider::Bitbucket => bitbucket(push),
        Provider::BitbucketServer => bitbucket_server(push, before, after),
        Provider::AzureDevops => azure_devops(push, before, after, id),
        Provider::Generic => json!({
            "repository": push.repository,
            "ref": push.reference,
            "before": before,
            "after": after,
        }),
    }
}

/// Bitbucket Cloud says `branch` or `tag` and the short name; null where there is no commit.
fn bitbucket(push: &Push<'_>) -> Value {
    let (kind, name) = match push.reference.strip_prefix("refs/tags/") {
        Some(name) => ("tag", name),
        None => ("branch", short(push.reference)),
    };
    let side = |commit: Option<&str>| {
        commit.map(|hash| json!({ "type": kind, "name": name, "target": { "type": "commit", "hash": hash } }))
    };
    json!({
        "repository": { "type": "repository", "full_name": push.repository },
        "push": { "changes": [{
            "old": side(push.before),
            "new": side(push.after),
            "created": push.before.is_none(),
            "closed": push.after.is_none(),
            "forced": false,
        }] },
    })
}

fn bitbucket_server(push: &Push<'_>, before: &str, after: &str) -> Value {
    let (project, slug) = push.repository.rsplit_once('/').unwrap_or_default();
    let change = match (push.before, push.after) {
        (None, _) => "ADD",
        (Some(_), None) => "DELETE",
        (Some(_), Some(_)) => "UPDATE",
    };
    json!({
        "eventKey": "repo:refs_changed",
        "repository": { "slug": slug, "scmId": "git", "project": { "key": project } },
        "changes": [{
            "ref": {
                "id": push.reference,
                "displayId": short(push.reference),
                "type": if push.is_tag() { "TAG" } else { "BRANCH" },
            },
            "refId": push.reference,
            "fromHash": before,
            "toHash": after,
            "type": change,
        }],
    })
}

fn azure_devops(push: &Push<'_>, before: &str, after: &str, id: &str) -> Value {
    let (project, repository) = push.repository.rsplit_once('/').unwrap_or_default();
    json!({
        "id": id,
        "eventType": "git.push",
        "publisherId": "tfs",
        "resource": {
            "refUpdates": [{ "name": push.reference, "oldObjectId": before, "newObjectId": after }],
            "repository": { "name": repository, "project": { "name": project } },
        },
        "resourceVersion": "1.0",
    })
}

fn short(reference: &str) -> &str {
    reference.strip_prefix("refs/heads/").or_else(|| reference.strip_prefix("refs/tags/")).unwrap_or(reference)
}
