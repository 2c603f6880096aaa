//! A conversation with the server about one ref, and what can go wrong in it.
//!
//! Knows how a connection is set up so that nothing but our own configuration plays a part, and how failures are told apart. Must
//! not know the mirror on disk.

use std::io;
use std::time::Duration;

use gix::ObjectId;
use gix::protocol::handshake::Ref;
use gix::protocol::transport::Protocol;
use gix::protocol::transport::client::blocking_io::http::Transport;
use gix::remote::{Connection, fetch::RefMap};
use towline_proto::RefName;

use super::Mirror;
use super::exchange::Exchange;
use super::halt::{Halt, Stop};
use super::limits::Exceeded;
use super::store::explain;
use super::wire::{Failure, Wire};
use crate::access::Access;

/// A repository with 100,000 refs that all begin with the one that is asked for lists them in 10 MB.
const LIST_BYTES_MAX: u64 = 32 << 20;

/// No server lists its capabilities in less. gix takes an answer without any for one without refs, which would be a lie.
const LIST_BYTES_MIN: u64 = 64;

/// How gix says that ids are longer than SHA-1's: it learns of them before it looks at the format the server names.
const LONG_ID: &str = "A hash sized 64 hexadecimal characters is invalid";

/// Why the server's state is not known, or its commit not here.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("fetch {reference} from {url}: the repository has no such ref")]
    RefNotFound { reference: String, url: String },
    #[error("fetch the newest tag in {range} from {url}: {}", found(*.versions, .highest.as_deref()))]
    NoTag { range: String, url: String, versions: usize, highest: Option<String> },
    #[error("fetch {reference} from {url}: it is not a valid ref name")]
    RefInvalid { reference: String, url: String },
    #[error("fetch {reference} from {url}: it does not name a commit")]
    NotACommit { reference: String, url: String },
    #[error(
        "fetch from {url}: the server asks who we are (HTTP {status}), and there are no credentials: name a Secret in spec.secretRef"
    )]
    Anonymous { url: String, status: u16 },
    #[error(
        "fetch from {url}: the server does not take the credentials (HTTP 401): they are wrong, expired or revoked"
    )]
    Unauthorized { url: String },
    #[error(
        "fetch from {url}: the server knows the credentials and refuses them (HTTP 403): they may not read this repository"
    )]
    Forbidden { url: String },
    #[error("fetch from {url}: there is no such repository, or {} (HTTP 404)", hidden(*.login))]
    RepositoryNotFound { url: String, login: bool },
    #[error(
        "fetch from {url}: credentials are not sent over plain http: use https, or name the host in plain_http_hosts of the agent's configuration"
    )]
    PlainHttp { url: String },
    #[error("fetch from {url}: the server answers HTTP {status}{}", asked(*.retry_after))]
    Status { url: String, status: u16, retry_after: Option<Duration> },
    #[error(
        "fetch from {url}: the server sends us to {to}, which is not followed: name that URL in the source if it is right"
    )]
    Redirect { url: String, to: String },
    #[error("fetch from {url}: the server answers with {content_type}, not with Git's smart HTTP protocol")]
    NotGit { url: String, content_type: String },
    #[error("fetch from {url}: cannot connect: {cause}")]
    Connect { url: String, cause: String },
    #[error("fetch from {url}: cannot agree on TLS: {cause}")]
    Tls { url: String, cause: String },
    #[error("fetch from {url}: not done in time")]
    DeadlineExceeded { url: String },
    #[error("fetch from {url}: interrupted")]
    Interrupted { url: String },
    #[error("fetch from {url}: another fetch into this mirror did not end in time")]
    Busy { url: String },
    #[error("fetch from {url}: the server sends more than {bytes_max} bytes{}", allowed(*.pack))]
    TooLarge { url: String, bytes_max: u64, pack: bool },
    #[error("fetch from {url}: {limit}")]
    Exceeded { url: String, limit: Exceeded },
    #[error("fetch from {url}: the repository needs something that is not supported: {cause}")]
    NotSupported { url: String, cause: String },
    #[error("fetch from {url}: the conversation broke: {cause}")]
    Protocol { url: String, cause: String },
    #[error("fetch from {url}: cannot keep it on disk: {cause}")]
    Disk { url: String, cause: String },
}

