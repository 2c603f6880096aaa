//! Azure DevOps' `git.push`: a list of ref updates in `resource`. Event and delivery are named in the body. A repository is
//! named by its project and itself; the organisation is the hook's prefix, because the body has it in URLs only.

use serde::Deserialize;

use super::field::{self, Field, List, Object, Place};
use super::refs::{self, Change};
use super::{Read, Reading, Unreadable, other_event};
use crate::verify::{Names, Verified};

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Body {
    id: Field<String>,
    event_type: Field<String>,
    resource: Field<Object<Resource>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Resource {
    ref_updates: Field<List<Object<RefUpdate>>>,
    repository: Field<Object<Repository>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Repository {
    name: Field<String>,
    project: Field<Object<Project>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Project {
    name: Field<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RefUpdate {
    name: Field<String>,
    old_object_id: Field<String>,
    new_object_id: Field<String>,
}

pub(super) fn read(verified: &Verified) -> Read {
    let mut names = None;
    let reading = field::object(verified.body()).and_then(|body: Body| {
        let event = body.event_type.required("eventType")?;
        // The delivery's id is for people; a push without one is a push.
        let delivery = body.id.required("id").unwrap_or_default();
        let told = names.insert(Names::new(&event, &delivery));
        if event == "git.push" { push(body.resource) } else { Ok(other_event(&told.event)) }
    });
    Read { reading, names }
}

fn push(resource: Field<Object<Resource>>) -> Result<Reading, Unreadable> {
    let Object(resource) = resource.required("resource")?;
    let Object(repository) = resource.repository.required("resource.repository")?;
    let Object(project) = repository.project.required("resource.repository.project")?;
    let full_name = refs::full_name_of([
        ("resource.repository.project.name", project.name.required("resource.repository.project.name")?),
        ("resource.repository.name", repository.name.required("resource.repository.name")?),
    ])?;
    let mut changes = Vec::new();
    for (index, update) in resource.ref_updates.required("resource.refUpdates")?.items()? {
        let place = |field| Place::in_list("resource.refUpdates", index, field);
        let Object(update) = update.required(place(""))?;
        let (old, new) = (place("oldObjectId"), place("newObjectId"));
        changes.push(Change {
            reference: refs::reference(place("name"), &update.name.required(place("name"))?)?,
            before: refs::commit(old, &update.old_object_id.required(old)?)?,
            after: refs::commit(new, &update.new_object_id.required(new)?)?,
        });
    }
    Ok(refs::reading(full_name, changes))
}
