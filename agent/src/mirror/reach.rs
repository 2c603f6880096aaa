//! What a commit reaches: itself and everything below its tree, not its history.
//!
//! Knows objects and how they name each other. Must not know paths or contents.

use std::collections::HashSet;

use gix::ObjectId;
use gix::objs::Kind;
use towline_proto::CommitId;

use super::Mirror;
use super::store;

/// Everything `start` reaches, added to `seen`; a tag reaches what it names. An error means that something is missing or cannot
/// be decoded. Each object is looked at once, so that a tree which names itself a million times costs one look.
pub(super) fn reach(repository: &gix::Repository, start: ObjectId, seen: &mut HashSet<ObjectId>) -> Result<(), String> {
    let mut rest = vec![start];
    while let Some(id) = rest.pop() {
        if !seen.insert(id) {
            continue;
        }
        let object = repository.find_object(id).map_err(|error| store::explain(&error))?;
        match object.kind {
            Kind::Commit => rest.push(object.into_commit().tree_id().map_err(|error| store::explain(&error))?.detach()),
            Kind::Tag => rest.push(object.into_tag().target_id().map_err(|error| store::explain(&error))?.detach()),
            Kind::Tree => below(repository, &object.into_tree(), seen, &mut rest)?,
            Kind::Blob => {}
        }
    }
    Ok(())
}

/// Folders are walked later; of files only the existence is checked: their contents would be the whole repository.
fn below(
    repository: &gix::Repository,
    tree: &gix::Tree<'_>,
    seen: &mut HashSet<ObjectId>,
    rest: &mut Vec<ObjectId>,
) -> Result<(), String> {
    for entry in tree.iter() {
        let entry = entry.map_err(|error| store::explain(&error))?;
        let id = entry.object_id();
        if entry.mode().is_tree() {
            rest.push(id);
        } else if !entry.mode().is_commit() && !seen.contains(&id) {
            if !repository.has_object(id) {
                return Err(format!("object {id} is missing"));
            }
            seen.insert(id);
        }
    }
    Ok(())
}

impl Mirror {
    /// Whether the commit and everything below its tree are here. Ask it before skipping a fetch because the ref did not move:
    /// a mirror may have been lost, rebuilt or found damaged since. It says nothing about contents, and does not read them.
    pub fn holds(&self, commit: &CommitId) -> bool {
        let Some(id) = store::object_id(commit) else { return false };
        let Ok(repository) = self.repository_now() else { return false };
        !self.is_damaged() && is_commit(&repository, id) && reach(&repository, id, &mut HashSet::new()).is_ok()
    }
}

fn is_commit(repository: &gix::Repository, id: ObjectId) -> bool {
    repository.find_header(id).is_ok_and(|header| header.kind() == Kind::Commit)
}
