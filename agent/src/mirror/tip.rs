//! What is told about a commit: whose change, when, and its subject.
//!
//! Knows a commit's header and message. Texts from it are a stranger's: they are bounded and cannot move a terminal's cursor.

use gix::ObjectId;
use jiff::Timestamp;
use towline_proto::CommitId;
use towline_proto::bounds::cut;

/// Hosts show 72 characters of a subject; three times that in UTF-8.
const SUBJECT_BYTES_MAX: usize = 216;

/// A name and an address; the longest address is 254 bytes.
const PERSON_BYTES_MAX: usize = 320;

/// The commit a ref names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tip {
    /// Of an annotated tag: the commit it names.
    pub commit: CommitId,
    /// The annotated tag itself, where the ref names one.
    pub tag: Option<ObjectId>,
    /// `Name <address>`.
    pub author: String,
    pub committer: String,
    /// The first paragraph of the message on one line.
    pub subject: String,
    /// By the committer's clock.
    pub committed_at: Timestamp,
    /// All that came over the wire for it, the list of refs included.
    pub received_bytes: u64,
}

impl Tip {
    pub(super) fn of(commit: &gix::Commit<'_>, target: ObjectId, received_bytes: u64) -> Result<Self, String> {
        let text = |error: gix::Error| super::store::explain(&error);
        let committer = commit.committer().map_err(text)?;
        Ok(Self {
            commit: CommitId::parse(&commit.id.to_string()).map_err(|error| error.to_string())?,
            tag: (target != commit.id).then_some(target),
            author: person(commit.author().map_err(text)?),
            committer: person(committer),
            subject: line(&commit.message().map_err(text)?.summary().to_string(), SUBJECT_BYTES_MAX),
            committed_at: Timestamp::from_second(committer.seconds()).unwrap_or_default(),
            received_bytes,
        })
    }
}

fn person(signature: gix::actor::SignatureRef<'_>) -> String {
    line(&format!("{} <{}>", signature.name, signature.email), PERSON_BYTES_MAX)
}

fn line(text: &str, bytes_max: usize) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    cut(plain.trim(), bytes_max)
}
