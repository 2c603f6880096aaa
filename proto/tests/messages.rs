//! Names, commit events, reports and envelopes: what is refused, what is cut, and what a forger can do.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use jiff::Timestamp;
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};
use towline_proto::{
    ChangeEvent, ClusterName, CommitEvent, CommitEventError, CommitId, EnvelopeError, EventKind, Heartbeat, KeyError,
    NameError, ObjectChange, RefName, ReportingKey, RepositoryId, Rising, VersionError, Wire, commit_event, envelope,
    parse_verifying_key, report,
};

const SUBJECT: &str = "towline.heartbeat.prod";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_772_366_400 + second).unwrap()
}

fn key() -> ReportingKey {
    ReportingKey::from_seed(&[1; 32])
}

fn heartbeat() -> Heartbeat {
    let cluster = ClusterName::parse("prod").unwrap();
    Heartbeat {
        version: 1,
        cluster,
        agent_version: "0.1.0".into(),
        started_at: at(0),
        at: at(9),
        syncs: 2,
        ready: 1,
        sources: 1,
    }
}

fn event() -> CommitEvent {
    CommitEvent {
        version: CommitEvent::VERSION,
        repository: RepositoryId::parse("github.com/org/fleet").unwrap(),
        reference: RefName::parse("refs/heads/main").unwrap(),
        before: None,
        after: Some(CommitId::parse(&"a".repeat(40)).unwrap()),
        provider: "github".into(),
        hook: "/hooks/github".into(),
        delivery: "d-1".into(),
        received_at: at(0),
        traceparent: None,
    }
}

fn change_event(message: &str, changes: Vec<ObjectChange>) -> ChangeEvent {
    ChangeEvent {
        version: 1,
        cluster: ClusterName::parse("prod").unwrap(),
        kind: EventKind::Applied,
        namespace: "apps".into(),
        name: "web".into(),
        revision: None,
        sequence: Some(1),
        commit: None,
        trigger: "event".into(),
        delivery: None,
        message: message.into(),
        changes,
        changes_omitted: 0,
        started_at: at(0),
        finished_at: at(1),
    }
}

#[rstest]
#[case("prod-eu-1", true)]
#[case("1", true)]
#[case("", false)]
#[case("prod.eu", false)]
#[case("Prod", false)]
#[case("-prod", false)]
#[case("prod-", false)]
#[case("prod*", false)]
fn cluster_names_are_dns_labels(#[case] text: &str, #[case] valid: bool) {
    assert_eq!(ClusterName::parse(text).is_ok(), valid);
    assert_eq!(serde_json::from_value::<ClusterName>(json!(text)).is_ok(), valid);
}

#[rstest]
#[case("refs/heads/main", Some("main"))]
#[case("refs/tags/v1.2.0", Some("v1.2.0"))]
#[case("refs/pull/7/head", Some("pull/7/head"))]
#[case("HEAD", Some("HEAD"))]
#[case("refs/heads/ünïcode 🚢", Some("ünïcode 🚢"))]
#[case("main", None)]
#[case("", None)]
#[case("refs/", None)]
#[case("refs/heads/a\0b", None)]
#[case("refs/heads/a\nb", None)]
fn refs_are_full_names(#[case] text: &str, #[case] short: Option<&str>) {
    assert_eq!(RefName::parse(text).ok().as_ref().map(RefName::short), short);
}

#[test]
fn lengths_are_bounded() {
    assert!(ClusterName::parse(&"a".repeat(63)).is_ok());
    assert!(ClusterName::parse(&"a".repeat(64)).is_err());
    assert!(RefName::parse(&format!("refs/{}", "a".repeat(1019))).is_ok());
    assert!(RefName::parse(&format!("refs/{}", "a".repeat(1020))).is_err());
}

