//! Subjects: where each message goes, and back again.
//!
//! Knows the layout of Towline's subjects and of the two JetStream API subjects that permissions name. Must not know who may
//! use them. Building never fails; parsing accepts only what building makes.

use std::fmt;

use crate::names::{ClusterName, RefName};
use crate::report::EventKind;
use crate::repository::{RepositoryId, RepositoryToken};
use crate::token;

/// Every commit event there is.
pub const COMMIT_WILDCARD: &str = "towline.commit.*.*";
pub const STATUS_WILDCARD: &str = "towline.status.*.*.*";
pub const EVENT_WILDCARD: &str = "towline.event.*.*";
pub const HEARTBEAT_WILDCARD: &str = "towline.heartbeat.*";

/// A subject, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    Commit { repository: RepositoryToken, reference: RefName },
    ReconcileCluster { cluster: ClusterName },
    ReconcileSync { cluster: ClusterName, namespace: String, name: String },
    Status { cluster: ClusterName, namespace: String, name: String },
    Event { cluster: ClusterName, kind: EventKind },
    Heartbeat { cluster: ClusterName },
}

/// Why a text is none of Towline's subjects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    #[error("read the subject: it has no known layout")]
    Layout,
    #[error("read the subject: the repository's token is malformed")]
    Repository,
    #[error("read the subject: the ref's token is malformed")]
    Reference,
    #[error("read the subject: the cluster's name is malformed")]
    Cluster,
    #[error("read the subject: the token of the Sync's namespace or name is malformed")]
    Sync,
    #[error("read the subject: the kind of event is unknown")]
    Kind,
}

pub fn commit(repository: &RepositoryId, reference: &RefName) -> String {
    commit_of(&repository.token(), reference)
}

/// All refs of one repository.
pub fn commit_all_refs(repository: &RepositoryId) -> String {
    format!("towline.commit.{}.*", repository.token())
}

pub fn reconcile_cluster(cluster: &ClusterName) -> String {
    format!("towline.reconcile.{cluster}")
}

pub fn reconcile_sync(cluster: &ClusterName, namespace: &str, name: &str) -> String {
    format!("towline.reconcile.{cluster}.{}.{}", token_of(namespace), token_of(name))
}

/// What an agent subscribes to for requests: to all of its cluster, and to one Sync of it.
pub fn reconcile_filters(cluster: &ClusterName) -> [String; 2] {
    [reconcile_cluster(cluster), format!("towline.reconcile.{cluster}.*.*")]
}

pub fn status(cluster: &ClusterName, namespace: &str, name: &str) -> String {
    format!("towline.status.{cluster}.{}.{}", token_of(namespace), token_of(name))
}

pub fn event(cluster: &ClusterName, kind: EventKind) -> String {
    format!("towline.event.{cluster}.{}", kind.token())
}

pub fn heartbeat(cluster: &ClusterName) -> String {
    format!("towline.heartbeat.{cluster}")
}

/// Where the last message of a subject is asked for, without a consumer.
pub fn direct_get(stream: &str, subject: &str) -> String {
    format!("$JS.API.DIRECT.GET.{stream}.{subject}")
}

/// Where a stream's configuration is asked for.
pub fn stream_info(stream: &str) -> String {
    format!("$JS.API.STREAM.INFO.{stream}")
}

fn commit_of(repository: &RepositoryToken, reference: &RefName) -> String {
    format!("towline.commit.{repository}.{}", token_of(reference.as_str()))
}

fn token_of(name: &str) -> String {
    token::encode(name.as_bytes())
}

fn name_of(token: &str) -> Option<String> {
    String::from_utf8(token::decode(token)?).ok()
}

impl Subject {
    pub fn parse(subject: &str) -> Result<Self, SubjectError> {
        let cluster_of = |text: &str| ClusterName::parse(text).map_err(|_| SubjectError::Cluster);
        let sync_of = |text: &str| name_of(text).ok_or(SubjectError::Sync);
        let rest = subject.strip_prefix("towline.").ok_or(SubjectError::Layout)?;
        let tokens: Vec<&str> = rest.split('.').collect();
        Ok(match tokens.as_slice() {
            ["commit", repository, reference] => Self::Commit {
                repository: RepositoryToken::parse(repository).ok_or(SubjectError::Repository)?,
                reference: name_of(reference)
                    .and_then(|name| RefName::parse(&name).ok())
                    .ok_or(SubjectError::Reference)?,
            },
            ["reconcile", cluster] => Self::ReconcileCluster { cluster: cluster_of(cluster)? },
            ["reconcile", cluster, namespace, name] => Self::ReconcileSync {
                cluster: cluster_of(cluster)?,
                namespace: sync_of(namespace)?,
                name: sync_of(name)?,
            },
            ["status", cluster, namespace, name] => {
                Self::Status { cluster: cluster_of(cluster)?, namespace: sync_of(namespace)?, name: sync_of(name)? }
            }
            ["event", cluster, kind] => Self::Event {
                cluster: cluster_of(cluster)?,
                kind: EventKind::parse(kind).map_err(|_| SubjectError::Kind)?,
            },
            ["heartbeat", cluster] => Self::Heartbeat { cluster: cluster_of(cluster)? },
            _ => return Err(SubjectError::Layout),
        })
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Commit { repository, reference } => commit_of(repository, reference),
            Self::ReconcileCluster { cluster } => reconcile_cluster(cluster),
            Self::ReconcileSync { cluster, namespace, name } => reconcile_sync(cluster, namespace, name),
            Self::Status { cluster, namespace, name } => status(cluster, namespace, name),
            Self::Event { cluster, kind } => event(cluster, *kind),
            Self::Heartbeat { cluster } => heartbeat(cluster),
        };
        f.write_str(&text)
    }
}

impl std::str::FromStr for Subject {
    type Err = SubjectError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}
