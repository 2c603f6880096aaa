//! Subjects: pinned layouts, and parse after build is the identity.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use rstest::rstest;
use towline_proto::{ClusterName, EventKind, RefName, RepositoryId, Subject, SubjectError, streams, subject};

fn cluster() -> ClusterName {
    ClusterName::parse("prod-eu-1").unwrap()
}

/// Permissions are written with these: a change here locks every agent out.
#[test]
fn layouts_are_pinned() {
    let id = RepositoryId::parse("github.com/org/fleet").unwrap();
    let main = RefName::parse("refs/heads/main").unwrap();
    let token = id.token();
    let c = cluster();
    assert_eq!(subject::commit(&id, &main), format!("towline.commit.{token}.ojswm4zpnbswczdtf5wwc2lo"));
    assert_eq!(subject::commit_all_refs(&id), format!("towline.commit.{token}.*"));
    assert_eq!(subject::reconcile_cluster(&c), "towline.reconcile.prod-eu-1");
    assert_eq!(subject::reconcile_sync(&c, "apps", "web"), "towline.reconcile.prod-eu-1.mfyha4y.o5swe");
    assert_eq!(
        subject::reconcile_filters(&c),
        ["towline.reconcile.prod-eu-1".to_owned(), "towline.reconcile.prod-eu-1.*.*".to_owned()]
    );
    assert_eq!(subject::status(&c, "apps", "web"), "towline.status.prod-eu-1.mfyha4y.o5swe");
    assert_eq!(subject::event(&c, EventKind::DriftReverted), "towline.event.prod-eu-1.drift-reverted");
    assert_eq!(subject::heartbeat(&c), "towline.heartbeat.prod-eu-1");
    assert_eq!(subject::direct_get("COMMITS", "towline.commit.a.b"), "$JS.API.DIRECT.GET.COMMITS.towline.commit.a.b");
}

#[rstest]
#[case("", SubjectError::Layout)]
#[case("towline", SubjectError::Layout)]
#[case("other.commit.a.b", SubjectError::Layout)]
#[case("towline.commit.a", SubjectError::Layout)]
#[case("towline.heartbeat.prod.eu", SubjectError::Layout)]
#[case("towline.commit.short.ojswm4zpnbswczdtf5wwc2lo", SubjectError::Repository)]
#[case("towline.commit.aaaaaaaaaaaaaaaaaaaaaaaaaa.O", SubjectError::Reference)]
#[case("towline.commit.aaaaaaaaaaaaaaaaaaaaaaaaaa.*", SubjectError::Reference)]
#[case("towline.commit.aaaaaaaaaaaaaaaaaaaaaaaaaa.nvqws3q", SubjectError::Reference)]
#[case("towline.reconcile.Prod", SubjectError::Cluster)]
#[case("towline.reconcile.prod.mfyha4y.", SubjectError::Sync)]
#[case("towline.status.prod.MFYHA4Y.o5swe", SubjectError::Sync)]
#[case("towline.status.prod.mfyha4y.o5swf", SubjectError::Sync)]
#[case("towline.event.prod.exploded", SubjectError::Kind)]
fn what_nobody_builds_is_refused(#[case] text: &str, #[case] error: SubjectError) {
    assert_eq!(Subject::parse(text), Err(error));
}

#[test]
fn kinds_are_spelled_alike_everywhere() {
    for kind in EventKind::ALL {
        assert_eq!(EventKind::parse(kind.token()), Ok(*kind));
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.token());
        assert_eq!(
            Subject::parse(&subject::event(&cluster(), *kind)).unwrap().to_string(),
            subject::event(&cluster(), *kind)
        );
    }
}

#[test]
fn streams_are_what_was_reviewed() {
    insta::assert_debug_snapshot!(streams::specs());
}

fn subjects() -> impl Strategy<Value = Subject> {
    let cluster = "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?".prop_map(|text| ClusterName::parse(&text).unwrap());
    let reference = "refs/[^\\p{C}]{1,60}".prop_map(|text| RefName::parse(&text).unwrap());
    let repository =
        "[a-z]{1,8}/[a-z]{1,8}".prop_map(|path| RepositoryId::parse(&format!("git.example/{path}")).unwrap());
    let kind = prop::sample::select(EventKind::ALL);
    (0..6, cluster, reference, repository, kind, any::<String>(), any::<String>()).prop_map(
        |(which, cluster, reference, repository, kind, namespace, name)| match which {
            0 => Subject::Commit { repository: repository.token(), reference },
            1 => Subject::ReconcileCluster { cluster },
            2 => Subject::ReconcileSync { cluster, namespace, name },
            3 => Subject::Status { cluster, namespace, name },
            4 => Subject::Event { cluster, kind },
            _ => Subject::Heartbeat { cluster },
        },
    )
}

proptest! {
    #[test]
    fn parse_after_build_is_the_identity(subject in subjects()) {
        let text = subject.to_string();
        prop_assert!(text.split('.').all(|token| !token.is_empty()), "{}", text);
        prop_assert!(text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-'), "{}", text);
        prop_assert_eq!(Subject::parse(&text), Ok(subject));
    }

    #[test]
    fn build_after_parse_is_the_identity(text in "towline\\.(commit|reconcile|status|event|heartbeat)(\\.[a-z2-7*>A-Z-]{0,26}){1,3}") {
        if let Ok(subject) = Subject::parse(&text) {
            prop_assert_eq!(subject.to_string(), text);
        }
    }
}
