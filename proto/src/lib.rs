//! The wire between Towline's parts: what things are called, where messages go, and what they say.
//!
//! Everything here is a pure function of its arguments: no IO, no clock, no randomness, no client of NATS, Git or Kubernetes.
//! In the order in which a push travels:
//!
//! 1. A Git URL or a hook's repository name is split (`location`), mapped by the table of known hosts (`hosts`) and becomes
//!    one [`RepositoryId`] ([`repository`]), the same on both sides.
//! 2. Clusters, refs and commits are validated once, where they enter ([`names`]).
//! 3. Names become subject tokens (`token`) and subjects ([`subject`]), which streams store ([`streams`]).
//! 4. The receiver publishes a [`CommitEvent`] ([`commit_event`]): a hint to look, never an instruction.
//! 5. What agents say ([`report`]) is cut to size ([`bounds`]), signed with the cluster's reporting key ([`keys`]) and sent in an
//!    [`Envelope`] ([`envelope`]), which the hub opens or counts as refused.
//!
//! Every message carries a version ([`version`]); every sample ever shipped, kept in `golden/`, decodes for ever.

mod location;

mod hosts;

pub mod repository;

pub mod names;

mod token;

pub mod subject;

pub mod streams;

pub mod version;

pub mod bounds;

pub mod commit_event;

pub mod commit_info;

pub mod report;

pub mod keys;

pub mod envelope;

pub use commit_event::{CommitEvent, CommitEventError};
pub use commit_info::CommitInfo;
pub use envelope::{Envelope, EnvelopeError, Opened, Replay, Rising};
pub use keys::{KeyError, ReportingKey, SigningKey, VerifyingKey, parse_verifying_key, verifying_key_text};
pub use names::{ClusterName, CommitId, NameError, RefName};
pub use report::{
    ChangeEvent, EventKind, Heartbeat, ObjectChange, Readiness, ReadyStatus, SyncStatus, UnknownEventKind,
};
pub use repository::{RepositoryError, RepositoryId, RepositoryToken};
pub use streams::{Discard, StreamSpec};
pub use subject::{Subject, SubjectError};
pub use version::{VersionError, Wire};
