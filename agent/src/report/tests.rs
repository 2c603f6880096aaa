use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use towline_plan::check::Held;
use towline_plan::object::{GroupKind, ObjectId, SyncKey};
use towline_plan::schedule::sync::{Look, Trigger};
use towline_plan::wait::Wait;
use towline_proto::report::EventKind;
use towline_proto::{ClusterName, CommitId, CommitInfo};

use super::*;
use crate::api::{self, ConditionStatus, Sync, SyncStatus};
use crate::pass::{Action, Deed, End, Failure, Outcome, Pass, Reason, Revision};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000).unwrap() + SignedDuration::from_secs(seconds)
}

/// A pass of a Sync with this status at this revision.
pub(crate) fn pass(status: Option<SyncStatus>, revision: u8) -> Pass {
    let mut sync: Sync = serde_json::from_value(json!({
        "apiVersion": "towline.dev/v1alpha1", "kind": "Sync",
        "metadata": {"name": "a", "namespace": "ns", "generation": 3, "annotations": {(api::REQUESTED_AT): "noon"}},
        "spec": {"sourceRef": {"kind": "GitSource", "name": "s"}, "prune": true},
    }))
    .unwrap();
    sync.status = status;
    // Nothing is read from it.
    let storage = tempfile::tempdir().unwrap();
    Pass {
        key: SyncKey { namespace: "ns".to_owned(), name: "a".to_owned() },
        sync: Arc::new(sync),
        revision: Revision {
            commit: CommitId::parse(&format!("{revision:040x}")).unwrap(),
            name: format!("main@sha1:{revision}"),
            sequence: u64::from(revision),
            about: None,
            delivery: Some("delivery-1".to_owned()),
        },
        trigger: Trigger::Revision,
        look: Look::All,
        waiting_since: None,
        needs: crate::pass::Needs::default(),
        fights: None,
        mirror: Some(crate::mirror::Mirror::open(storage.path(), "https://git.example/org/s").unwrap()),
        inventory: None,
        started_at: at(0),
        halt: CancellationToken::new(),
    }
}

fn id(kind: &str, name: &str) -> ObjectId {
    ObjectId { kind: GroupKind::new("", kind), namespace: Some("ns".to_owned()), name: name.to_owned() }
}

fn done(name: &str, deed: Deed) -> Action {
    Action { id: id("ConfigMap", name), deed }
}

fn outcome(end: End, actions: Vec<Action>) -> Outcome {
    Outcome { end, actions, ..Outcome::untouched() }
}

fn failed(message: &str, retryable: bool) -> End {
    End::Failed(Failure { reason: Reason::ReconciliationFailed, message: message.to_owned(), retryable })
}

fn held(held: Held) -> End {
    End::Held(held, vec![id("ConfigMap", "old")])
}

/// `Ready=False ReconciliationFailed, Reconciling=True ProgressingWithRetry`.
fn said(status: &SyncStatus) -> String {
    let said = status.conditions.iter().map(|c| format!("{}={} {}", c.type_, c.status, c.reason));
    let mut said: Vec<_> = said.collect();
    said.sort();
    said.join(", ")
}

#[test]
fn what_cannot_be_watched_is_said_until_a_pass_finds_otherwise() {
    let kind = GroupKind::new("a.test", "Widget");
    let blind = Outcome { unwatched: vec![(kind, "403".to_owned())], ..outcome(End::Succeeded, Vec::new()) };
    let first = status(&pass(None, 1), &blind, at(1));
    let message = |status: &SyncStatus| {
        status.conditions.iter().find(|c| c.type_ == api::READY).map(|c| (c.status.clone(), c.message.clone())).unwrap()
    };
    let said = "; cannot be watched: Widget.a.test (403): drift of these is found at the interval only";
    assert_eq!(message(&first), ("True".to_owned(), format!("Applied revision: main@sha1:1{said}")));
    let untouched = status(&pass(Some(first.clone()), 2), &Outcome::untouched(), at(2));
    assert_eq!(message(&untouched).1, format!("Applied revision: main@sha1:2{said}"));
    let seen = status(&pass(Some(untouched), 3), &outcome(End::Succeeded, Vec::new()), at(3));
    assert_eq!(message(&seen).1, "Applied revision: main@sha1:3");
}