impl FetchError {
    /// Whether the same call may succeed without anybody changing the source, its credentials or its server's address.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::RefNotFound { .. }
            | Self::NoTag { .. }
            | Self::RefInvalid { .. }
            | Self::NotACommit { .. }
            | Self::Anonymous { .. }
            | Self::Unauthorized { .. }
            | Self::Forbidden { .. }
            | Self::PlainHttp { .. }
            | Self::RepositoryNotFound { .. }
            | Self::Redirect { .. }
            | Self::Tls { .. }
            | Self::TooLarge { .. }
            | Self::Exceeded { .. }
            | Self::NotSupported { .. } => false,
            Self::Status { status, retry_after, .. } => {
                retry_after.is_some() || *status >= 500 || matches!(status, 408 | 425 | 429)
            }
            Self::NotGit { .. }
            | Self::Connect { .. }
            | Self::DeadlineExceeded { .. }
            | Self::Interrupted { .. }
            | Self::Busy { .. }
            | Self::Protocol { .. }
            | Self::Disk { .. } => true,
        }
    }

    /// Whether the host is to blame, whatever was asked of it: others that ask it now fare no better.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Status { status, .. } => *status >= 500,
            other => matches!(other, Self::Connect { .. } | Self::DeadlineExceeded { .. }),
        }
    }

    /// Whether it tells nothing of the host: what failed was here, or there is no telling where.
    pub fn is_ours(&self) -> bool {
        matches!(
            self,
            Self::RefInvalid { .. }
                | Self::PlainHttp { .. }
                | Self::Interrupted { .. }
                | Self::Busy { .. }
                | Self::Disk { .. }
                | Self::Protocol { .. }
        )
    }

    /// Whether it is about who we are.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Anonymous { .. } | Self::Unauthorized { .. } | Self::Forbidden { .. } | Self::PlainHttp { .. }
        )
    }

    /// The word of the metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::RefNotFound { .. } | Self::NoTag { .. } | Self::RefInvalid { .. } | Self::NotACommit { .. } => {
                "no_such_ref"
            }
            Self::Anonymous { .. } | Self::Unauthorized { .. } | Self::Forbidden { .. } | Self::PlainHttp { .. } => {
                "authentication"
            }
            Self::RepositoryNotFound { .. } => "not_found",
            Self::Status { .. } => "status",
            Self::Redirect { .. } | Self::NotGit { .. } => "not_git",
            Self::Connect { .. } => "connect",
            Self::Tls { .. } => "tls",
            Self::DeadlineExceeded { .. } => "timeout",
            Self::Interrupted { .. } => "interrupted",
            Self::Busy { .. } => "busy",
            Self::TooLarge { .. } | Self::Exceeded { .. } => "too_large",
            Self::NotSupported { .. } => "not_supported",
            Self::Protocol { .. } => "protocol",
            Self::Disk { .. } => "disk",
        }
    }

    /// How long the server asks to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// What the server says about a ref.
pub(super) struct Listed {
    /// What the ref names: a commit or an annotated tag.
    pub(super) target: ObjectId,
    /// The commit.
    pub(super) peeled: ObjectId,
}

/// One conversation, about one ref.
pub(super) struct Conversation<'a> {
    pub(super) mirror: &'a Mirror,
    pub(super) reference: &'a RefName,
    pub(super) wire: Wire,
    /// Whether it says who we are.
    login: bool,
    halt: &'a Halt,
}

impl<'a> Conversation<'a> {
    pub(super) fn new(
        mirror: &'a Mirror,
        reference: &'a RefName,
        access: &Access,
        halt: &'a Halt,
    ) -> Result<Self, FetchError> {
        let login = access.login.is_some();
        let wire = Wire::new(access, halt.clone(), LIST_BYTES_MAX, std::sync::Arc::clone(&mirror.traffic));
        let wire = wire.map_err(|failure| told_by_the_wire(failure, mirror.url.clone(), login))?;
        let conversation = Self { mirror, reference, halt, wire, login };
        match gix::validate::reference::name(reference.as_str().into()) {
            Ok(_) => Ok(conversation),
            Err(_) => Err(FetchError::RefInvalid { reference: reference.to_string(), url: mirror.url.clone() }),
        }
    }

