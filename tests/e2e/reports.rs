//! What an agent says on NATS: signed with its own key, for one subject, and about what really happened.

use async_nats::jetstream;
use harness::git_server::Fault;
use harness::towline::field;
use harness::wait_until;
use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DeleteParams, ListParams};
use towline_agent::api::Sync;
use towline_proto::report::{ChangeEvent, EventKind, ReadyStatus, SyncStatus};
use towline_proto::{
    ClusterName, Envelope, EnvelopeError, Opened, VerifyingKey, envelope, parse_verifying_key, streams, subject,
};

use crate::world::{PATIENCE, World, delivery_id};

#[tokio::test(flavor = "multi_thread")]
async fn the_status_and_each_change_are_reported_and_signed() {
    let world = World::new("reports").await;
    let first = world.repo.commit(&[("a.yaml", &world.config_map("a", "1"))]).await.unwrap();
    world.sync().await;
    world.ready_at(&first).await;
    world.listening().await;
    let second = world.push(&[("a.yaml", &world.config_map("a", "2"))]).await;
    world.ready_at(&second).await;

    let revision = format!("main@sha1:{second}");
    let reports = Reports::of(&world).await;
    let (status, changes) = (reports.status(), subject::event(&reports.cluster, EventKind::Applied));
    let opened = reports.newest(streams::STATUS, &status, |opened| {
        let status: SyncStatus = opened.payload().unwrap();
        status.last_applied_revision.as_ref() == Some(&revision)
    });
    let (opened, bytes) = opened.await;
    let said: SyncStatus = opened.payload().unwrap();
    assert_eq!((said.namespace.as_str(), said.name.as_str()), (world.namespace.as_str(), "fleet"));
    assert_eq!((said.cluster.as_str(), said.ready.status), (world.namespace.as_str(), ReadyStatus::True));
    assert_eq!((said.inventory_entries, said.deleted), (1, false));

    let change = reports.of_applied(&second).await;
    assert_eq!(change.delivery, Some(delivery_id(&second)));
    let commit = change.commit.clone().expect("whose change it is");
    assert_eq!((commit.id.to_string(), commit.subject.is_empty()), (second.clone(), false), "{commit:?}");
    assert_eq!((commit.author.as_str(), &commit.committer), ("Towline Tests <tests@towline.dev>", &commit.author));
    assert_eq!(commit.parents.iter().map(ToString::to_string).collect::<Vec<_>>(), [first.as_str()]);
    assert!(commit.signers.is_empty(), "nothing is demanded: {commit:?}");
    assert_eq!(change.changes.len(), 1, "{change:?}");
    assert_eq!(change.changes[0].action, "configured");
    assert!(change.changes[0].object.contains("/a"), "{change:?}");

    let updated = reports.of_source(EventKind::SourceUpdated, 2).await;
    assert_eq!(updated[1].commit.as_ref(), Some(&commit), "the source tells the same");
    let told = |name: &str| format!("towline.dev/commit-{name}");
    let annotated = |event: &Event| {
        let notes = event.metadata.annotations.clone().unwrap_or_default();
        let has = |name, value: &str| notes.get(&told(name)).is_some_and(|note| note == value);
        has("id", &second) && has("author", &commit.author) && has("subject", &commit.subject) && has("parents", &first)
    };
    let events: Api<Event> = Api::namespaced(world.client.clone(), &world.namespace);
    wait_until("the Events of source and Sync say whose change it is", PATIENCE, async || {
        let events = events.list(&ListParams::default()).await.map_err(|e| e.to_string())?.items;
        let of = |reason: &str| events.iter().any(|e| e.reason.as_deref() == Some(reason) && annotated(e));
        if of("NewArtifact") && of("ReconciliationSucceeded") { Ok(()) } else { Err(format!("{events:#?}")) }
    })
    .await
    .unwrap();

    // It is the signature that counts, and the subject is under it.
    assert!(matches!(envelope::open(&bytes, &changes, &reports.key), Err(EnvelopeError::Subject)));
    let mut forged: Envelope = serde_json::from_slice(&bytes).unwrap();
    forged.sequence += 1;
    let forged = serde_json::to_vec(&forged).unwrap();
    assert!(matches!(envelope::open(&forged, &status, &reports.key), Err(EnvelopeError::Signature)));

    // A Sync that goes leaves a last word.
    let syncs: Api<Sync> = Api::namespaced(world.client.clone(), &world.namespace);
    syncs.delete("fleet", &DeleteParams::default()).await.unwrap();
    reports.newest(streams::STATUS, &status, |opened| opened.payload::<SyncStatus>().unwrap().deleted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_fails_is_reported_once_for_each_cause_and_so_is_its_recovery() {
    let mut world = World::new("report-sources").await;
    let first = world.repo.commit(&[("a.yaml", &world.config_map("a", "1"))]).await.unwrap();
    world.sync().await;
    world.ready_at(&first).await;
    world.listening().await;
    let reports = Reports::of(&world).await;
    let updated = reports.of_source(EventKind::SourceUpdated, 1).await;
    assert_eq!((updated[0].trigger.as_str(), updated[0].name.as_str()), ("poll", "fleet"));
    assert_eq!(updated[0].revision, Some(format!("main@sha1:{first}")));
    assert_eq!(updated[0].sequence, world.source().await.status.unwrap().sequence);

    // It keeps failing, also over a restart: that is one report. Another cause is another one.
    world.git.set_fault(Fault::Status(500)).await.unwrap();
    let second = world.push(&[("a.yaml", &world.config_map("a", "2"))]).await;
    let failed = reports.of_source(EventKind::SourceFailed, 1).await;
    assert!(failed[0].message.contains("GitOperationFailed") && failed[0].message.contains("HTTP 500"), "{failed:?}");
    assert_eq!((failed[0].trigger.as_str(), failed[0].delivery.clone()), ("event", Some(delivery_id(&second))));
    assert_eq!(failed[0].revision, Some(format!("main@sha1:{first}")), "what stays in use");
    world.event("GitOperationFailed", &["HTTP 500"]).await;
    let before = world.git.request_count();
    world.agent.restart().unwrap();
    wait_until("it has failed again after the restart", PATIENCE, async || {
        let now = world.git.request_count();
        if now > before + 2 { Ok(()) } else { Err(format!("{now} requests, {before} before")) }
    })
    .await
    .unwrap();
    world.git.set_fault(Fault::Status(404)).await.unwrap();
    world.request_fetch("another cause").await;
    let failed = reports.of_source(EventKind::SourceFailed, 2).await;
    assert!(failed[1].message.contains("HTTP 404"), "{failed:#?}");
    let lines = world.agent.log_lines();
    let said = lines.iter().filter(|line| field(line, "message") == Some("the source is not ready")).count();
    assert_eq!(said, 2, "the log says it as often");

    world.git.set_fault(Fault::None).await.unwrap();
    world.request_fetch("it is back").await;
    world.ready_at(&second).await;
    let updated = reports.of_source(EventKind::SourceUpdated, 2).await;
    assert_eq!(updated[1].revision, Some(format!("main@sha1:{second}")));
    // The event was heard again after the restart, and it is what the revision came by.
    assert_eq!((updated[1].trigger.as_str(), updated[1].delivery.clone()), ("event", Some(delivery_id(&second))));
    world.event("NewArtifact", &[&second]).await;
    assert_eq!(reports.of_source(EventKind::SourceFailed, 2).await.len(), 2);
}

/// A reader who has been told the agent's public key.
pub struct Reports {
    cluster: ClusterName,
    namespace: String,
    key: VerifyingKey,
    jetstream: jetstream::Context,
}

impl Reports {
    pub async fn of(world: &World) -> Self {
        let lines = world.agent.log_lines();
        let key = lines.iter().rev().find_map(|line| field(line, "public_key")).expect("the log says the public key");
        Self {
            cluster: ClusterName::parse(&world.namespace).unwrap(),
            namespace: world.namespace.clone(),
            key: parse_verifying_key(key).unwrap(),
            jetstream: jetstream::new(world.nats.connect("admin").await.unwrap()),
        }
    }

    fn status(&self) -> String {
        subject::status(&self.cluster, &self.namespace, "fleet")
    }

    /// The event that tells that a commit was applied, once it is the newest.
    pub async fn of_applied(&self, commit: &str) -> ChangeEvent {
        let revision = Some(format!("main@sha1:{commit}"));
        let is = |opened: &Opened| opened.payload::<ChangeEvent>().unwrap().revision == revision;
        let (change, _) = self.newest(streams::EVENTS, &subject::event(&self.cluster, EventKind::Applied), is).await;
        change.payload().unwrap()
    }

    /// All events of a kind so far, the oldest first, once there are so many.
    async fn of_source(&self, kind: EventKind, count: usize) -> Vec<ChangeEvent> {
        let subject = subject::event(&self.cluster, kind);
        let stream = self.jetstream.get_stream(streams::EVENTS).await.unwrap();
        wait_until(&format!("there are {count} reports on {subject}"), PATIENCE, async || {
            let last = stream.get_info().await.map_err(|e| e.to_string())?.state.last_sequence;
            let mut changes = Vec::new();
            for sequence in 1..=last {
                let message = stream.get_raw_message(sequence).await.map_err(|e| e.to_string())?;
                if message.subject.as_str() == subject {
                    let opened = envelope::open(&message.payload, &subject, &self.key).map_err(|e| e.to_string())?;
                    changes.push(opened.payload::<ChangeEvent>().unwrap());
                }
            }
            assert!(changes.len() <= count, "{changes:#?}");
            if changes.len() == count { Ok(changes) } else { Err(format!("{changes:#?}")) }
        })
        .await
        .unwrap()
    }

    /// The newest message of a subject, once it is the one looked for: opened, and as it came.
    async fn newest(&self, stream: &str, subject: &str, is: impl Fn(&Opened) -> bool) -> (Opened, Vec<u8>) {
        let stream = self.jetstream.get_stream(stream).await.unwrap();
        wait_until(&format!("the report on {subject} is there"), PATIENCE, async || {
            let message = stream.get_last_raw_message_by_subject(subject).await.map_err(|e| e.to_string())?;
            let opened = envelope::open(&message.payload, subject, &self.key).map_err(|e| e.to_string())?;
            assert!(opened.at() <= Timestamp::now(), "said in the future");
            if is(&opened) { Ok((opened, message.payload.to_vec())) } else { Err(format!("{opened:?}")) }
        })
        .await
        .unwrap()
    }
}