#[test]
fn every_end_has_its_conditions() {
    let said = |end: End| said(&status(&pass(None, 1), &outcome(end, Vec::new()), at(1)));
    assert_eq!(said(End::Succeeded), "Ready=True ReconciliationSucceeded");
    assert_eq!(said(End::Untouched), "Ready=True ReconciliationSucceeded");
    assert_eq!(said(failed("503", true)), "Ready=False ReconciliationFailed, Reconciling=True ProgressingWithRetry");
    assert_eq!(said(failed("bad", false)), "Ready=False ReconciliationFailed, Stalled=True ReconciliationFailed");
    assert_eq!(said(held(Held::Emptied { entries: 1 })), "Ready=False PruneHeld, Stalled=True PruneHeld");
    assert_eq!(said(End::Superseded), "Ready=Unknown Progressing");
}

#[test]
fn one_end_takes_back_what_another_said() {
    let mut last = None;
    for (end, expected) in [
        (failed("503", true), "Ready=False ReconciliationFailed, Reconciling=True ProgressingWithRetry"),
        (failed("bad", false), "Ready=False ReconciliationFailed, Stalled=True ReconciliationFailed"),
        (End::Succeeded, "Ready=True ReconciliationSucceeded"),
    ] {
        let new = status(&pass(last, 1), &outcome(end, Vec::new()), at(1));
        assert_eq!(said(&new), expected);
        last = Some(new);
    }
}

#[test]
fn transition_times_move_with_the_status_only() {
    let first = status(&pass(None, 1), &outcome(failed("503", true), Vec::new()), at(1));
    let second = status(&pass(Some(first), 1), &outcome(failed("504", true), Vec::new()), at(60));
    assert!(second.conditions.iter().all(|c| c.last_transition_time.0 == at(1)), "{:?}", second.conditions);
}

#[test]
fn only_what_was_applied_is_called_applied() {
    let good = status(&pass(None, 1), &outcome(End::Succeeded, Vec::new()), at(1));
    assert_eq!(good.last_applied_revision.as_deref(), Some("main@sha1:1"));
    for end in [failed("503", true), held(Held::Unapplied), End::Superseded] {
        let bad = status(&pass(Some(good.clone()), 2), &outcome(end, Vec::new()), at(2));
        assert_eq!(bad.last_applied_revision.as_deref(), Some("main@sha1:1"));
        assert_eq!(bad.last_attempted_revision.as_deref(), Some("main@sha1:2"));
        assert_eq!(bad.last_attempted_sequence, Some(2));
    }
    assert_eq!(good.observed_generation, Some(3));
    assert_eq!(good.last_handled_reconcile_at.as_deref(), Some("noon"));
}

#[test]
fn the_same_failure_is_counted_and_is_hardly_news() {
    let first = status(&pass(None, 1), &outcome(failed("503", true), Vec::new()), at(1));
    assert_eq!(news(None, &first), News::Some);
    let second = status(&pass(Some(first.clone()), 1), &outcome(failed("503", true), Vec::new()), at(60));
    assert_eq!((second.history.len(), second.history[0].times, second.history[0].at.0), (1, 2, at(60)));
    assert_eq!(news(Some(&first), &second), News::Repetition);
    let other = status(&pass(Some(second.clone()), 1), &outcome(failed("504", true), Vec::new()), at(120));
    assert_eq!(news(Some(&second), &other), News::Some, "another message is news");
    let mended = status(&pass(Some(second.clone()), 1), &outcome(End::Succeeded, Vec::new()), at(120));
    assert_eq!(news(Some(&second), &mended), News::Some);
    let again = status(&pass(Some(mended.clone()), 1), &outcome(End::Succeeded, Vec::new()), at(180));
    assert_eq!(news(Some(&mended), &again), News::None);
}

#[test]
fn history_keeps_the_newest_ten_that_say_something() {
    let mut last = None;
    for revision in 1..=12 {
        let created = vec![done("c", Deed::Created)];
        last = Some(status(&pass(last, revision), &outcome(End::Succeeded, created), at(i64::from(revision))));
    }
    let last = status(&pass(last, 13), &outcome(End::Succeeded, Vec::new()), at(13));
    let revisions: Vec<_> = last.history.iter().map(|h| h.revision.clone().unwrap()).collect();
    assert_eq!(revisions, (3..=12).rev().map(|r| format!("main@sha1:{r}")).collect::<Vec<_>>());
    assert_eq!(last.history[0].summary, "1 created");
}

