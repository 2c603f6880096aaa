//! GitLab's `Push Hook` and `Tag Push Hook`, with one ref each, and the administrators' `System Hook`, whose body says by
//! `event_name` what it is: `push` and `tag_push` like the others, `repository_update` with all refs of a push.
//!
//! `after` is the ref's new value; the peeled commit of an annotated tag (`checkout_sha`) is not what `git ls-remote` shows
//! for the ref, and is not used.

use serde::Deserialize;

use super::field::{self, Field, List, Object, Place};
use super::refs::{self, Change};
use super::{Read, Reading, Unreadable, other_event};
use crate::verify::{Names, Verified};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    event_name: Field<String>,
    project: Field<Object<Project>>,
    #[serde(rename = "ref")]
    reference: Field<String>,
    before: Field<String>,
    after: Field<String>,
    changes: Field<List<Object<OneChange>>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Project {
    path_with_namespace: Field<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OneChange {
    #[serde(rename = "ref")]
    reference: Field<String>,
    before: Field<String>,
    after: Field<String>,
}

pub(super) fn read(verified: &Verified) -> Read {
    match verified.event() {
        "Push-Hook" | "Tag-Push-Hook" => Read { reading: field::object(verified.body()).and_then(push), names: None },
        "System-Hook" => system_hook(verified),
        event => Read { reading: Ok(other_event(event)), names: None },
    }
}

/// The newer system events have no `event_name` and nothing to do with refs.
fn system_hook(verified: &Verified) -> Read {
    let mut names = None;
    let reading = field::object(verified.body()).and_then(|mut body: Body| {
        let Some(event) = std::mem::take(&mut body.event_name).optional("event_name")? else {
            return Ok(other_event(verified.event()));
        };
        let told = names.insert(Names::new(&event, &verified.names().delivery));
        match event.as_str() {
            "push" | "tag_push" => push(body),
            "repository_update" => repository_update(body),
            _ => Ok(other_event(&told.event)),
        }
    });
    Read { reading, names }
}

fn push(body: Body) -> Result<Reading, Unreadable> {
    let change = Change {
        reference: refs::reference("ref", &body.reference.required("ref")?)?,
        before: refs::commit("before", &body.before.required("before")?)?,
        after: refs::commit("after", &body.after.required("after")?)?,
    };
    Ok(refs::reading(full_name(body.project)?, vec![change]))
}

fn repository_update(body: Body) -> Result<Reading, Unreadable> {
    let mut changes = Vec::new();
    for (index, change) in body.changes.required("changes")?.items()? {
        let place = |field| Place::in_list("changes", index, field);
        let Object(change) = change.required(place(""))?;
        changes.push(Change {
            reference: refs::reference(place("ref"), &change.reference.required(place("ref"))?)?,
            before: refs::commit(place("before"), &change.before.required(place("before"))?)?,
            after: refs::commit(place("after"), &change.after.required(place("after"))?)?,
        });
    }
    Ok(refs::reading(full_name(body.project)?, changes))
}

fn full_name(project: Field<Object<Project>>) -> Result<String, Unreadable> {
    let Object(project) = project.required("project")?;
    refs::full_name(project.path_with_namespace.required("project.path_with_namespace")?)
}
