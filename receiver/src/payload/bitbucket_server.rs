//! Bitbucket Data Center's `repo:refs_changed`, a list of changes with full ref names, and `diagnostics:ping`. A repository is
//! named by its project's key and its own slug; a person's project has the key `~name`. The hashes say all that a change's
//! `type` says.

use serde::Deserialize;

use super::field::{self, Field, List, Object, Place};
use super::refs::{self, Change};
use super::{Ignored, Reading, Unreadable, other_event};
use crate::verify::Verified;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    repository: Field<Object<Repository>>,
    changes: Field<List<Object<OneChange>>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Repository {
    slug: Field<String>,
    project: Field<Object<Project>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Project {
    key: Field<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct OneChange {
    #[serde(rename = "ref")]
    reference: Field<Object<Reference>>,
    from_hash: Field<String>,
    to_hash: Field<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Reference {
    id: Field<String>,
}

pub(super) fn read(verified: &Verified) -> Result<Reading, Unreadable> {
    match verified.event() {
        "repo:refs_changed" => refs_changed(field::object(verified.body())?),
        "diagnostics:ping" => Ok(Reading::Ignored(Ignored::Ping)),
        event => Ok(other_event(event)),
    }
}

fn refs_changed(body: Body) -> Result<Reading, Unreadable> {
    let Object(repository) = body.repository.required("repository")?;
    let key = repository.project.required("repository.project")?.0.key.required("repository.project.key")?;
    let slug = repository.slug.required("repository.slug")?;
    let full_name = refs::full_name_of([("repository.project.key", key), ("repository.slug", slug)])?;
    let mut changes = Vec::new();
    for (index, change) in body.changes.required("changes")?.items()? {
        let place = |field| Place::in_list("changes", index, field);
        let Object(change) = change.required(place(""))?;
        let id = change.reference.required(place("ref"))?.0.id.required(place("ref.id"))?;
        changes.push(Change {
            reference: refs::reference(place("ref.id"), &id)?,
            before: refs::commit(place("fromHash"), &change.from_hash.required(place("fromHash"))?)?,
            after: refs::commit(place("toHash"), &change.to_hash.required(place("toHash"))?)?,
        });
    }
    Ok(refs::reading(full_name, changes))
}