    /// The ref to ask for, kept as `local`.
    pub(super) fn remote<'repo>(
        &self,
        repository: &'repo gix::Repository,
        local: &str,
    ) -> gix::Result<gix::Remote<'repo>> {
        let spec = format!("+{}:{local}", self.reference);
        let remote = repository.remote_at_without_url_rewrite(self.mirror.url.as_str())?;
        let remote = remote.with_fetch_tags(gix::remote::fetch::Tags::None);
        remote.with_refspecs([spec.as_str()], gix::remote::Direction::Fetch)
    }

    /// Over our own HTTP, which alone knows credentials: unset, gix would run helpers and ask at the terminal.
    pub(super) fn connect<'r, 'repo>(
        &self,
        remote: &'r gix::Remote<'repo>,
    ) -> gix::Result<Connection<'r, 'static, 'repo, Transport<Exchange>>> {
        let url = gix::url::parse(self.mirror.url.as_str())?;
        let transport = Transport::new_http(Exchange::new(self.wire.clone()), url, Protocol::V2, false);
        let connection = remote.to_connection_with_transport(transport).with_credentials(|_| Ok(None));
        // Set, so that gix does not look for proxies and the like in configuration.
        Ok(connection.with_transport_options(Box::new(())))
    }

    /// Our ref among those that begin like it.
    pub(super) fn listed(&self, map: &RefMap) -> Result<Listed, FetchError> {
        let ours = |candidate: &&Ref| candidate.unpack().0 == self.reference.as_str();
        match map.remote_refs.iter().find(ours).map(Ref::unpack) {
            Some((_, Some(target), peeled)) => {
                Ok(Listed { target: target.to_owned(), peeled: peeled.unwrap_or(target).to_owned() })
            }
            _ => self.is_an_answer().and_then(|()| {
                Err(FetchError::RefNotFound { reference: self.reference.to_string(), url: self.mirror.url.clone() })
            }),
        }
    }

    /// Whether what is not in the list is not at the server.
    pub(super) fn is_an_answer(&self) -> Result<(), FetchError> {
        if self.wire.received_bytes() >= LIST_BYTES_MIN {
            return Ok(());
        }
        let cause = "the server's answer is empty".to_owned();
        Err(FetchError::Protocol { url: self.mirror.url.clone(), cause })
    }

    /// What an error of gix means. What the wire knows comes first, then whether it was time to stop: all else follows from these.
    pub(super) fn error(&self, error: &gix::Error) -> FetchError {
        let url = self.mirror.url.clone();
        if let Some(failure) = self.wire.failure() {
            return told_by_the_wire(failure, url, self.login);
        }
        if let Some(stop) = self.halt.reached() {
            return stopped(stop, url);
        }
        let cause = explain(error);
        if error.downcast_any_ref::<io::Error>().is_some_and(is_disk) {
            return FetchError::Disk { url, cause };
        }
        if error.is_resource_exhausted() {
            // Of an object whose size says that it is too large: it was not loaded.
            let limit = Exceeded::ObjectBytes { max: self.mirror.limits.file_bytes };
            return FetchError::Exceeded { url, limit };
        }
        if cause.contains(LONG_ID) {
            return FetchError::NotSupported { url, cause: "its object ids are SHA-256".to_owned() };
        }
        if error.is_unsupported() {
            return FetchError::NotSupported { url, cause };
        }
        FetchError::Protocol { url, cause }
    }
}

pub(super) fn stopped(stop: Stop, url: String) -> FetchError {
    match stop {
        Stop::Deadline => FetchError::DeadlineExceeded { url },
        Stop::Interrupted => FetchError::Interrupted { url },
    }
}

fn allowed(pack: bool) -> &'static str {
    match pack {
        true => "; git.received_bytes_max of the agent's configuration allows more",
        false => " in its list of refs",
    }
}

fn found(versions: usize, highest: Option<&str>) -> String {
    match highest {
        None => "none of its tags is a version".to_owned(),
        Some(highest) => format!("of {versions} tags that are versions none is in it; the newest is {highest}"),
    }
}

fn hidden(login: bool) -> &'static str {
    if login { "these credentials may not see it" } else { "it is private and there are no credentials" }
}

fn asked(retry_after: Option<Duration>) -> String {
    retry_after.map(|wait| format!(" and asks to be left alone for {} s", wait.as_secs())).unwrap_or_default()
}

fn told_by_the_wire(failure: Failure, url: String, login: bool) -> FetchError {
    match failure {
        Failure::Stopped(stop) => stopped(stop, url),
        Failure::Unreachable { cause } => FetchError::Connect { url, cause },
        Failure::Tls { cause } => FetchError::Tls { url, cause },
        Failure::PlainHttp => FetchError::PlainHttp { url },
        // GitHub's word for a limit that is used up; it says when to come again, which a refusal never does.
        Failure::Status { status: status @ 403, retry_after: Some(wait) } => {
            FetchError::Status { url, status, retry_after: Some(wait) }
        }
        Failure::Status { status: status @ (401 | 403), .. } if !login => FetchError::Anonymous { url, status },
        Failure::Status { status: 401, .. } => FetchError::Unauthorized { url },
        Failure::Status { status: 403, .. } => FetchError::Forbidden { url },
        Failure::Status { status: 404 | 410, .. } => FetchError::RepositoryNotFound { url, login },
        Failure::Status { status, retry_after } => FetchError::Status { url, status, retry_after },
        Failure::Redirect { to } => FetchError::Redirect { url, to },
        Failure::NotGit { content_type } => FetchError::NotGit { url, content_type },
        Failure::TooLarge { bytes_max, pack } => FetchError::TooLarge { url, bytes_max, pack },
        Failure::Broken { cause } => FetchError::Protocol { url, cause },
    }
}

/// The wire's own errors never get here, so these are about files.
fn is_disk(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem | PermissionDenied | FileTooLarge)
}
