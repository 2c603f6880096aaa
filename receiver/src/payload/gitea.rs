//! Gitea's `push`, for branches and tags, `create` and `delete`. Its push has the fields of GitHub's. A created ref comes as
//! a push and as `create`, a deleted tag as a push and as `delete`, a deleted branch as `delete` only.

use super::{Reading, Unreadable, github, other_event};
use crate::verify::Verified;

pub(super) fn read(verified: &Verified) -> Result<Reading, Unreadable> {
    match verified.event() {
        "push" => github::push(verified.body()),
        event => Ok(github::create_or_delete(event).unwrap_or_else(|| other_event(event))),
    }
}