#[test]
fn notes_tell_deeds_and_failures() {
    let told = |outcome: &Outcome| -> Vec<String> {
        notes(&pass(None, 1), outcome).iter().map(|n| format!("{:?} {}: {}", n.kind, n.reason, n.text)).collect()
    };
    assert!(told(&Outcome::untouched()).is_empty());
    assert!(told(&outcome(End::Succeeded, Vec::new())).is_empty());
    let created = vec![done("a", Deed::Created), done("b", Deed::Skipped("already gone".to_owned()))];
    assert_eq!(
        told(&outcome(End::Succeeded, created.clone())),
        ["Normal ReconciliationSucceeded: main@sha1:1: ConfigMap/ns/a created, ConfigMap/ns/b skipped: already gone"]
    );
    let reverted = vec![done("a", Deed::Reverted("it was deleted".to_owned().into()))];
    assert_eq!(
        told(&outcome(End::Succeeded, reverted)),
        ["Normal DriftReverted: main@sha1:1: ConfigMap/ns/a reverted: it was deleted"]
    );
    assert_eq!(
        told(&outcome(failed("503", true), created[..1].to_vec())),
        ["Normal Progressing: main@sha1:1, in part: ConfigMap/ns/a created", "Warning ReconciliationFailed: 503"]
    );
    let rebuilt = Outcome { rebuilt: Some("it is gone".to_owned()), ..outcome(End::Succeeded, Vec::new()) };
    assert!(
        told(&rebuilt)[0].starts_with("Warning InventoryRebuilt: The inventory could not be believed (it is gone)")
    );
}

#[test]
fn held_deletions_say_which_and_what_to_do() {
    let text = |h: Held| ready(&pass(None, 1), &outcome(held(h), Vec::new())).message;
    for message in [text(Held::Ceiling { allowed: 1, entries: 4, deletions: 2 }), text(Held::Emptied { entries: 4 })] {
        assert!(
            message.contains("ConfigMap/ns/old") && message.contains("towline.dev/allow-deletions=main@sha1:1"),
            "{message}"
        );
    }
    let rebuilt = text(Held::Rebuilt { digest: "abc".to_owned() });
    assert!(rebuilt.contains("towline.dev/accept-inventory=abc"), "{rebuilt}");
}

#[test]
fn reports_name_each_kind_of_change_once() {
    let cluster = ClusterName::parse("prod").unwrap();
    let of = |outcome: &Outcome| changes(&pass(None, 1), outcome, &cluster, at(9));
    assert!(of(&outcome(End::Succeeded, Vec::new())).is_empty());
    let actions = vec![
        done("a", Deed::Created),
        done("b", Deed::Reverted("it was changed by kubectl".to_owned().into())),
        done("c", Deed::Deleted),
    ];
    let mixed = Outcome { rebuilt: Some("it is gone".to_owned()), ..outcome(failed("503", true), actions) };
    let told = of(&mixed);
    let kinds: Vec<_> = told.iter().map(|c| (c.kind.token(), c.changes.len())).collect();
    assert_eq!(kinds, [("applied", 1), ("drift-reverted", 1), ("pruned", 1), ("failed", 0), ("inventory-rebuilt", 0)]);
    assert_eq!(told[3].message, "503");
    assert!(told[4].message.contains("it is gone"), "{}", told[4].message);
    assert!(told.iter().all(|c| c.delivery.as_deref() == Some("delivery-1") && c.finished_at == at(9)));
    assert_eq!(of(&outcome(held(Held::Emptied { entries: 1 }), Vec::new()))[0].kind, EventKind::PruneHeld);
}

#[test]
fn what_the_status_says_already_is_reported_once_for_each_revision() {
    let cluster = ClusterName::parse("prod").unwrap();
    for end in [failed("503", true), held(Held::Emptied { entries: 1 })] {
        let first = outcome(end, Vec::new());
        let said = status(&pass(None, 1), &first, at(1));
        let again = pass(Some(said.clone()), 1);
        assert!(changes(&again, &first, &cluster, at(2)).is_empty(), "the same again");
        let newer = Pass { revision: Revision { name: "main@sha1:2".to_owned(), ..again.revision.clone() }, ..again };
        assert_eq!(changes(&newer, &first, &cluster, at(2)).len(), 1, "of another commit");
        let other = outcome(failed("another", true), Vec::new());
        assert_eq!(changes(&pass(Some(said), 1), &other, &cluster, at(2)).len(), 1);
    }
}

#[test]
fn long_lists_are_cut_and_counted() {
    let actions: Vec<_> = (0..14).map(|i| done(&format!("c{i}"), Deed::Created)).collect();
    let note = &notes(&pass(None, 1), &outcome(End::Succeeded, actions))[0];
    assert!(note.text.ends_with("ConfigMap/ns/c9 created and 4 more"), "{}", note.text);
}

