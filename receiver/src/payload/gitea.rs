//! Gitea's `push`, for branches and tags. A deleted ref comes as `delete`, of which nothing follows.

use serde::Deserialize;

use super::{Reading, Unreadable, json, other_event, push};
use crate::verify::Verified;

#[derive(Deserialize)]
struct Body {
    #[serde(rename = "ref")]
    reference: Option<String>,
    before: Option<String>,
    after: Option<String>,
    repository: Option<Repository>,
}

#[derive(Deserialize)]
struct Repository {
    full_name: Option<String>,
}

pub(super) fn read(verified: &Verified) -> Result<Reading, Unreadable> {
    if verified.event() != "push" {
        return Ok(other_event(verified));
    }
    let body: Body = json(verified.body())?;
    let full_name = body.repository.and_then(|repository| repository.full_name);
    push(full_name, body.reference, body.before, body.after, "repository.full_name")
}
