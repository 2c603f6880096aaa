//! What has to be signed, by whom, and what the signed objects have to say of each other.
//!
//! The only place that makes a [`Verified`]. Must not know how a signature is checked.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use towline_proto::{CommitId, CommitInfo};

use super::keys::Keys;
use super::refusal::{Refusal, Why};
use super::signed::{self, Form, Signed};
use super::{openpgp, ssh};

/// What has to be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The commit.
    Head,
    /// The annotated tag that names it.
    Tag,
    TagAndHead,
}

/// Who may change what is at or below some paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Normalised; empty for all of the repository.
    pub paths: Vec<String>,
    /// Entries of the Secret.
    pub keys: BTreeSet<String>,
}

/// What is demanded of a source's commits.
#[derive(Debug, Clone)]
pub struct Demand {
    pub mode: Mode,
    pub keys: Keys,
    pub rules: Vec<Rule>,
}

/// Something that may become a revision. The objects' bytes are those their ids are made of.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Which commit, and what it says of itself.
    pub about: CommitInfo,
    /// The commit's bytes.
    pub object: Vec<u8>,
    /// The tag that is followed, if a tag is.
    pub tag: Option<Tag>,
    /// Paths of rules at which it differs from what was verified before; those of which nothing is known are among them.
    pub changed: BTreeSet<String>,
}

/// A tag that is followed.
#[derive(Debug, Clone)]
pub struct Tag {
    /// As the ref calls it, without `refs/tags/`.
    pub name: String,
    /// Its bytes; `None` where the ref names the commit itself.
    pub object: Option<Vec<u8>>,
}

/// Whether it is seen for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// It is to become the revision.
    First,
    /// It was the revision already. Its key may have expired since; otherwise nothing would keep the last good state running
    /// after a restart.
    Again,
}

/// A commit whose signatures are what is demanded. Only [`verify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    about: Arc<CommitInfo>,
}

impl Verified {
    #[must_use]
    pub fn commit(&self) -> &CommitId {
        &self.about.id
    }

    /// Whose change it is, and who answers for it.
    #[must_use]
    pub fn about(&self) -> &Arc<CommitInfo> {
        &self.about
    }

    /// What was verified, as in `commit 1234… by SSH key SHA256:…`; empty where nothing is demanded.
    #[must_use]
    pub fn signers(&self) -> &[String] {
        &self.about.signers
    }

    /// For tests of what comes later.
    #[cfg(test)]
    pub(crate) fn for_test(commit: CommitId) -> Self {
        Self { about: Arc::new(CommitInfo::of(commit)) }
    }
}

/// A key whose signature counts, and the entries it stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signer {
    key: String,
    entries: BTreeSet<String>,
}

impl Signer {
    /// From what each of the entries makes of a key: one that accepts it is enough.
    pub(super) fn of(key: String, judged: impl IntoIterator<Item = Result<String, Why>>) -> Result<Self, Why> {
        let (mut entries, mut problem) = (BTreeSet::new(), None);
        for verdict in judged {
            match verdict {
                Ok(entry) => drop(entries.insert(entry)),
                Err(why) => problem = problem.or(Some(why)),
            }
        }
        match problem {
            Some(why) if entries.is_empty() => Err(why),
            // A revoked copy beside one that is not: somebody forgot to update the other.
            Some(why @ Why::Revoked { .. }) => Err(why),
            _ => Ok(Self { key, entries }),
        }
    }
}

/// Judges a commit. Where nothing is demanded, every commit is what is demanded.
///
/// # Errors
/// Why it is refused, for the first thing that is wrong.
pub fn verify(
    demand: Option<&Demand>,
    candidate: &Candidate,
    sight: Sight,
    now: Timestamp,
) -> Result<Verified, Refusal> {
    let mut about = CommitInfo { signers: Vec::new(), ..candidate.about.clone() };
    let Some(demand) = demand else { return Ok(Verified { about: Arc::new(about) }) };
    let commit = &candidate.about.id;
    let signers = &mut about.signers;
    let mut answers = None;
    if matches!(demand.mode, Mode::Tag | Mode::TagAndHead) {
        let what = candidate.tag.as_ref().map_or(format!("commit {commit}"), |tag| format!("tag {}", tag.name));
        let refuse = |why| Refusal { what: what.clone(), is_tag: true, why };
        let signer = verify_tag(demand, candidate, sight, now).map_err(refuse)?;
        signers.push(format!("{what} by {}", signer.key));
        answers = Some(signer);
    }
    let what = format!("commit {commit}");
    let refuse = |why| Refusal { what: what.clone(), is_tag: false, why };
    if matches!(demand.mode, Mode::Head | Mode::TagAndHead) {
        let signed = signed::commit(&candidate.object).map_err(refuse)?;
        let signer = check(&signed, &demand.keys, sight, now).map_err(refuse)?;
        signers.push(format!("{what} by {}", signer.key));
        answers = Some(signer);
    }
    for rule in &demand.rules {
        let answers = answers.as_ref().ok_or(Why::Unsigned).map_err(refuse)?;
        allow(rule, &candidate.changed, answers).map_err(refuse)?;
    }
    Ok(Verified { about: Arc::new(about) })
}

fn verify_tag(demand: &Demand, candidate: &Candidate, sight: Sight, now: Timestamp) -> Result<Signer, Why> {
    let tag = candidate.tag.as_ref().ok_or(Why::NoTag)?;
    let (header, signed) = signed::tag(tag.object.as_ref().ok_or(Why::Lightweight)?)?;
    if header.name != tag.name {
        return Err(Why::TagName { named: header.name.chars().filter(|c| !c.is_control()).take(255).collect() });
    }
    if header.kind != "commit" || header.object != candidate.about.id.as_str() {
        let object = format!("{} {}", header.kind, header.object);
        return Err(Why::TagTarget { object: object.chars().filter(|c| !c.is_control()).take(80).collect() });
    }
    check(&signed, &demand.keys, sight, now)
}

fn check(signed: &Signed, keys: &Keys, sight: Sight, now: Timestamp) -> Result<Signer, Why> {
    match signed.form {
        Form::OpenPgp => openpgp::verify(signed, keys, sight, now),
        Form::Ssh => ssh::verify(signed, keys, sight, now),
    }
}

fn allow(rule: &Rule, changed: &BTreeSet<String>, signer: &Signer) -> Result<(), Why> {
    if !rule.keys.is_disjoint(&signer.entries) {
        return Ok(());
    }
    match rule.paths.iter().find(|path| changed.contains(*path)) {
        None => Ok(()),
        Some(path) => Err(Why::NotAllowed {
            path: if path.is_empty() { "the repository".to_owned() } else { path.clone() },
            key: signer.key.clone(),
            allowed: rule.keys.iter().cloned().collect::<Vec<_>>().join(", "),
        }),
    }
}
