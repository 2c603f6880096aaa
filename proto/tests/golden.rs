//! Every sample ever shipped decodes for ever. To add one: put the file into `golden/` and its name into the table below.
//! A file that was shipped is never edited or removed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;
use towline_proto::{ChangeEvent, CommitEvent, Envelope, Heartbeat, ReportingKey, SyncStatus, Wire, envelope};

const ENVELOPE_SUBJECT: &str = "towline.heartbeat.prod-eu-1";

type Reencode = fn(&[u8]) -> Value;

const SAMPLES: [(&str, Reencode); 8] = [
    ("commit-event.v1.json", commit_event),
    ("commit-event-deleted.v1.json", commit_event),
    ("sync-status.v1.json", report::<SyncStatus>),
    ("sync-status-deleted.v1.json", report::<SyncStatus>),
    ("change-event.v1.json", report::<ChangeEvent>),
    ("change-event-commit.v1.json", report::<ChangeEvent>),
    ("heartbeat.v1.json", report::<Heartbeat>),
    ("envelope.v1.json", opened_and_sealed_again),
];

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

fn commit_event(bytes: &[u8]) -> Value {
    let event = CommitEvent::decode(bytes).unwrap();
    serde_json::from_slice(&event.encode()).unwrap()
}

/// Through an envelope, which is how a report travels.
fn report<T: Wire + Serialize>(bytes: &[u8]) -> Value {
    let key = ReportingKey::from_seed(&[7; 32]);
    let at = "2026-03-01T12:00:00Z".parse().unwrap();
    let payload: Value = serde_json::from_slice(bytes).unwrap();
    let sealed = envelope::seal(key.signing_key(), "s", 1, 1, at, &payload).unwrap();
    let opened = envelope::open(&sealed, "s", &key.verifying_key()).unwrap();
    serde_json::to_value(opened.payload::<T>().unwrap()).unwrap()
}

/// Ed25519 is deterministic: sealing the same content again gives the same signature, or the signed bytes have changed.
fn opened_and_sealed_again(bytes: &[u8]) -> Value {
    let key = ReportingKey::from_seed(&[7; 32]);
    let shipped: Envelope = serde_json::from_slice(bytes).unwrap();
    let again = envelope::seal(
        key.signing_key(),
        ENVELOPE_SUBJECT,
        shipped.incarnation,
        shipped.sequence,
        shipped.at,
        &shipped.payload,
    )
    .unwrap();
    let opened = envelope::open(bytes, ENVELOPE_SUBJECT, &key.verifying_key())
        .unwrap_or_else(|error| panic!("{error}; sealed again: {}", String::from_utf8_lossy(&again)));
    opened.payload::<Heartbeat>().unwrap();
    serde_json::from_slice(&again).unwrap()
}

#[test]
fn every_sample_decodes_and_encodes_to_itself() {
    for (name, reencode) in SAMPLES {
        let bytes = std::fs::read(golden().join(name)).unwrap_or_else(|error| panic!("{name} is missing: {error}"));
        let expected: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(reencode(&bytes), expected, "{name}");
    }
}

#[test]
fn every_file_is_in_the_table() {
    let found: BTreeSet<String> = std::fs::read_dir(golden())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".json"))
        .collect();
    let listed: BTreeSet<String> = SAMPLES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(found, listed);
}
