//! The providers' documented shapes, whole, with values made up and every URL pointing elsewhere.

use rstest::rstest;
use towline_receiver::Provider;
use towline_receiver::Provider::{AzureDevops, Bitbucket, BitbucketServer, Forgejo, Generic, Gitea, Github, Gitlab};

use crate::deliveries::{NOW, SECRET, judge, judge_with, recorded, told};

#[rstest]
#[case("github-push", Github, "push")]
#[case("github-forced", Github, "push")]
#[case("github-branch-created", Github, "push")]
#[case("github-branch-deleted", Github, "push")]
#[case("github-tag-created", Github, "push")]
#[case("github-tag-deleted", Github, "push")]
#[case("github-sha256-push", Github, "push")]
#[case("github-sha256-branch-deleted", Github, "push")]
#[case("github-create", Github, "create")]
#[case("github-delete", Github, "delete")]
#[case("github-ping", Github, "ping")]
#[case("gitlab-push", Gitlab, "Push Hook")]
#[case("gitlab-branch-created", Gitlab, "Push Hook")]
#[case("gitlab-branch-deleted", Gitlab, "Push Hook")]
#[case("gitlab-tag-push", Gitlab, "Tag Push Hook")]
#[case("gitlab-tag-deleted", Gitlab, "Tag Push Hook")]
#[case("gitlab-note", Gitlab, "Note Hook")]
#[case("gitlab-system-push", Gitlab, "System Hook")]
#[case("gitlab-system-tag-push", Gitlab, "System Hook")]
#[case("gitlab-system-repository-update", Gitlab, "System Hook")]
#[case("gitlab-system-repository-update-deleted", Gitlab, "System Hook")]
#[case("gitlab-system-project-create", Gitlab, "System Hook")]
#[case("gitlab-system-merge-request", Gitlab, "System Hook")]
#[case("gitea-push", Gitea, "push")]
#[case("gitea-forced", Gitea, "push")]
#[case("gitea-branch-created", Gitea, "push")]
#[case("gitea-tag-created", Gitea, "push")]
#[case("gitea-tag-deleted", Gitea, "push")]
#[case("gitea-create", Gitea, "create")]
#[case("gitea-delete", Gitea, "delete")]
#[case("forgejo-push", Forgejo, "push")]
#[case("forgejo-sha256-push", Forgejo, "push")]
#[case("forgejo-tag-created", Forgejo, "push")]
#[case("forgejo-tag-deleted", Forgejo, "push")]
#[case("forgejo-create", Forgejo, "create")]
#[case("forgejo-delete", Forgejo, "delete")]
#[case("bitbucket-push", Bitbucket, "repo:push")]
#[case("bitbucket-branch-created", Bitbucket, "repo:push")]
#[case("bitbucket-branch-deleted", Bitbucket, "repo:push")]
#[case("bitbucket-all-deleted", Bitbucket, "repo:push")]
#[case("bitbucket-no-change", Bitbucket, "repo:push")]
#[case("bitbucket-pull-request", Bitbucket, "pullrequest:created")]
#[case("bitbucket-server-refs-changed", BitbucketServer, "repo:refs_changed")]
#[case("bitbucket-server-branch-created", BitbucketServer, "repo:refs_changed")]
#[case("bitbucket-server-branch-deleted", BitbucketServer, "repo:refs_changed")]
#[case("bitbucket-server-personal", BitbucketServer, "repo:refs_changed")]
#[case("bitbucket-server-ping", BitbucketServer, "diagnostics:ping")]
#[case("bitbucket-server-pull-request", BitbucketServer, "pr:opened")]
#[case("azure-devops-push", AzureDevops, "")]
#[case("azure-devops-branch-created", AzureDevops, "")]
#[case("azure-devops-branch-deleted", AzureDevops, "")]
#[case("azure-devops-test", AzureDevops, "")]
#[case("azure-devops-pull-request", AzureDevops, "")]
#[case("generic-push", Generic, "push")]
#[case("generic-created", Generic, "push")]
#[case("generic-deleted", Generic, "push")]
fn shapes(#[case] name: &str, #[case] provider: Provider, #[case] event: &str) {
    let judged = judge(provider, event, recorded(name).to_string());
    let names = judged.names.as_ref().map(|names| format!("event {} in the body\n", names.event));
    insta::assert_snapshot!(name, names.unwrap_or_default() + &told(&judged));
}

#[test]
fn no_shape_is_forgotten() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let snapshots = folder.join("payload/snapshots");
    for entry in std::fs::read_dir(folder.join("payloads")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let snapshot = format!("payload__documented__{}.snap", name.trim_end_matches(".json"));
        assert!(snapshots.join(&snapshot).exists(), "{name} is read by no test");
    }
}

/// What the documentation tells a reader to recompute is what the receiver takes.
#[test]
fn the_example_of_the_generic_provider() {
    let text = include_str!("../../../docs/webhooks.md");
    let between = |start: &str, end: &str| {
        let rest = text.split_once(start).unwrap().1;
        rest.split_once(end).unwrap().0.to_owned()
    };
    assert_eq!(between("with the secret `", "`"), SECRET);
    let (signature, body) = (between("prints `", "`"), between("body='", "'"));
    let signed = between("printf %s \"", "$body\"");
    let (id, timestamp) = signed.trim_end_matches('.').split_once('.').unwrap();
    assert_eq!(timestamp, NOW.as_second().to_string());
    let mut headers = http::HeaderMap::new();
    headers.insert("webhook-id", id.parse().unwrap());
    headers.insert("webhook-timestamp", timestamp.parse().unwrap());
    headers.insert("webhook-signature", format!("v1,{signature}").parse().unwrap());
    let told = told(&judge_with(Generic, headers, body.into()));
    assert_eq!(told, "git.example/org/app refs/heads/main none -> 59b20b8d5c6f by example-1\n");
}
