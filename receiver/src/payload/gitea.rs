//! Gitea's `push`, for branches and tags. A deleted ref comes as `delete`, of which nothing follows.

use super::{Reading, Unreadable, github, other_event};
use crate::verify::Verified;

pub(super) fn read(verified: &Verified) -> Result<Reading, Unreadable> {
    if verified.event() != "push" {
        return Ok(other_event(verified));
    }
    // Gitea's push has the fields of GitHub's.
    github::push_body(verified.body())
}
