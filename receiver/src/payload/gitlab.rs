//! GitLab's `Push Hook` and `Tag Push Hook`. `after` is the ref's new value; the peeled commit of an annotated tag
//! (`checkout_sha`) is not what `git ls-remote` shows for the ref, and is not used.

use serde::Deserialize;

use super::{Reading, Unreadable, json, other_event, push};
use crate::verify::Verified;

#[derive(Deserialize)]
struct Body {
    #[serde(rename = "ref")]
    reference: Option<String>,
    before: Option<String>,
    after: Option<String>,
    project: Option<Project>,
}

#[derive(Deserialize)]
struct Project {
    path_with_namespace: Option<String>,
}

pub(super) fn read(verified: &Verified) -> Result<Reading, Unreadable> {
    if !matches!(verified.event(), "Push-Hook" | "Tag-Push-Hook") {
        return Ok(other_event(verified));
    }
    let body: Body = json(verified.body())?;
    let full_name = body.project.and_then(|project| project.path_with_namespace);
    push(full_name, body.reference, body.before, body.after, "project.path_with_namespace")
}
