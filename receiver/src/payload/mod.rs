//! A verified body to the refs it speaks of. Pure. Reads the few fields it needs, by name, and no URL of any kind: which
//! repository it is, is said by the hook's host and the full name. Deleted refs and events other than pushes are
//! answered with the reason why nothing is to be done.
//!
//! One file for each provider knows where the facts stand in its bodies. What is the same for all is in `field` (JSON
//! to fields), in `refs` (texts to refs and ids) and in `form` (GitHub's other content type).

mod azure_devops;
mod bitbucket;
mod bitbucket_server;
mod field;
mod forgejo;
mod form;
mod generic;
mod gitea;
mod github;
mod gitlab;
mod refs;

use towline_proto::bounds;
use towline_proto::names::{CommitId, NameError, RefName};

use crate::provider::Provider;
use crate::verify::{Names, Verified};

pub use field::{Place, REFS_MAX};

/// GitLab's longest path has 255 characters; beyond this it is cut in what is shown.
const SHOWN_BYTES_MAX: usize = 256;

/// What was read of a delivery.
#[derive(Debug)]
pub struct Read {
    pub reading: Result<Reading, Unreadable>,
    /// What the delivery calls itself, where the body says it and the headers do not.
    pub names: Option<Names>,
}

/// What a delivery says.
#[derive(Debug, PartialEq, Eq)]
pub enum Reading {
    /// At least one, at most [`REFS_MAX`], each for another ref of one repository.
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
    #[error("a ref was created, and the push event for it says so too")]
    Created,
    #[error("a ref was deleted")]
    Gone,
    #[error("not a push: event `{0}`")]
    OtherEvent(String),
    #[error("no ref of {full_name} was changed")]
    NoRef { full_name: String },
    #[error("{reference} of {full_name} was deleted{}", further_refs(*further))]
    Deleted { full_name: String, reference: String, further: usize },
    #[error("repository {full_name} is not in the hook's allow-list")]
    NotAllowed { full_name: String },
}

/// Why a verified body cannot be read. Names fields and places, quotes nothing.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("the form has not exactly one field, payload, percent-encoded")]
    NotAForm,
    #[error("the body is not JSON (line {line}, column {column})")]
    NotJson { line: usize, column: usize },
    #[error("the body is not a JSON object")]
    NotAnObject,
    #[error("a field occurs twice in an object (line {line}, column {column})")]
    Repeated { line: usize, column: usize },
    #[error("the field {0} is missing")]
    Missing(Place),
    #[error("the field {0} is null")]
    Null(Place),
    #[error("the field {place} is not {expected}")]
    Mistyped { place: Place, expected: &'static str },
    #[error("the field {place} is not usable")]
    Name { place: Place, source: NameError },
    #[error("the field {0} is not usable: Git allows no such name for a ref")]
    NotARef(Place),
    #[error("the field {0} is not usable: it must be neither empty nor contain a slash")]
    NotAPart(Place),
    #[error("the field {0} is neither `branch` nor `tag`")]
    NoKindOfRef(Place),
    #[error("{found} refs are more than the {REFS_MAX} taken from one delivery: they are left to polling")]
    TooMany { found: usize },
    #[error("the repository's full name is not usable")]
    Repository(#[source] towline_proto::RepositoryError),
}

/// Reads a delivery by its hook's provider.
pub fn read(verified: &Verified) -> Read {
    let reading = match verified.provider() {
        Provider::Github => github::read(verified),
        Provider::Gitlab => return gitlab::read(verified),
        Provider::Gitea => gitea::read(verified),
        Provider::Forgejo => forgejo::read(verified),
        Provider::Bitbucket => bitbucket::read(verified),
        Provider::BitbucketServer => bitbucket_server::read(verified),
        Provider::AzureDevops => return azure_devops::read(verified),
        Provider::Generic => generic::read(verified),
    };
    Read { reading, names: None }
}

fn other_event(event: &str) -> Reading {
    Reading::Ignored(Ignored::OtherEvent(event.to_owned()))
}

fn further_refs(number: usize) -> String {
    if number == 0 { String::new() } else { format!(", and {number} more") }
}

impl Ignored {
    pub(crate) fn not_allowed(full_name: &str) -> Self {
        Self::NotAllowed { full_name: bounds::cut(full_name, SHOWN_BYTES_MAX) }
    }
}
