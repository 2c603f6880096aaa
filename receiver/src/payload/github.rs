//! GitHub's `push` (branches and tags; created, updated, forced, deleted), `create`, `delete` and `ping`; one ref in each.
//! `create` and `delete` have no commit ids and come beside a push, which has them.

use serde::Deserialize;

use super::field::{self, Field, Object};
use super::refs::{self, Change};
use super::{Ignored, Reading, Unreadable, form, other_event};
use crate::verify::Verified;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    #[serde(rename = "ref")]
    reference: Field<String>,
    before: Field<String>,
    after: Field<String>,
    repository: Field<Object<Repository>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Repository {
    full_name: Field<String>,
}

pub(super) fn read(verified: &Verified) -> Result<Reading, Unreadable> {
    match verified.event() {
        "push" => push(&form::unwrap(verified.body())?),
        "ping" => Ok(Reading::Ignored(Ignored::Ping)),
        event => Ok(create_or_delete(event).unwrap_or_else(|| other_event(event))),
    }
}

/// The events about a ref that name no commit.
pub(super) fn create_or_delete(event: &str) -> Option<Reading> {
    match event {
        "create" => Some(Reading::Ignored(Ignored::Created)),
        "delete" => Some(Reading::Ignored(Ignored::Gone)),
        _ => None,
    }
}

/// The body of a push.
pub(super) fn push(body: &[u8]) -> Result<Reading, Unreadable> {
    let body: Body = field::object(body)?;
    let full_name = body.repository.required("repository")?.0.full_name.required("repository.full_name")?;
    let change = Change {
        reference: refs::reference("ref", &body.reference.required("ref")?)?,
        before: refs::commit("before", &body.before.required("before")?)?,
        after: refs::commit("after", &body.after.required("after")?)?,
    };
    Ok(refs::reading(refs::full_name(full_name)?, vec![change]))
}
