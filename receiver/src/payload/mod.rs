//! A verified body to the refs it speaks of. Pure. Reads the few fields it needs, by name, and no URL of any kind: which
//! repository it is, is said by the hook's host and the full name. Deleted refs and events other than pushes are
//! answered with the reason why nothing is to be done.

mod azure_devops;
mod bitbucket;
mod bitbucket_server;
mod forgejo;
mod form;
mod generic;
mod gitea;
mod github;
mod gitlab;

use serde::de::DeserializeOwned;
use towline_proto::bounds;
use towline_proto::names::{CommitId, NameError, RefName};

use crate::provider::Provider;
use crate::verify::{Names, Verified};

/// GitLab's longest path has 255 characters; beyond this it is cut in what is shown.
const SHOWN_BYTES_MAX: usize = 256;

/// What was read of a delivery.
#[derive(Debug, PartialEq, Eq)]
pub struct Read {
    pub reading: Reading,
    /// What the delivery calls itself, where the body says it and the headers do not.
    pub names: Option<Names>,
}

/// What a delivery says.
#[derive(Debug, PartialEq, Eq)]
pub enum Reading {
    Pushes(Vec<Push>),
    Ignored(Ignored),
}

/// A ref that has a new value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// The repository's name within its host.
    pub full_name: String,
    pub reference: RefName,
    /// None: the ref is new.
    pub before: Option<CommitId>,
    pub after: CommitId,
}

/// Why there is nothing to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ignored {
    #[error("a ping")]
    Ping,
    #[error("not a push: event `{0}`")]
    OtherEvent(String),
    #[error("{reference} of {full_name} was deleted")]
    Deleted { full_name: String, reference: String },
    #[error("repository {full_name} is not in the hook's allow-list")]
    NotAllowed { full_name: String },
}

/// Why a verified body cannot be read. Names fields and places, quotes nothing.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("the body is not JSON (line {line}, column {column})")]
    NotJson { line: usize, column: usize },
    #[error("the form has not exactly one field, payload, percent-encoded")]
    NotAForm,
    #[error("a field has another type than documented (line {line}, column {column})")]
    WrongType { line: usize, column: usize },
    #[error("the field {0} is missing")]
    Missing(&'static str),
    #[error("the field {field} is not usable")]
    Name { field: &'static str, source: NameError },
    #[error("the repository's full name is not usable")]
    Repository(#[source] towline_proto::RepositoryError),
}

/// Reads a delivery by its hook's provider.
pub fn read(verified: &Verified) -> Result<Read, Unreadable> {
    let reading = match verified.provider() {
        Provider::Github => github::read(verified),
        Provider::Gitlab => gitlab::read(verified),
        Provider::Gitea => gitea::read(verified),
        Provider::Forgejo => forgejo::read(verified),
        Provider::Bitbucket => bitbucket::read(verified),
        Provider::BitbucketServer => bitbucket_server::read(verified),
        Provider::AzureDevops => return azure_devops::read(verified),
        Provider::Generic => generic::read(verified),
    }?;
    Ok(Read { reading, names: None })
}

fn other_event(verified: &Verified) -> Reading {
    Reading::Ignored(Ignored::OtherEvent(verified.event().to_owned()))
}

fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Unreadable> {
    serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        if error.is_data() { Unreadable::WrongType { line, column } } else { Unreadable::NotJson { line, column } }
    })
}

/// The same four facts, whatever the provider calls them.
fn push(
    full_name: Option<String>,
    reference: Option<String>,
    before: Option<String>,
    after: Option<String>,
    name_of_full_name: &'static str,
) -> Result<Reading, Unreadable> {
    let full_name = full_name.ok_or(Unreadable::Missing(name_of_full_name))?;
    let reference = reference.ok_or(Unreadable::Missing("ref"))?;
    let reference = RefName::parse(&reference).map_err(|source| Unreadable::Name { field: "ref", source })?;
    let after = commit("after", &after.ok_or(Unreadable::Missing("after"))?)?;
    let before = before.map_or(Ok(None), |text| commit("before", &text))?;
    Ok(match after {
        Some(after) => Reading::Pushes(vec![Push { full_name, reference, before, after }]),
        None => Reading::Ignored(Ignored::Deleted {
            full_name: bounds::cut(&full_name, SHOWN_BYTES_MAX),
            reference: bounds::cut(reference.as_str(), SHOWN_BYTES_MAX),
        }),
    })
}

/// Git hosts write zeros where there is no commit, some write nothing.
fn commit(field: &'static str, text: &str) -> Result<Option<CommitId>, Unreadable> {
    if text.is_empty() {
        return Ok(None);
    }
    CommitId::parse_optional(text).map_err(|source| Unreadable::Name { field, source })
}

impl Ignored {
    pub(crate) fn not_allowed(full_name: &str) -> Self {
        Self::NotAllowed { full_name: bounds::cut(full_name, SHOWN_BYTES_MAX) }
    }
}
