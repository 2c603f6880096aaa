//! Verification of what is in a mirror, as part of a source's jobs: keys from the cluster, bytes from the mirror, one verdict.
//!
//! Knows what a source's spec asks for, and reads the clock. Must not know what follows from a verdict.

use std::collections::{BTreeMap, BTreeSet};
use towline_plan::schedule::hosts::Answer;

use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use towline_daemon::error::chain;
use towline_plan::tree::normalise;
use towline_proto::{CommitId, CommitInfo};

use super::secrets::{self, Versions};
use super::{FetchFailure, SourceKey, key};
use crate::api::{GitSource, ResourceExt as _, Verification, VerificationMode};
use crate::cluster::{Cluster, SecretKey};
use crate::mirror::{Mirror, Raw, Tip};
use crate::pass::Revision;
use crate::signature::{Candidate, Demand, Keys, Mode, Rule, Sight, Tag, Verified, verify};

/// The reason where there are no keys to verify with, or no bytes to verify.
pub(super) const VERIFICATION_ERROR: &str = "VerificationError";

/// What a source's spec asks for.
#[derive(Debug, Clone)]
pub struct Asked {
    source: SourceKey,
    /// Another source of the same name is another one.
    uid: String,
    verification: Option<Verification>,
    /// The tag that is followed, if one is.
    tag: Option<String>,
    /// The newest tag of a range is: which one, a fetch finds.
    any_tag: bool,
}

/// The same, with the keys of the moment.
pub(super) struct Judge {
    asked: Asked,
    demand: Option<Demand>,
}

impl Asked {
    pub(super) fn of(source: &GitSource) -> Self {
        let (verification, tag) = (source.spec.verify.clone(), source.spec.reference.tag.clone());
        let any_tag = source.spec.reference.semver.is_some();
        Self { source: key(source), uid: source.uid().unwrap_or_default(), verification, tag, any_tag }
    }

    /// What is pinned in the mirror for the source has this name.
    pub(super) fn pin(&self) -> String {
        format!("{}/{}/{}", self.source.namespace, self.source.name, self.uid)
    }

    /// Reads the keys. `read` tells which version they are of, also if they are of no use.
    pub(super) async fn judge(self, cluster: &Cluster, read: &mut Versions) -> Result<Judge, FetchFailure> {
        let Some(verification) = &self.verification else { return Ok(Judge { asked: self, demand: None }) };
        let name = verification.secret_ref.name.clone();
        let secret = SecretKey { namespace: self.source.namespace.clone(), name: name.clone() };
        // It is looked at again when the Secret moves.
        let no_keys =
            |problem: String| failure(VERIFICATION_ERROR, format!("Secret {name:?} of spec.verify: {problem}"));
        let found = secrets::read(cluster, &secret, read).await;
        let found = found.map_err(|error| FetchFailure { retryable: true, ..no_keys(chain(&error)) })?;
        let data = found.ok_or_else(|| no_keys("it does not exist".to_owned()))?;
        // Public keys: what is no entry of keys is not looked at.
        let entries = data.iter().filter(|(entry, _)| Keys::is_entry(entry));
        let entries: BTreeMap<_, _> =
            entries.map(|(entry, contents)| (entry.clone(), contents.expose_secret().to_vec())).collect();
        let keys = Keys::read(&entries).map_err(|error| no_keys(error.to_string()))?;
        let mode = match verification.mode {
            VerificationMode::Head => Mode::Head,
            VerificationMode::Tag => Mode::Tag,
            VerificationMode::TagAndHead => Mode::TagAndHead,
        };
        let mut rules = Vec::new();
        for (signers, at) in verification.signers.iter().zip(0..) {
            let wrong = |problem: String| failure(VERIFICATION_ERROR, format!("spec.verify.signers[{at}]: {problem}"));
            if let Some(missing) = signers.keys.iter().find(|entry| !entries.contains_key(*entry)) {
                return Err(wrong(format!("the Secret has no entry {missing:?}")));
            }
            let paths: Result<_, _> = signers.paths.iter().map(|path| normalise(path)).collect();
            let paths = paths.map_err(|error| wrong(chain(&error)))?;
            rules.push(Rule { paths, keys: signers.keys.iter().cloned().collect() });
        }
        Ok(Judge { asked: self, demand: Some(Demand { mode, keys, rules }) })
    }
}

