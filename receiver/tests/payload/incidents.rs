//! What went wrong in other receivers, each by its name. There a body that was not thought of ended the process, or was
//! believed about where to fetch from.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use towline_receiver::Provider;
use towline_receiver::Provider::{AzureDevops, Bitbucket, BitbucketServer, Forgejo, Generic, Gitea, Github, Gitlab};
use towline_receiver::judge::Judgement;

use crate::deliveries::{headers, is_unreadable, judge, judge_with, push_event, recorded, signed, told};

/// Argo CD took `repository.links.clone` of a Bitbucket push for a list of objects without looking.
#[test]
fn cve_2025_59531_bitbucket_without_repository_links() {
    for (provider, event, name) in [
        (BitbucketServer, "repo:refs_changed", "bitbucket-server-refs-changed"),
        (Bitbucket, "repo:push", "bitbucket-push"),
    ] {
        let good = recorded(name);
        let expected = told(&judge(provider, event, good.to_string()));
        let clones = [json!(null), json!("x"), json!({}), json!([null]), json!([7]), json!([{"href": 7, "name": []}])];
        let links = clones.into_iter().map(|clone| json!({"clone": clone, "html": clone}));
        for links in links.chain([json!(null), json!(7), json!([])]) {
            let mut body = good.clone();
            body["repository"]["links"] = links;
            assert_eq!(told(&judge(provider, event, body.to_string())), expected);
        }
        let mut body = good.clone();
        body["repository"].as_object_mut().unwrap().remove("links");
        assert_eq!(told(&judge(provider, event, body.to_string())), expected);
        body.as_object_mut().unwrap().remove("repository");
        assert!(is_unreadable(&judge(provider, event, body.to_string())));
    }
}

/// Argo CD followed `commits[].repo` of a Gogs push, which was not there.
#[test]
fn cve_2025_59537_missing_fields() {
    for (provider, name) in [(Gitea, "gitea-push"), (Forgejo, "forgejo-push"), (Github, "github-push")] {
        let good = recorded(name);
        let expected = told(&judge(provider, "push", good.to_string()));
        for commits in [json!(null), json!([null]), json!([{}]), json!([{"repo": null}]), json!("x"), json!([[]])] {
            let mut body = good.clone();
            body["commits"] = commits.clone();
            body["head_commit"] = commits;
            assert_eq!(told(&judge(provider, "push", body.to_string())), expected);
        }
        for field in ["ref", "before", "after", "repository"] {
            let mut body = good.clone();
            body.as_object_mut().unwrap().remove(field);
            let told = told(&judge(provider, "push", body.to_string()));
            assert!(told.contains(&format!("the field {field} is missing")), "{told}");
        }
    }
}

/// Argo CD took the first of `resource.refUpdates` of an Azure DevOps push, which had none.
#[test]
fn cve_2025_59538_azure_without_ref_updates() {
    let good = recorded("azure-devops-push");
    let with = |updates: Value| {
        let mut body = good.clone();
        body["resource"]["refUpdates"] = updates;
        told(&judge(AzureDevops, "", body.to_string()))
    };
    let none = "200 OK ignored: no ref of Fabrikam Fiber/Fleet Config was changed";
    assert_eq!(with(json!([])), none);
    for (updates, place) in [
        (json!(null), "refUpdates is null"),
        (json!([null]), "refUpdates[0] is null"),
        (json!([{}]), "[0].name is missing"),
    ] {
        let told = with(updates);
        assert!(told.starts_with("400") && told.contains(place), "{told}");
    }
}

/// Octokit ended where a refusal came without an error to tell of: here each one has its reason, whatever is missing.
#[test]
fn cve_2023_50728_a_refusal_without_a_reason() {
    for provider in Provider::ALL {
        let delivery = signed(provider, push_event(provider), "{}");
        let good = headers(&delivery);
        let names: Vec<_> = good.keys().cloned().collect();
        let mut attempts = vec![HeaderMap::new()];
        for name in &names {
            for value in [None, Some(HeaderValue::from_static("")), HeaderValue::from_bytes(b"\xff").ok()] {
                let mut headers = good.clone();
                headers.remove(name);
                value.map(|value| headers.insert(name.clone(), value));
                attempts.push(headers);
            }
        }
        for headers in attempts {
            for body in [&b""[..], b"{}", b"{\"broken"] {
                match judge_with(provider, headers.clone(), Bytes::from_static(body)).judgement {
                    Judgement::Refuse(refusal) => assert!(!refusal.to_string().is_empty()),
                    Judgement::Answer { reason, .. } => assert!(!reason.is_empty()),
                    Judgement::Publish(_) => panic!("{provider}: nothing was said"),
                }
            }
        }
    }
}

/// Where to fetch from is not for a payload to say: the URLs in it may point anywhere.
#[test]
fn clone_url_taken_from_the_payload() {
    for (provider, event, name) in [
        (Github, "push", "github-push"),
        (Gitlab, "Push Hook", "gitlab-push"),
        (Gitlab, "System Hook", "gitlab-system-repository-update"),
        (Gitea, "push", "gitea-push"),
        (Forgejo, "push", "forgejo-push"),
        (Bitbucket, "repo:push", "bitbucket-push"),
        (BitbucketServer, "repo:refs_changed", "bitbucket-server-refs-changed"),
        (AzureDevops, "", "azure-devops-push"),
        (Generic, "push", "generic-push"),
    ] {
        let body = recorded(name);
        let mut pointed_elsewhere = body.clone();
        point_elsewhere(&mut pointed_elsewhere);
        for (field, url) in [("url", "https://attacker.example/a/b.git"), ("clone_url", "file:///etc/passwd")] {
            pointed_elsewhere[field] = json!(url);
        }
        let (honest, forged) =
            (judge(provider, event, body.to_string()), judge(provider, event, pointed_elsewhere.to_string()));
        assert_eq!(told(&honest), told(&forged));
        let Judgement::Publish(events) = forged.judgement else { panic!("{name}") };
        for identified in events {
            let event = String::from_utf8(identified.event.encode()).unwrap();
            assert!(!event.contains("attacker.example") && !event.contains("passwd"), "{event}");
        }
    }
}

/// Every text that looks like a URL, and every field that is called like one.
fn point_elsewhere(value: &mut Value) {
    let elsewhere = || json!("https://attacker.example/evil/repo.git");
    match value {
        Value::String(text) if text.contains("://") || text.starts_with("git@") => *value = elsewhere(),
        Value::Array(items) => items.iter_mut().for_each(point_elsewhere),
        Value::Object(fields) => {
            for (name, field) in fields {
                let name = name.to_lowercase();
                if name.contains("url") || name.contains("href") || name.contains("homepage") {
                    *field = elsewhere();
                } else {
                    point_elsewhere(field);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
