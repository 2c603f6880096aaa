//! What a source follows: one ref, or the newest tag of a range.
//!
//! Knows what a spec means by its ref, and which names of revisions can come of it. Must not know how it is looked at.

use towline_plan::tag_range::TagRange;
use towline_proto::{RefName, RepositoryId};

use crate::api::{GitRef, GitSource};
use crate::bus::Interest;

/// What is asked for at the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Following {
    Ref(RefName),
    Newest(TagRange),
}

impl Following {
    pub(super) fn of(reference: &GitRef) -> Result<Self, String> {
        if !reference.is_one() {
            return Err("spec.ref needs exactly one of branch, tag, semver and name".to_owned());
        }
        if let Some(range) = &reference.semver {
            return TagRange::parse(range).map(Self::Newest).map_err(|error| format!("spec.ref.semver: {error}"));
        }
        let name = reference.full_name().unwrap_or_default();
        let name = RefName::parse(&name).map_err(|e| format!("spec.ref: {}", towline_daemon::error::chain(&e)))?;
        Ok(Self::Ref(name))
    }

    /// Whose events make it look.
    pub(super) fn interest(&self, source: &GitSource) -> Result<Interest, String> {
        let spec = &source.spec;
        let repository = match &spec.event_repository {
            Some(named) => RepositoryId::parse(named).map_err(|e| format!("spec.eventRepository: {e}"))?,
            None => RepositoryId::from_url(&spec.url).map_err(|e| format!("spec.url: {e}"))?,
        };
        let (reference, below) = match self {
            Self::Ref(reference) => (reference.clone(), false),
            Self::Newest(_) => (RefName::parse("refs/tags").map_err(|error| error.to_string())?, true),
        };
        Ok(Interest { repository, reference, below })
    }

    /// Whether an event of this ref is worth a look: of tags only those in the range, and that some event may have been missed.
    pub(in crate::engine) fn is_moved_by(&self, reference: &RefName) -> bool {
        match self {
            Self::Ref(followed) => followed == reference,
            Self::Newest(range) => !reference.is_tag() || range.admits(reference.short()),
        }
    }

    /// Whether a revision of this name can have come of it.
    pub(super) fn can_be_called(&self, name: &str, reference: &GitRef) -> bool {
        match self {
            Self::Ref(_) => name == reference.short_name(),
            Self::Newest(range) => range.admits(name),
        }
    }
}
