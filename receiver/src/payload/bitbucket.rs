//! Bitbucket Cloud's `repo:push`: a list of changes, each with the ref's `old` and `new` state. Null is no state: a ref
//! without an old one is new, one without a new one is deleted. `created`, `closed` and `forced` say the same again and are
//! not needed.

use serde::Deserialize;
use towline_proto::names::RefName;

use super::field::{self, Field, List, Object, Place};
use super::refs::{self, Change};
use super::{Reading, Unreadable, other_event};
use crate::verify::Verified;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    repository: Field<Object<Repository>>,
    push: Field<Object<PushBody>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Repository {
    full_name: Field<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PushBody {
    changes: Field<List<Object<OneChange>>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OneChange {
    old: Field<Object<State>>,
    new: Field<Object<State>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct State {
    #[serde(rename = "type")]
    kind: Field<String>,
    name: Field<String>,
    target: Field<Object<Target>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Target {
    hash: Field<String>,
}

pub(super) fn read(verified: &Verified) -> Result<Reading, Unreadable> {
    if verified.event() != "repo:push" {
        return Ok(other_event(verified.event()));
    }
    let body: Body = field::object(verified.body())?;
    let full_name = body.repository.required("repository")?.0.full_name.required("repository.full_name")?;
    let list = body.push.required("push")?.0.changes.required("push.changes")?;
    let mut changes = Vec::new();
    for (index, item) in list.items()? {
        let place = |field| Place::in_list("push.changes", index, field);
        let Object(item) = item.required(place(""))?;
        changes.push(change(item, place)?);
    }
    Ok(refs::reading(refs::full_name(full_name)?, changes))
}

fn change(change: OneChange, place: impl Fn(&'static str) -> Place) -> Result<Change, Unreadable> {
    let old = change.old.nullable(place("old"))?;
    let Some(Object(new)) = change.new.nullable(place("new"))? else {
        let Object(old) = old.ok_or(Unreadable::Null(place("old")))?;
        let reference = reference(old.kind, old.name, [place("old.type"), place("old.name")])?;
        return Ok(Change { reference, before: None, after: None });
    };
    let before = old.map(|Object(old)| hash(old.target, [place("old.target"), place("old.target.hash")]));
    let after = hash(new.target, [place("new.target"), place("new.target.hash")])?;
    let reference = reference(new.kind, new.name, [place("new.type"), place("new.name")])?;
    Ok(Change { reference, before: before.transpose()?, after: Some(after) })
}

/// Bitbucket has the short name and says what it is the name of.
fn reference(kind: Field<String>, name: Field<String>, [kind_at, name_at]: [Place; 2]) -> Result<RefName, Unreadable> {
    let name = name.required(name_at)?;
    match kind.required(kind_at)?.as_str() {
        "branch" => refs::reference(name_at, &format!("refs/heads/{name}")),
        "tag" => refs::reference(name_at, &format!("refs/tags/{name}")),
        _ => Err(Unreadable::NoKindOfRef(kind_at)),
    }
}

fn hash(
    target: Field<Object<Target>>,
    [target_at, hash_at]: [Place; 2],
) -> Result<towline_proto::CommitId, Unreadable> {
    let Object(target) = target.required(target_at)?;
    refs::existing_commit(hash_at, &target.hash.required(hash_at)?)
}
