//! What a body says of refs, as texts, to what is to be published. The same for every provider: names that Git allows,
//! ids that Git makes, the last word on each ref, and none on refs that are gone.

use std::collections::HashSet;

use towline_proto::names::{CommitId, NameError, RefName};
use towline_proto::repository::IDENTITY_BYTES_MAX;
use towline_proto::{RepositoryError, bounds};

use super::field::Place;
use super::{Ignored, Push, Reading, SHOWN_BYTES_MAX, Unreadable};

/// One ref's change.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) reference: RefName,
    pub(super) before: Option<CommitId>,
    /// None: the ref was deleted.
    pub(super) after: Option<CommitId>,
}

/// The repository's name within its host. It is bounded here, because it is repeated for each ref.
pub(super) fn full_name(text: String) -> Result<String, Unreadable> {
    if text.len() > IDENTITY_BYTES_MAX {
        return Err(Unreadable::Repository(RepositoryError::TooLong));
    }
    Ok(text)
}

/// A full name of two parts. A slash in one would make it a name of more.
pub(super) fn full_name_of(parts: [(&'static str, String); 2]) -> Result<String, Unreadable> {
    if let Some((field, _)) = parts.iter().find(|(_, part)| part.is_empty() || part.contains('/')) {
        return Err(Unreadable::NotAPart((*field).into()));
    }
    let [(_, owner), (_, name)] = parts;
    full_name(format!("{owner}/{name}"))
}

/// A ref's full name.
pub(super) fn reference(place: impl Into<Place>, text: &str) -> Result<RefName, Unreadable> {
    let place = place.into();
    let name = RefName::parse(text).map_err(|source| Unreadable::Name { place, source })?;
    if git_allows(text) { Ok(name) } else { Err(Unreadable::NotARef(place)) }
}

/// A commit's id. Git hosts write zeros where there is no commit, as many as an id has; some write nothing.
pub(super) fn commit(place: impl Into<Place>, text: &str) -> Result<Option<CommitId>, Unreadable> {
    if text.is_empty() {
        return Ok(None);
    }
    CommitId::parse_optional(text).map_err(|source| Unreadable::Name { place: place.into(), source })
}

/// A commit's id where the provider writes nothing else.
pub(super) fn existing_commit(place: impl Into<Place>, text: &str) -> Result<CommitId, Unreadable> {
    let place = place.into();
    commit(place, text)?.ok_or(Unreadable::Name { place, source: NameError::ZeroCommit })
}

/// What follows from all changes of a delivery. The last word on a ref counts; the order stays the sender's.
pub(super) fn reading(full_name: String, changes: Vec<Change>) -> Reading {
    let Some(first) = changes.first().map(|change| change.reference.clone()) else {
        return Reading::Ignored(Ignored::NoRef { full_name: bounds::cut(&full_name, SHOWN_BYTES_MAX) });
    };
    let mut refs = HashSet::new();
    let mut pushes: Vec<Push> = changes
        .into_iter()
        .rev()
        .filter(|change| refs.insert(change.reference.clone()))
        .filter_map(|Change { reference, before, after }| {
            let full_name = full_name.clone();
            after.map(|after| Push { full_name, reference, before, after })
        })
        .collect();
    if pushes.is_empty() {
        let reference = bounds::cut(first.as_str(), SHOWN_BYTES_MAX);
        let full_name = bounds::cut(&full_name, SHOWN_BYTES_MAX);
        return Reading::Ignored(Ignored::Deleted { full_name, reference, further: refs.len() - 1 });
    }
    pushes.reverse();
    Reading::Pushes(pushes)
}

/// The rules of `git check-ref-format`. What breaks them is in no repository, and its sender is not what it says it is.
fn git_allows(name: &str) -> bool {
    let forbidden = |c: char| c.is_ascii_control() || " ~^:?*[\\".contains(c);
    let part_allowed = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    !name.contains(forbidden)
        && !name.contains("..")
        && !name.contains("@{")
        && !name.ends_with('.')
        && name.split('/').all(part_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("refs/heads/main", true)]
    #[case("refs/heads/a/b.c/d-e_f", true)]
    #[case("refs/heads/a>b", true)]
    #[case("refs/heads/übung/日本", true)]
    #[case("refs/heads/@", true)]
    #[case("refs/heads/a@b}", true)]
    #[case("refs/tags/v1.0.0+build(1)", true)]
    #[case("refs/heads/a b", false)]
    #[case("refs/heads/*", false)]
    #[case("refs/heads/a..b", false)]
    #[case("refs/heads/.a", false)]
    #[case("refs/heads/a.", false)]
    #[case("refs/heads/a.lock", false)]
    #[case("refs/heads/a.lock/b", false)]
    #[case("refs/heads//a", false)]
    #[case("refs/heads/a/", false)]
    #[case("refs/heads/a@{1}", false)]
    #[case("refs/heads/a\\b", false)]
    #[case("refs/heads/a\u{7f}", false)]
    fn names_that_git_allows(#[case] name: &str, #[case] allowed: bool) {
        assert_eq!(git_allows(name), allowed);
        let asked = std::process::Command::new("git").args(["check-ref-format", name]).status();
        if let Ok(status) = asked {
            assert_eq!(status.success(), allowed, "what git says");
        }
    }
}
