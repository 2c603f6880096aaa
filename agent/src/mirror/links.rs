//! Finding what a path names in a commit, symbolic links included.
//!
//! Knows how links are followed inside the repository, and that none leads out of it. Must not know what is done with what is
//! found. Every link that was followed is told, because what it names changes with it.

use std::collections::VecDeque;

use gix::bstr::ByteSlice;
use gix::object::tree::EntryKind;
use gix::objs::tree::EntryMode;
use towline_plan::tree::Read;

use super::read::{At, ReadError};

/// Linux follows so many before it says that they go round in circles.
const HOPS_MAX: usize = 40;

/// The longest path Linux takes; what is longer is no link that a checkout could have.
const TARGET_BYTES_MAX: u64 = 4_096;

/// What a path names.
pub(super) struct Found {
    pub(super) id: gix::ObjectId,
    pub(super) mode: EntryMode,
}

/// Where it really is, and what was followed to get there.
pub(super) struct Followed {
    pub(super) found: Found,
    /// Without links in it.
    pub(super) path: String,
    /// The links themselves.
    pub(super) links: Vec<Read>,
}

impl At<'_> {
    /// What `path` names from the root; `None` where there is nothing. A link that names nothing is an error: it was meant to.
    pub(super) fn follow(&self, repository: &gix::Repository, path: &str) -> Result<Option<Followed>, ReadError> {
        let mut rest: VecDeque<String> = names(path).collect();
        let mut way: Vec<(String, Found)> = Vec::new();
        let mut links = Vec::new();
        let root = self.root(repository)?;
        while let Some(name) = rest.pop_front() {
            if name == ".." {
                way.pop().ok_or_else(|| self.leaves(path))?;
                continue;
            }
            let (folder, mode) = way.last().map_or((root, EntryKind::Tree.into()), |(_, found)| (found.id, found.mode));
            let full = way.iter().map(|(name, _)| name.as_str()).chain([name.as_str()]).collect::<Vec<_>>().join("/");
            let entry = match mode.kind() {
                EntryKind::Tree => self.entry(repository, folder, &name)?,
                EntryKind::Commit => return Err(self.submodule(full)),
                EntryKind::Blob | EntryKind::BlobExecutable | EntryKind::Link => None,
            };
            let Some(found) = entry else {
                return if links.is_empty() { Ok(None) } else { Err(self.dangling(path, full)) };
            };
            if found.mode.kind() != EntryKind::Link {
                way.push((name, found));
                continue;
            }
            if links.len() >= HOPS_MAX {
                return Err(ReadError::LinkLoop { path: path.to_owned(), commit: self.commit.clone() });
            }
            let target = self.target(repository, &found, path)?;
            links.push(Read { path: full, id: Some(found.id.to_string()) });
            names(&target).rev().for_each(|name| rest.push_front(name));
        }
        let path = way.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join("/");
        let found = way.pop().map_or(Found { id: root, mode: EntryKind::Tree.into() }, |(_, found)| found);
        Ok(Some(Followed { found, path, links }))
    }

    fn root(&self, repository: &gix::Repository) -> Result<gix::ObjectId, ReadError> {
        let id = super::store::object_id(self.commit).ok_or_else(|| self.commit_missing())?;
        let commit = repository.try_find_object(id).map_err(|error| self.damaged(&error))?;
        let commit =
            commit.ok_or_else(|| self.commit_missing())?.try_into_commit().map_err(|_| self.commit_missing())?;
        Ok(commit.tree_id().map_err(|error| self.damaged(&error))?.detach())
    }

    pub(super) fn entry(
        &self,
        repository: &gix::Repository,
        folder: gix::ObjectId,
        name: &str,
    ) -> Result<Option<Found>, ReadError> {
        let tree = repository.find_tree(folder).map_err(|error| self.damaged(&error))?;
        let entry = tree.iter().find(|entry| entry.as_ref().map_or(true, |entry| entry.filename() == name));
        let entry = entry.transpose().map_err(|error| self.damaged(&error))?;
        Ok(entry.map(|entry| Found { id: entry.object_id(), mode: entry.mode() }))
    }

    /// The object a path names by itself, without following anything: what is compared from commit to commit.
    pub(super) fn look_up(&self, repository: &gix::Repository, path: &str) -> Result<Option<Found>, ReadError> {
        let mut found = Found { id: self.root(repository)?, mode: EntryKind::Tree.into() };
        for name in names(path) {
            if !found.mode.is_tree() {
                return Ok(None);
            }
            match self.entry(repository, found.id, &name)? {
                None => return Ok(None),
                Some(entry) => found = entry,
            }
        }
        Ok(Some(found))
    }

    fn target(&self, repository: &gix::Repository, link: &Found, path: &str) -> Result<String, ReadError> {
        let bytes = repository.find_header(link.id).map_err(|error| self.damaged(&error))?.size();
        if bytes > TARGET_BYTES_MAX {
            return Err(self.leaves(path));
        }
        let text = repository.find_blob(link.id).map_err(|error| self.damaged(&error))?.take_data();
        match text.to_str() {
            Ok(target) if !target.starts_with('/') && !target.is_empty() => Ok(target.to_owned()),
            _ => Err(self.leaves(path)),
        }
    }

    fn leaves(&self, path: &str) -> ReadError {
        ReadError::LinkLeaves { path: path.to_owned(), commit: self.commit.clone() }
    }

    fn dangling(&self, path: &str, target: String) -> ReadError {
        ReadError::LinkDangling { path: path.to_owned(), commit: self.commit.clone(), target }
    }

    pub(super) fn submodule(&self, path: String) -> ReadError {
        ReadError::Submodule { path, commit: self.commit.clone() }
    }
}

fn names(path: &str) -> impl DoubleEndedIterator<Item = String> {
    path.split('/').filter(|name| !matches!(*name, "" | ".")).map(str::to_owned)
}
