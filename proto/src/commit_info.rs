//! Whose change a revision is: what a commit says of itself, and whose signatures on it count.
//!
//! Knows names, subjects and ids. All texts are a stranger's: bounded, on one line, and without what could make a terminal or a
//! console show something else than is written.

use serde::{Deserialize, Serialize};

use crate::bounds::one_line;
use crate::names::CommitId;

/// Hosts show 72 characters of a subject; three times that in UTF-8.
const SUBJECT_BYTES_MAX: usize = 216;

/// A name and an address; the longest address is 254 bytes (RFC 5321, 4.5.3.1).
const PERSON_BYTES_MAX: usize = 320;

/// `tag <name> by OpenPGP key <40 digits>`, with a tag of some length.
const SIGNER_BYTES_MAX: usize = 320;

/// A tag's and a commit's.
const SIGNERS_MAX: usize = 4;

/// An octopus merge of more branches than Git itself has ever seen in practice (the Linux kernel's largest has 66 parents) is cut.
const PARENTS_MAX: usize = 64;

/// What a commit says of itself, and who answers for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitInfo {
    pub id: CommitId,
    /// `Name <address>`, at most 320 bytes. What is written in the commit: nobody has checked it unless `signers` says so.
    pub author: String,
    pub committer: String,
    /// The first paragraph of the message on one line, at most 216 bytes.
    pub subject: String,
    /// Empty for a first commit; at most 64.
    #[serde(default)]
    pub parents: Vec<CommitId>,
    /// Whose signatures were verified, as in `commit 1234… by SSH key SHA256:…`. Empty where the source demands none.
    #[serde(default)]
    pub signers: Vec<String>,
}

impl CommitInfo {
    /// One of which nothing but the id is known.
    #[must_use]
    pub fn of(id: CommitId) -> Self {
        let (author, committer, subject) = Default::default();
        Self { id, author, committer, subject, parents: Vec::new(), signers: Vec::new() }
    }

    /// Itself, with every text cut and plain.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.author = one_line(&self.author, PERSON_BYTES_MAX);
        self.committer = one_line(&self.committer, PERSON_BYTES_MAX);
        self.subject = one_line(&self.subject, SUBJECT_BYTES_MAX);
        self.parents.truncate(PARENTS_MAX);
        self.signers.truncate(SIGNERS_MAX);
        self.signers.iter_mut().for_each(|signer| *signer = one_line(signer, SIGNER_BYTES_MAX));
        self
    }

    /// About what it takes in memory, in bytes.
    #[must_use]
    pub fn weight(&self) -> usize {
        let ids = (1 + self.parents.len()) * (size_of::<CommitId>() + self.id.to_string().len());
        let signers: usize = self.signers.iter().map(|signer| size_of::<String>() + signer.len()).sum();
        ids + self.author.len() + self.committer.len() + self.subject.len() + signers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_texts_are_bounded_and_plain() {
        let id = CommitId::parse(&"a".repeat(40)).unwrap();
        let told = CommitInfo {
            author: format!("Eve\u{1b}[2K <{}>", "e".repeat(400)),
            committer: "Mallory\r\n <m@example.org>".to_owned(),
            subject: "fix \u{202e}gnihton\u{2069}\nsecond".to_owned(),
            parents: vec![id.clone(); 100],
            signers: vec!["x".repeat(1000); 10],
            ..CommitInfo::of(id)
        };
        let told = told.bounded();
        assert!(told.author.len() <= PERSON_BYTES_MAX && told.author.starts_with("Eve [2K <eee"), "{}", told.author);
        assert_eq!(told.committer, "Mallory   <m@example.org>");
        assert_eq!(told.subject, "fix  gnihton  second");
        assert_eq!((told.parents.len(), told.signers.len()), (PARENTS_MAX, SIGNERS_MAX));
        assert!(told.signers.iter().all(|signer| signer.len() <= SIGNER_BYTES_MAX));
        assert_eq!(told.clone().bounded(), told, "what is bounded stays as it is");
    }
}