impl Judge {
    /// Whether anything is demanded at all.
    pub(super) fn demands(&self) -> bool {
        self.demand.is_some()
    }

    /// What was just fetched, and the tag that was found to name it. `base` is what was recorded before it.
    pub(super) fn first(
        &self,
        mirror: &Mirror,
        tip: &Tip,
        found: Option<&str>,
        base: Option<&CommitId>,
    ) -> Result<Verified, FetchFailure> {
        self.verdict(mirror, tip.about.clone(), self.tag(found), || mirror.raw(tip), base, Sight::First)
    }

    /// Whether what was a revision already may be gone on with without asking the server: what this very source was given, of which
    /// all is here.
    pub(super) fn may_recall(&self, mirror: &Mirror, commit: &CommitId) -> bool {
        mirror.holds_for(&self.asked.pin(), commit)
    }

    /// What was a revision already.
    pub(super) fn again(&self, mirror: &Mirror, revision: &Revision) -> Result<Verified, FetchFailure> {
        let commit = &revision.commit;
        let found = revision.name.rsplit_once('@').map(|(called, _)| called);
        let pin = self.asked.pin();
        // It is what paths are compared with, so nothing has changed.
        // What is only told decides nothing.
        let about = mirror.about(commit).unwrap_or_else(|_| CommitInfo::of(commit.clone()));
        self.verdict(mirror, about, self.tag(found), || mirror.raw_pinned(&pin, commit), Some(commit), Sight::Again)
    }

    fn tag(&self, found: Option<&str>) -> Option<String> {
        let found = found.filter(|_| self.asked.any_tag).map(str::to_owned);
        self.asked.tag.clone().or(found)
    }

    fn verdict(
        &self,
        mirror: &Mirror,
        about: CommitInfo,
        followed: Option<String>,
        raw: impl Fn() -> Result<Raw, String>,
        base: Option<&CommitId>,
        sight: Sight,
    ) -> Result<Verified, FetchFailure> {
        let unreadable = |cause: String| FetchFailure { retryable: true, ..failure(VERIFICATION_ERROR, cause) };
        let Raw { commit: object, tag } = match &self.demand {
            Some(_) => raw().map_err(unreadable)?,
            None => Raw { commit: Vec::new(), tag: None },
        };
        let candidate = Candidate {
            object,
            tag: followed.map(|name| Tag { name, object: tag }),
            changed: self.changed(mirror, &about.id, base).map_err(unreadable)?,
            about,
        };
        verify(self.demand.as_ref(), &candidate, sight, Timestamp::now()).map_err(|refusal| {
            let reason = if refusal.is_tag { "InvalidTagSignature" } else { "InvalidCommitSignature" };
            failure(reason, refusal.to_string())
        })
    }

    /// At which paths of rules a commit differs from the one before. Where that one is not here any more, at all of them.
    fn changed(&self, mirror: &Mirror, commit: &CommitId, base: Option<&CommitId>) -> Result<BTreeSet<String>, String> {
        let rules = self.demand.iter().flat_map(|demand| &demand.rules);
        let paths: BTreeSet<String> = rules.flat_map(|rule| rule.paths.iter().cloned()).collect();
        if paths.is_empty() || base == Some(commit) {
            return Ok(BTreeSet::new());
        }
        let Some(base) = base.filter(|base| mirror.holds(base)) else { return Ok(paths) };
        let mut changed = BTreeSet::new();
        for path in paths {
            let id = |commit| mirror.object_id(commit, &path).map_err(|error| chain(&error));
            if id(base)? != id(commit)? {
                changed.insert(path);
            }
        }
        Ok(changed)
    }
}

/// Only a change of the repository, the Secret or the source helps.
fn failure(reason: &'static str, message: String) -> FetchFailure {
    FetchFailure {
        message,
        retryable: false,
        retry_after: None,
        answer: Answer::Answered,
        reason: VERIFICATION_ERROR,
        verification: Some(reason),
    }
}
