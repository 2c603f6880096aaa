//! What is told about a commit: whose change, when, and its subject.
//!
//! Knows a commit's header and message. Texts from it are a stranger's: they are bounded and cannot move a terminal's cursor.

use gix::ObjectId;
use jiff::Timestamp;
use towline_proto::{CommitId, CommitInfo};

use super::Mirror;
use super::store::{explain, object_id};

/// The commit a ref names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tip {
    /// Of an annotated tag: the commit it names.
    pub commit: CommitId,
    /// The annotated tag itself, where the ref names one.
    pub tag: Option<ObjectId>,
    /// Whose change it is, before anybody has looked at signatures.
    pub about: CommitInfo,
    /// By the committer's clock.
    pub committed_at: Timestamp,
    /// All that came over the wire for it, the list of refs included.
    pub received_bytes: u64,
}

impl Tip {
    pub(super) fn of(commit: &gix::Commit<'_>, target: ObjectId, received_bytes: u64) -> Result<Self, String> {
        let about = about(commit)?;
        let committer = commit.committer().map_err(|error| explain(&error))?;
        Ok(Self {
            commit: about.id.clone(),
            tag: (target != commit.id).then_some(target),
            about,
            committed_at: Timestamp::from_second(committer.seconds()).unwrap_or_default(),
            received_bytes,
        })
    }
}

impl Mirror {
    /// What a commit that is here says of itself.
    pub fn about(&self, commit: &CommitId) -> Result<CommitInfo, String> {
        let id = object_id(commit).ok_or("not a SHA-1 id")?;
        let repository = self.repository_now().map_err(|error| explain(&error))?;
        let commit = repository.find_commit(id).map_err(|error| explain(&error))?;
        about(&commit)
    }
}

fn about(commit: &gix::Commit<'_>) -> Result<CommitInfo, String> {
    let text = |error: gix::Error| explain(&error);
    let id = |id: &gix::oid| CommitId::parse(&id.to_string()).map_err(|error| error.to_string());
    let about = CommitInfo {
        author: person(commit.author().map_err(text)?),
        committer: person(commit.committer().map_err(text)?),
        subject: commit.message().map_err(text)?.summary().to_string(),
        // As the commit names them: of a shallow mirror none is here.
        parents: commit.parent_ids().map(|parent| id(&parent)).collect::<Result<_, _>>()?,
        ..CommitInfo::of(id(&commit.id)?)
    };
    Ok(about.bounded())
}

fn person(signature: gix::actor::SignatureRef<'_>) -> String {
    format!("{} <{}>", signature.name, signature.email)
}
