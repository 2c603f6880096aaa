//! What the loop is told, and what it answers: values only.

use std::collections::BTreeSet;

use jiff::Timestamp;
use towline_plan::members::Share;
use towline_plan::object::SyncKey;
use towline_plan::schedule::hosts::Answer;
use towline_proto::CommitId;

use super::secrets::Versions;
use super::{Read, ReadSync, SourceKey, fetching, passing, source, standing, verifying};
use crate::api::{GitSource, Inventory};
use crate::bus::{BusEvent, Interest};
use crate::cluster::{Moved, ResourceEvent, SecretKey, SecretSeen};
use crate::mirror::Mirror;
use crate::pass::Revision;
use crate::signature::Verified;

/// Everything that can happen.
#[derive(Debug)]
pub enum Event {
    Resource(ResourceEvent),
    Bus(BusEvent),
    /// Something of a Sync's objects moved.
    Moved(Moved),
    /// The commit a status names is in the mirror: it can be worked from before Git was asked.
    Recovered {
        source: SourceKey,
        revision: Revision,
        /// It is what is demanded now, too.
        verified: Verified,
        mirror: OpenMirror,
    },
    /// What Syncs of a source work from, or would after a restart, is not what is demanded.
    Refused {
        source: SourceKey,
        commit: CommitId,
        failure: FetchFailure,
    },
    /// The fetch of this number ended; only the newest one of a source counts.
    Fetched {
        source: SourceKey,
        number: u64,
        result: Result<Brought, FetchFailure>,
    },
    /// The fetch of this number has read these versions of its Secrets.
    SecretsRead {
        source: SourceKey,
        number: u64,
        read: Versions,
    },
    /// A watch shows a Secret that a source names.
    Secret(SecretSeen),
    /// A source's status was written, or could not be.
    Written {
        source: SourceKey,
        result: Result<Box<GitSource>, String>,
    },
    Passed {
        sync: SyncKey,
        passed: passing::Passed,
    },
    /// It was said on a Sync why it does not run, or could not be: then there is nothing written.
    Explained {
        sync: SyncKey,
        /// Of the Sync it was said of.
        uid: Option<String>,
        written: Option<Box<crate::api::Sync>>,
    },
    /// What this replica is to take care of from now on.
    Divided(Share),
    /// What came to this replica was read, by the read of this number.
    Read {
        number: u64,
        syncs: Vec<ReadSync>,
        sources: Vec<GitSource>,
    },
    /// It was said how a Sync stands, or could not be.
    Stood {
        sync: SyncKey,
        stood: standing::Stood,
    },
    /// A moment that was waited for has come.
    Due,
}

/// A mirror, without its insides in debug output.
#[derive(Clone)]
pub struct OpenMirror(pub Mirror);

impl std::fmt::Debug for OpenMirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.url())
    }
}

/// What a fetch brought.
#[derive(Debug, Clone)]
pub struct Brought {
    pub mirror: OpenMirror,
    pub verified: Verified,
    /// The tag that was found, where a range of versions is followed.
    pub tag: Option<String>,
}

/// Why a fetch brought nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchFailure {
    pub message: String,
    pub retryable: bool,
    /// How long the server asks to be left alone.
    pub retry_after: Option<std::time::Duration>,
    /// What it says of the host.
    pub answer: Answer,
    /// Of the condition.
    pub reason: &'static str,
    /// Verification failed, not the fetch: the reason of the condition `SourceVerified`.
    pub verification: Option<&'static str>,
}

/// What the driver is to do.
pub enum Action {
    Fetch(Box<fetching::Job>),
    /// Looks for what was fetched before a restart, without asking Git.
    Recover {
        source: SourceKey,
        asked: Box<verifying::Asked>,
        url: String,
        revision: Revision,
    },
    WriteSource(Box<source::Write>),
    /// Tells what befell a source.
    Tell(Box<source::Tell>),
    Pass(Box<passing::Job>),
    /// Says why a Sync does not run.
    Explain(Box<passing::Explanation>),
    /// Says how a Sync stands between its passes.
    Stand(Box<standing::Stand>),
    /// Says that something works against a Sync.
    Warn(Box<passing::Warning>),
    /// Listen to these refs from now on.
    Listen(BTreeSet<Interest>),
    /// Watch these Secrets from now on.
    WatchSecrets(BTreeSet<SecretKey>),
    /// Syncs came to this replica: what the API server has of them now.
    Read(Read),
    /// Lets an Inventory go whose Sync is gone.
    Release(Box<Inventory>),
    /// A Sync is gone: its tombstone is reported.
    Bury(Box<crate::api::Sync>),
}

/// What an event is judged with, besides itself.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub now: Timestamp,
    /// Uniform in 0..1.
    pub dice: f64,
}