/// A Secret is named; nothing of what it holds has a way into what is said.
#[test]
fn of_a_secret_only_the_name_is_said() {
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"password": "hunter2"}});
    let desired = towline_plan::desired::Desired {
        id: id("Secret", "s"),
        version: "v1".to_owned(),
        digest: towline_plan::object::digest(&secret),
        value: secret,
        origin: towline_plan::object::Origin { path: "s.yaml".to_owned(), line: 1 },
        policy: Default::default(),
        awaits_definition: false,
        namespace_in_set: false,
        ignored: Default::default(),
    };
    let redactor = towline_plan::redact::Redactor::new(&[desired]);
    let message = redactor.clean("Secret/ns/s", "admission webhook denied: password hunter2 (aHVudGVyMg==) is weak");
    let actions = vec![Action { id: id("Secret", "s"), deed: Deed::Configured }];
    let (pass, outcome) = (pass(None, 1), outcome(failed(&message, true), actions));
    let cluster = ClusterName::parse("prod").unwrap();
    let all = format!(
        "{:?} {:?} {:?} {:?}",
        status(&pass, &outcome, at(1)),
        notes(&pass, &outcome),
        changes(&pass, &outcome, &cluster, at(1)),
        sync_status(&pass.sync, &cluster, false, at(1)),
    );
    assert!(all.contains("Secret/ns/s") && all.contains("password ***"), "{all}");
    assert!(!all.contains("hunter2") && !all.contains("aHVudGVyMg"), "{all}");
}

#[test]
fn a_fleet_hears_what_the_status_says() {
    let cluster = ClusterName::parse("prod").unwrap();
    let mut sync = (*pass(None, 4).sync).clone();
    let unknown = sync_status(&sync, &cluster, false, at(1));
    assert_eq!(unknown.ready.status, towline_proto::report::ReadyStatus::Unknown);
    sync.status = Some(status(&pass(None, 4), &outcome(failed("503", true), Vec::new()), at(1)));
    let told = sync_status(&sync, &cluster, true, at(2));
    assert_eq!(told.ready.message, "503");
    assert_eq!((told.sequence, told.deleted, told.generation), (Some(4), true, 3));
}

#[test]
fn a_pass_that_waits_claims_nothing_and_fails_nothing() {
    let pass = pass(None, 1);
    let wait = Wait::Healthy(vec![(id("Pod", "p"), "0 of 1 ready".to_owned())]);
    let waiting = outcome(End::Waiting(vec![wait]), Vec::new());
    let status = status(&pass, &waiting, at(1));
    let conditions: Vec<_> =
        status.conditions.iter().map(|c| (c.type_.as_str(), c.status.as_str(), c.reason.as_str())).collect();
    assert_eq!(conditions, [("Reconciling", "True", "Progressing"), ("Ready", "Unknown", "Progressing")]);
    assert!(status.conditions[1].message.contains("Pod/ns/p (0 of 1 ready)"), "{status:?}");
    assert_eq!(status.last_applied_revision, None);
    assert!(status.history.is_empty());
    let told = notes(&pass, &waiting);
    assert_eq!((told.len(), told[0].kind), (1, crate::cluster::EventKind::Normal), "{told:?}");
    assert!(notes(&self::pass(Some(status.clone()), 1), &waiting).is_empty(), "once, not with every look");
    let infra = Wait::Dependencies(vec![(pass.key.clone(), "not ready".to_owned())]);
    let blocked = ready(&pass, &outcome(End::Waiting(vec![infra]), Vec::new()));
    assert_eq!((blocked.status, blocked.reason.as_str()), (ConditionStatus::Unknown, "DependencyNotReady"));
}

#[test]
fn a_new_revision_is_told_with_whose_change_it_is() {
    let source: crate::api::GitSource = serde_json::from_value(json!({
        "apiVersion": "towline.dev/v1alpha1", "kind": "GitSource", "metadata": {"name": "fleet", "namespace": "apps"},
        "spec": {"url": "https://git.example/org/fleet", "ref": {"branch": "main"}},
        "status": {"conditions": [{
            "type": "Ready", "status": "True", "reason": "Succeeded", "message": "stored",
            "lastTransitionTime": "2026-01-02T03:04:05Z",
        }]},
    }))
    .unwrap();
    let about = CommitInfo {
        author: "Ada <ada@example.org>".to_owned(),
        subject: "three \"replicas\"".to_owned(),
        signers: vec!["commit 1 by SSH key SHA256:2".to_owned()],
        ..CommitInfo::of(CommitId::parse(&"1".repeat(40)).unwrap())
    };
    let text = |about, is_new| super::source_note(&source, about, is_new).unwrap().text;
    let whole = "stored: \"three \\\"replicas\\\"\" by Ada <ada@example.org>, verified: commit 1 by SSH key SHA256:2";
    assert_eq!(text(Some(&about), true), whole);
    assert_eq!((text(Some(&about), false), text(None, true)), ("stored".to_owned(), "stored".to_owned()));
}
