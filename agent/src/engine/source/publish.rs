//! Publishing: a tip becomes what Syncs work from once its place in the order stands in the source's status.
//!
//! Must not know Git.

use std::sync::Arc;

use jiff::SignedDuration;

use super::wanted::{Wanted, revision_name};
use crate::api::{GitSource, ResourceExt as _};
use crate::engine::members::Role;
use crate::engine::{Action, Engine, Moment, SourceKey};
use crate::pass::Revision;

/// A write of a source's status.
pub struct Write {
    pub source: SourceKey,
    pub object: Arc<GitSource>,
    pub wanted: Wanted,
}

impl Engine {
    pub(in crate::engine) fn written(
        &mut self,
        source: &SourceKey,
        result: Result<Box<GitSource>, String>,
        at: Moment,
    ) {
        let Some(entry) = self.sources.get_mut(source) else { return };
        entry.writing = false;
        entry.write_after = None;
        let uid = entry.object.uid();
        match result {
            Ok(object) => {
                // As the watch would tell: what was changed since the last event of the watch came along with the answer.
                if object.uid() == uid {
                    self.source_applied(*object, at);
                }
                self.publish(source);
            }
            Err(error) => {
                tracing::warn!(%source, error, "failed to write the source's status; its revision waits for that");
                // Long enough not to press an API server that is down, short enough not to be felt when it is back.
                entry.write_after = at.now.checked_add(SignedDuration::from_secs(2)).ok();
            }
        }
    }

    /// A tip becomes the revision Syncs work from once its place in the order is recorded.
    fn publish(&mut self, source: &SourceKey) {
        let Some(entry) = self.sources.get_mut(source).filter(|entry| entry.role == Role::Owner) else { return };
        let (Some(tip), Some(status)) = (&entry.wanted.tip, &entry.object.status) else { return };
        let (Some(name), Some(sequence)) = (&status.revision, status.sequence) else { return };
        if *name != revision_name(&entry.object, tip, entry.wanted.tag.as_deref())
            || entry.revision.as_ref().is_some_and(|r| r.sequence == sequence)
        {
            return;
        }
        let delivery = entry.delivery.take();
        tracing::info!(%source, revision = name, sequence, delivery, "revision published");
        let told = entry.fetched.as_ref().filter(|(_, verified)| verified.commit() == tip);
        let about = told.map(|(_, verified)| Arc::clone(verified.about()));
        entry.mirror = entry.fetched.as_ref().map(|(mirror, _)| mirror.clone()).or(entry.mirror.take());
        entry.revision = Some(Revision { commit: tip.clone(), name: name.clone(), sequence, about, delivery });
        self.offer(source);
    }

    pub(in crate::engine) fn start_writes(&mut self, at: Moment, actions: &mut Vec<Action>) {
        let mut written = Vec::new();
        for (key, entry) in self.sources.iter_mut().filter(|(_, entry)| !entry.writing) {
            if !entry.is_unwritten() {
                written.push(key.clone());
            } else if entry.write_after.is_none_or(|after| after <= at.now) {
                entry.writing = true;
                actions.push(Action::WriteSource(Box::new(Write {
                    source: key.clone(),
                    object: Arc::clone(&entry.object),
                    wanted: entry.wanted.clone(),
                })));
            }
        }
        // After a restart the status may say already what the first fetch found; after a lost answer, what was written.
        for key in written {
            self.publish(&key);
            self.tell(&key, at, actions);
        }
    }
}
