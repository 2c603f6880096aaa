//! Which Syncs' passes start now, and from what.
//!
//! Knows what a pass is handed. When it runs is the schedule's to say, why it cannot is said in [`super::unable`].

use crate::api::Sync;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use towline_plan::object::SyncKey;
use towline_plan::schedule::sync::Start;
use towline_proto::CommitId;

use super::sync::SyncEntry;
use super::unable::explain;
use super::{Action, Engine, Moment, OpenMirror, passing, standing};
use crate::pass::{Needs, Pass, Revision};

/// What stands for the commit of a Sync that is deleted before it was ever at one.
const NO_COMMIT: &str = "ffffffffffffffffffffffffffffffffffffffff";

impl Engine {
    /// What a Sync can work from now.
    pub(super) fn offered(&self, entry: &SyncEntry) -> Option<(&Revision, &OpenMirror)> {
        let source = self.sources.get(&entry.source()).filter(|_| self.denied(&entry.object).is_none())?;
        source.revision.as_ref().zip(source.mirror.as_ref())
    }

    /// Whether a Sync has what its next pass works from.
    pub(super) fn can_run(&self, entry: &SyncEntry) -> Option<()> {
        let is_taken_up = |(revision, _): (&Revision, _)| entry.schedule.offered() == Some(revision.sequence);
        (entry.schedule.is_leaving() || self.offered(entry).is_some_and(is_taken_up)).then_some(())
    }

    pub(super) fn start_passes(&mut self, at: Moment, actions: &mut Vec<Action>) {
        let mut starting = Vec::new();
        let is_due = |entry: &SyncEntry| entry.schedule.next(at.now).is_some_and(|due| due <= at.now);
        let due = self.own_syncs().filter(|(_, entry)| entry.is_wanted());
        let due = due.filter(|(_, entry)| is_due(entry) || self.can_run(entry).is_none());
        let keys: Vec<SyncKey> = due.map(|(key, _)| key.clone()).collect();
        for key in keys {
            let Some(entry) = self.syncs.get(&key) else { continue };
            if self.can_run(entry).is_none() {
                let why = self.unoffered(entry);
                if let (Some(why), Some(entry)) = (why, self.syncs.get_mut(&key)) {
                    explain(entry, why, at, actions);
                }
                continue;
            }
            if self.leaving.contains(&key) {
                continue;
            }
            let start = self.syncs.get_mut(&key).and_then(|entry| entry.schedule.start(at.now));
            starting.extend(start.map(|start| (key, start)));
        }
        // Only when all are started it is known what each of them may have to wait for.
        for (key, start) in starting {
            actions.extend(self.pass(key, start, at));
        }
    }

    fn pass(&mut self, key: SyncKey, start: Start, at: Moment) -> Option<Action> {
        let entry = self.syncs.get(&key)?;
        let (needs, inventory, work) = match entry.schedule.is_leaving() {
            // What is deleted for good is read anew.
            true => (Needs::default(), None, (last_revision(&entry.object)?, None)),
            false => {
                let (revision, mirror) = self.offered(entry)?;
                debug_assert_eq!(start.sequence, revision.sequence, "the newest revision is what was offered");
                let needs = self.needs(entry, start.sequence);
                (needs, self.inventories.get(&key).cloned(), (revision.clone(), Some(mirror.0.clone())))
            }
        };
        let (revision, mirror) = work;
        let entry = self.syncs.get_mut(&key)?;
        let halt = CancellationToken::new();
        entry.halt = Some(halt.clone());
        entry.explained = None;
        let sync = Arc::clone(&entry.object);
        let fights = standing::all_fights(entry);
        let Start { trigger, look, waiting_since, .. } = start;
        let started_at = at.now;
        let pass = Pass {
            key,
            sync,
            revision,
            trigger,
            look,
            waiting_since,
            needs,
            fights,
            mirror,
            inventory,
            started_at,
            halt,
        };
        Some(Action::Pass(Box::new(passing::Job { pass })))
    }
}

/// The revision the objects of a Sync were last brought to, as far as its status tells.
fn last_revision(sync: &Sync) -> Option<Revision> {
    let status = sync.status.as_ref();
    let name = status.and_then(|status| status.last_attempted_revision.clone());
    let commit = name.as_deref().and_then(|name| name.rsplit_once(':')).and_then(|(_, id)| CommitId::parse(id).ok());
    Some(Revision {
        // Nothing is read at it.
        commit: commit.or_else(|| CommitId::parse(NO_COMMIT).ok())?,
        name: name.unwrap_or_else(|| "no revision".to_owned()),
        sequence: status.and_then(|status| status.last_attempted_sequence).unwrap_or_default(),
        about: None,
        delivery: None,
    })
}
