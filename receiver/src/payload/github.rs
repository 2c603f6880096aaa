//! GitHub's `push` (branches and tags; created, updated, forced, deleted) and `ping`. What `create` and `delete` say, the
//! push beside them says too.

use serde::Deserialize;

use super::{Ignored, Reading, Unreadable, form, json, other_event, push};
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
    match verified.event() {
        "push" => push_body(&form::unwrap(verified.body())?),
        "ping" => Ok(Reading::Ignored(Ignored::Ping)),
        _ => Ok(other_event(verified)),
    }
}

/// The body of a push, which names its repository by `repository.full_name`.
pub(super) fn push_body(body: &[u8]) -> Result<Reading, Unreadable> {
    let body: Body = json(body)?;
    let full_name = body.repository.and_then(|repository| repository.full_name);
    push(full_name, body.reference, body.before, body.after, "repository.full_name")
}
