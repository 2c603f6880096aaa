//! Pins: which commits a source has been given, and may go on with.
//!
//! A mirror is shared by all sources of a repository, whatever their credentials. So that one cannot be told by its status, or by an
//! event, to use what only another one may read, what it goes on with without asking the server has to be pinned under its own name:
//! that happens when the server, asked with its own credentials, named that commit. A pin also keeps what it names through every
//! repack. Must not know whose name it is.

use std::collections::HashSet;

use gix::ObjectId;
use towline_proto::CommitId;

use super::store::{explain, object_id, ref_name, set_ref};
use super::{Mirror, Tip};

/// The newest one, and the one before: what is in use may be a step behind what was fetched.
const NOW: &str = "pins";
const BEFORE: &str = "pins-before";

/// Why a commit could not be pinned.
#[derive(Debug, thiserror::Error)]
#[error("pin commit {commit} in the mirror of {url}: {cause}")]
pub struct PinError {
    commit: CommitId,
    url: String,
    cause: String,
}

impl Mirror {
    /// Keeps what was fetched, and what is below it, through every repack until something else is pinned under this name twice.
    /// Of an annotated tag the tag itself is kept, which may have to be verified again.
    ///
    /// # Errors
    /// What is to be pinned is not all here, or the mirror cannot be written.
    pub fn pin(&self, name: &str, tip: &Tip) -> Result<(), PinError> {
        let fail = |cause: String| PinError { commit: tip.commit.clone(), url: self.url.clone(), cause };
        let id = tip.tag.or_else(|| object_id(&tip.commit)).ok_or_else(|| fail("not a SHA-1 id".to_owned()))?;
        let repository = self.repository_now().map_err(|error| fail(explain(&error)))?;
        // A ref to what is not here would stand in the way of every later repack.
        super::reach::reach(&repository, id, &mut HashSet::new()).map_err(fail)?;
        let moved = match find(&repository, NOW, name) {
            Some(pinned) if pinned == id => return Ok(()),
            Some(pinned) => set_ref(&repository, &ref_name(BEFORE, name), pinned),
            None => Ok(()),
        };
        moved.and_then(|()| set_ref(&repository, &ref_name(NOW, name), id)).map_err(|error| fail(explain(&error)))
    }

    /// Whether this commit was pinned under this name, and all of it is still here.
    pub fn holds_for(&self, name: &str, commit: &CommitId) -> bool {
        let pinned = self.repository_now().is_ok_and(|repository| pinned(&repository, name, commit).is_some());
        pinned && self.holds(commit)
    }

    /// The annotated tag that was pinned under this name, if it names this commit.
    pub(super) fn pinned_tag(&self, name: &str, commit: &CommitId) -> Option<ObjectId> {
        let pinned = pinned(&self.repository_now().ok()?, name, commit)?;
        (Some(pinned) != object_id(commit)).then_some(pinned)
    }
}

/// What is pinned under this name and is this commit, or a tag that names it.
fn pinned(repository: &gix::Repository, name: &str, commit: &CommitId) -> Option<ObjectId> {
    let commit = object_id(commit)?;
    let names = |id: &ObjectId| {
        let peeled = repository.find_object(*id).ok().and_then(|object| object.peel_tags_to_end().ok());
        peeled.is_some_and(|peeled| peeled.id == commit)
    };
    [NOW, BEFORE].into_iter().filter_map(|kind| find(repository, kind, name)).find(names)
}

fn find(repository: &gix::Repository, kind: &str, name: &str) -> Option<ObjectId> {
    Some(repository.try_find_reference(&ref_name(kind, name)).ok()??.try_id()?.detach())
}