#[test]
fn all_zeros_name_no_commit() {
    for len in [40, 64] {
        assert_eq!(CommitId::parse_optional(&"0".repeat(len)), Ok(None));
        assert_eq!(CommitId::parse(&"0".repeat(len)), Err(NameError::ZeroCommit));
        assert!(CommitId::parse(&"9f".repeat(len / 2)).is_ok());
    }
    for zeros in [1, 7, 12, 39, 41, 128] {
        assert_eq!(CommitId::parse_optional(&"0".repeat(zeros)), Ok(None));
        assert_eq!(CommitId::parse(&"0".repeat(zeros)), Err(NameError::ZeroCommit));
    }
    for text in ["", "abc", "0000001", &"A".repeat(40), &"g".repeat(40), &"a".repeat(41)] {
        assert_eq!(CommitId::parse_optional(text), Err(NameError::Commit), "{text}");
    }
}

#[test]
fn versions_are_judged_before_content() {
    let unknown = CommitEvent::decode(br#"{"version":2,"repository":7}"#).unwrap_err();
    assert!(matches!(unknown, CommitEventError::Content(VersionError::Unknown { found: 2, known: 1 })));
    let missing = CommitEvent::decode(br#"{"repository":"x"}"#).unwrap_err();
    assert!(matches!(missing, CommitEventError::Content(VersionError::Missing)));
    assert!(matches!(CommitEvent::decode(b"").unwrap_err(), CommitEventError::Content(VersionError::Malformed(_))));
    assert!(matches!(CommitEvent::decode(&[b' '; 9000]).unwrap_err(), CommitEventError::TooLarge { bytes: 9000 }));
}

#[test]
fn an_unknown_field_is_ignored() {
    let mut value: Value = serde_json::from_slice(&event().encode()).unwrap();
    value["added_later"] = json!({"x": 1});
    assert_eq!(CommitEvent::decode(value.to_string().as_bytes()).unwrap(), event());
}

#[test]
fn what_is_too_long_is_cut_visibly_and_counted() {
    let fields = vec!["spec.".repeat(100); 40];
    let changes =
        (0..500).map(|i| ObjectChange::new(format!("Deployment/apps/{i}"), "configured", fields.clone())).collect();
    let event = change_event(&"\u{1b}ü".repeat(4000), changes).bounded();
    assert!(event.message.len() <= report::MESSAGE_BYTES_MAX && event.message.ends_with("(cut)"));
    assert!(!event.message.contains('\u{1b}'));
    assert_eq!(event.changes.len() + event.changes_omitted as usize, 500);
    assert_eq!(event.changes[0].fields.len() + event.changes[0].fields_omitted as usize, 40);
    assert_eq!(event.clone().bounded(), event, "cutting twice changes nothing");
    envelope::seal(key().signing_key(), SUBJECT, 1, 1, at(0), &event).unwrap();
    let many = (0..500).map(|i| ObjectChange::new(format!("{i}"), "created", vec![])).collect();
    assert_eq!(change_event("", many).bounded().changes.len(), report::CHANGES_MAX);
}

#[test]
fn a_sealed_report_opens_for_its_subject_and_key_only() {
    let sealed = envelope::seal(key().signing_key(), SUBJECT, 5, 7, at(3), &heartbeat()).unwrap();
    let opened = envelope::open(&sealed, SUBJECT, &key().verifying_key()).unwrap();
    assert_eq!((opened.incarnation(), opened.sequence(), opened.at()), (5, 7, at(3)));
    assert_eq!(opened.payload::<Heartbeat>().unwrap(), heartbeat());
    let other = envelope::open(&sealed, "towline.heartbeat.other", &key().verifying_key());
    assert!(matches!(other, Err(EnvelopeError::Subject)));
    let stranger = ReportingKey::from_seed(&[2; 32]).verifying_key();
    assert!(matches!(envelope::open(&sealed, SUBJECT, &stranger), Err(EnvelopeError::Signature)));
}

#[rstest]
#[case("incarnation", json!(6))]
#[case("sequence", json!(8))]
#[case("at", json!("2026-03-01T12:00:04Z"))]
#[case("payload", json!({"version": 1}))]
#[case("signature", json!(""))]
#[case("signature", json!("AAAA"))]
fn nothing_signed_can_be_changed(#[case] field: &str, #[case] value: Value) {
    let sealed = envelope::seal(key().signing_key(), SUBJECT, 5, 7, at(3), &heartbeat()).unwrap();
    let mut forged: Value = serde_json::from_slice(&sealed).unwrap();
    forged[field] = value;
    let opened = envelope::open(forged.to_string().as_bytes(), SUBJECT, &key().verifying_key());
    assert!(matches!(opened, Err(EnvelopeError::Signature)));
}

#[test]
fn only_what_rises_is_accepted() {
    let open = |incarnation, sequence| {
        let sealed = envelope::seal(key().signing_key(), SUBJECT, incarnation, sequence, at(0), &heartbeat()).unwrap();
        envelope::open(&sealed, SUBJECT, &key().verifying_key()).unwrap()
    };
    let mut rising = Rising::default();
    let mut accepts = |incarnation, sequence| rising.accept(&open(incarnation, sequence)).is_ok();
    assert!(accepts(1, 0));
    assert!(!accepts(1, 0));
    assert!(accepts(1, 5));
    assert!(!accepts(1, 4));
    assert!(accepts(2, 0), "a restart begins anew");
    assert!(!accepts(1, 6), "and the one before it has ended");
}

#[test]
fn keys_are_read_and_written_as_base64() {
    let text = key().verifying_key_text();
    assert_eq!(parse_verifying_key(&format!(" {text}\n")), Ok(key().verifying_key()));
    let seed = data_encoding::BASE64.encode(&[1; 32]);
    assert_eq!(ReportingKey::parse(&seed).unwrap().verifying_key(), key().verifying_key());
    assert_eq!(ReportingKey::parse("AAAA").err(), Some(KeyError::Seed));
    assert_eq!(parse_verifying_key("AAAA"), Err(KeyError::Verifying));
    let identity = data_encoding::BASE64.encode(&[&[1u8][..], &[0; 31]].concat());
    assert_eq!(parse_verifying_key(&identity), Err(KeyError::Weak), "anything verifies under a point of small order");
}

proptest! {
    #[test]
    fn an_event_is_small_and_reads_back(
        name in "[^\\p{C}]{1,400}", path in "[^\\p{C}/]{1,200}", delivery in any::<String>(), hook in "\"{0,500}", trace in any::<Option<String>>(),
    ) {
        let reference = RefName::parse(&format!("refs/{name}"));
        let repository = RepositoryId::from_hook("git.example", None, &path);
        prop_assume!(reference.is_ok() && repository.is_ok());
        let sent = CommitEvent { reference: reference.unwrap(), repository: repository.unwrap(), delivery, hook, traceparent: trace, ..event() };
        let bytes = sent.encode();
        prop_assert!(bytes.len() <= commit_event::EVENT_BYTES_MAX);
        let read = CommitEvent::decode(&bytes).unwrap();
        prop_assert!(read.delivery.len() <= commit_event::DELIVERY_BYTES_MAX);
        prop_assert!(read.delivery.bytes().all(|b| b.is_ascii_graphic()));
        prop_assert_eq!(read, sent.bounded());
    }

    #[test]
    fn a_cut_is_no_longer_than_asked(text in any::<String>(), max in 16usize..64) {
        let cut = towline_proto::bounds::cut(&text, max);
        prop_assert!(cut.len() <= max);
        prop_assert_eq!(towline_proto::bounds::cut(&cut, max), cut);
    }

    #[test]
    fn bytes_from_anywhere_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = CommitEvent::decode(&bytes);
        let _ = envelope::open(&bytes, SUBJECT, &key().verifying_key());
    }
}
