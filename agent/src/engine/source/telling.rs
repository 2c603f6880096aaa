//! Telling what befell a source: once, when its status says so.
//!
//! What is told follows from what the status says, not from who wrote it: an answer to a write that was lost costs no word, and a
//! failure that repeats itself is told once, also over a restart. Must not know the words; `report` does.

use std::sync::Arc;

use jiff::Timestamp;
use towline_proto::{CommitInfo, Wire as _};

use super::SourceEntry;
use crate::api::{self, GitSource};
use crate::bus::Report;
use crate::engine::members::Role;
use crate::engine::passing::Reporting;
use crate::engine::{Action, Engine, Moment, SourceKey, key};
use crate::report;

/// The interval, a retry or a start made the source be looked at.
pub(super) const POLL: &str = "poll";

/// What a fetch began by, and when.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    pub trigger: &'static str,
    pub began: Timestamp,
}

/// What a source's status says that is worth telling.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::engine) struct Told {
    /// The condition's status and message.
    ready: Option<(String, String)>,
    revision: Option<String>,
}

/// Something to tell: what the status of this source says.
pub struct Tell {
    pub source: Arc<GitSource>,
    pub attempt: Attempt,
    pub delivery: Option<String>,
    /// Whose change the revision is that its status names.
    pub about: Option<Arc<CommitInfo>>,
    /// It has another revision than was told last.
    pub is_new: bool,
}

impl Told {
    pub(super) fn of(source: &GitSource) -> Self {
        let Some(status) = &source.status else { return Self::default() };
        let ready = status.conditions.iter().find(|c| c.type_ == api::READY);
        Self { ready: ready.map(|c| (c.status.clone(), c.message.clone())), revision: status.revision.clone() }
    }
}

impl SourceEntry {
    /// In the words of a report.
    pub(super) fn reason_to_look(&self) -> &'static str {
        let handled = self.object.status.as_ref().and_then(|status| status.last_handled_reconcile_at.as_ref());
        match (&self.delivery, &self.requested) {
            (Some(_), _) => "event",
            (None, Some(requested)) if handled != Some(requested) => "request",
            (None, _) => POLL,
        }
    }
}

impl Engine {
    /// To be asked when the status says what it is to say.
    pub(super) fn tell(&mut self, source: &SourceKey, at: Moment, actions: &mut Vec<Action>) {
        let Some(entry) = self.sources.get_mut(source).filter(|entry| entry.role == Role::Owner) else { return };
        let told = std::mem::replace(&mut entry.told, Told::of(&entry.object));
        // Until this replica has something to say itself, what is there was told by whoever wrote it.
        if entry.told == told || entry.wanted.ready.is_none() {
            return;
        }
        let is_new = entry.told.revision != told.revision;
        let named = entry.revision.as_ref().filter(|revision| Some(&revision.name) == entry.told.revision.as_ref());
        let of_revision = entry.revision.as_ref().filter(|_| is_new).and_then(|revision| revision.delivery.clone());
        actions.push(Action::Tell(Box::new(Tell {
            source: Arc::clone(&entry.object),
            attempt: match &entry.invalid {
                Some(_) => Attempt { trigger: "settings", began: at.now },
                None => entry.attempt,
            },
            delivery: of_revision.or_else(|| entry.delivery.clone()),
            about: named.and_then(|revision| revision.about.clone()),
            is_new,
        })));
    }
}

/// Tells it everywhere; the condition is written already.
pub(in crate::engine) async fn tell(tell: Tell, reporting: Reporting) {
    let Tell { source, attempt, delivery, about, is_new } = tell;
    let Some(note) = report::source_note(&source, about.as_deref(), is_new) else { return };
    let key = key(&*source);
    match note.kind {
        crate::cluster::EventKind::Normal => {
            tracing::info!(source = %key, message_text = note.text, "the source is ready")
        }
        crate::cluster::EventKind::Warning => {
            tracing::warn!(source = %key, reason = note.reason, error = note.text, "the source is not ready");
        }
    }
    if let Some(bus) = &reporting.bus {
        let since = (attempt.began, Timestamp::now());
        let change = report::source_change(
            &source,
            &note,
            about.as_deref(),
            (attempt.trigger, delivery),
            &reporting.name,
            since,
        );
        bus.report(Report::Change(change.bounded()));
    }
    reporting.cluster.announce(&*source, note.kind, &note.reason, &note.text, about.as_deref()).await;
}
