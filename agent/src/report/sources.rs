//! What is told of a source: that it has a new revision, that it fails, that it works again.
//!
//! Pure: derived from what its status says. Must not know whether it was told before.

use jiff::Timestamp;
use towline_proto::report::{ChangeEvent, EventKind};
use towline_proto::{ClusterName, CommitInfo};

use super::Note;
use crate::api::{self, GitSource, ResourceExt as _};
use crate::cluster;

/// Flux's reason for a revision that was not there before.
const NEW: &str = "NewArtifact";

/// The Kubernetes Event, if the source says anything of itself. `is_new`: the revision is another one than was told last.
#[must_use]
pub fn source_note(source: &GitSource, about: Option<&CommitInfo>, is_new: bool) -> Option<Note> {
    let ready = source.status.as_ref()?.conditions.iter().find(|c| c.type_ == api::READY)?;
    let (kind, reason) = match (ready.status.as_str(), is_new) {
        ("True", true) => (cluster::EventKind::Normal, NEW),
        ("True", false) => (cluster::EventKind::Normal, "Succeeded"),
        _ => (cluster::EventKind::Warning, ready.reason.as_str()),
    };
    let whose = about.filter(|_| reason == NEW).map(whose).unwrap_or_default();
    Some(Note { kind, reason: reason.to_owned(), text: format!("{}{whose}", ready.message) })
}

/// In quotation marks, so that a subject cannot be taken for our own words.
fn whose(about: &CommitInfo) -> String {
    let signers = match about.signers.as_slice() {
        [] => String::new(),
        signers => format!(", verified: {}", signers.join(" and ")),
    };
    format!(": {:?} by {}{signers}", about.subject, about.author)
}

/// The signed report of it. What began it has a word and perhaps a delivery; `since` is when it began and ended.
#[must_use]
pub fn source_change(
    source: &GitSource,
    note: &Note,
    about: Option<&CommitInfo>,
    (trigger, delivery): (&str, Option<String>),
    cluster: &ClusterName,
    since: (Timestamp, Timestamp),
) -> ChangeEvent {
    let status = source.status.as_ref();
    ChangeEvent {
        version: ChangeEvent::VERSION,
        cluster: cluster.clone(),
        kind: match note.kind {
            cluster::EventKind::Normal => EventKind::SourceUpdated,
            cluster::EventKind::Warning => EventKind::SourceFailed,
        },
        namespace: source.namespace().unwrap_or_default(),
        name: source.name_any(),
        // Of one that fails: what stays in use.
        revision: status.and_then(|status| status.revision.clone()),
        sequence: status.and_then(|status| status.sequence),
        commit: about.cloned(),
        trigger: trigger.to_owned(),
        delivery,
        message: match note.kind {
            cluster::EventKind::Normal => note.text.clone(),
            cluster::EventKind::Warning => format!("{}: {}", note.reason, note.text),
        },
        changes: Vec::new(),
        changes_omitted: 0,
        started_at: since.0,
        finished_at: since.1,
    }
}
