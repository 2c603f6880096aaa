//! Objects as they are signed: their bytes, and which tag stands for a commit.
//!
//! Must not know what a signature is.

use gix::ObjectId;
use towline_proto::CommitId;

use super::store::{explain, object_id};
use super::{Mirror, Tip};

/// A commit or tag larger than this is none that a person wrote; GitHub's largest messages are 64 KiB.
const BYTES_MAX: usize = 1 << 20;

/// The bytes of a commit, and of the annotated tag that stands for it, if one does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw {
    pub commit: Vec<u8>,
    pub tag: Option<Vec<u8>>,
}

impl Mirror {
    /// The bytes of what was just fetched.
    pub fn raw(&self, tip: &Tip) -> Result<Raw, String> {
        self.raw_of(&tip.commit, tip.tag)
    }

    /// The bytes of what was pinned under this name, or of a commit.
    pub fn raw_pinned(&self, name: &str, commit: &CommitId) -> Result<Raw, String> {
        self.raw_of(commit, self.pinned_tag(name, commit))
    }

    fn raw_of(&self, commit: &CommitId, tag: Option<ObjectId>) -> Result<Raw, String> {
        let id = object_id(commit).ok_or("not a SHA-1 id")?;
        Ok(Raw {
            commit: self.bytes(id, gix::object::Kind::Commit)?,
            tag: tag.map(|tag| self.bytes(tag, gix::object::Kind::Tag)).transpose()?,
        })
    }

    fn bytes(&self, id: ObjectId, kind: gix::object::Kind) -> Result<Vec<u8>, String> {
        let repository = self.repository_now().map_err(|error| explain(&error))?;
        let object = repository.find_object(id).map_err(|error| explain(&error))?;
        if object.kind != kind || object.data.len() > BYTES_MAX {
            return Err(format!("{id} is no {kind} of at most {BYTES_MAX} bytes"));
        }
        // What is on the disk may not be what was fetched.
        let found = gix::objs::compute_hash(id.kind(), kind, &object.data).map_err(|error| error.to_string())?;
        if found != id {
            self.mark_damaged("an object is not what its id says");
            return Err(format!("{id} is damaged; the next fetch rebuilds the mirror"));
        }
        Ok(object.data.clone())
    }
}
