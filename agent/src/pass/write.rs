//! One object's write: to the very object that was judged, or none.
//!
//! Knows the requests of a write and their order. Must not know stages, claims or what is said of it.

use towline_plan::awaited::Until;
use towline_plan::decide::Apply;
use towline_plan::desired::Desired;
use towline_plan::observed::{Found, Live};
use towline_plan::policy::Ssa;

use super::apply::Decided;
use super::observe::is_ours_to_delete;
use super::{Context, Pass};
use crate::cluster::{Applied, RequestError, Served, locked};

/// How often an object may be written by others between two judgements of an apply, before its pass fails.
const WRITTEN_MEANWHILE_MAX: usize = 5;

/// What came of a write.
pub(super) enum Written {
    Applied(Applied),
    /// It was deleted to be created anew, and is not gone yet.
    Going,
    /// Somebody else made it since it was judged, and Git asks to leave it to them.
    Theirs,
}

/// What others left on an adopted object is taken over first: the apply then removes what Git does not have.
pub(super) async fn write(
    cx: &Context,
    pass: &Pass,
    served: &Served,
    step: &Decided<'_>,
) -> Result<Written, RequestError> {
    if matches!(step.apply, Apply::Recreate(_)) && !delete_first(cx, pass, served, step).await? {
        return Ok(Written::Going);
    }
    match found(step) {
        Some(found) if step.desired.policy.ssa == Ssa::IfNotPresent => {
            enter(cx, served, step.desired, &found.uid).await.map(Written::Applied)
        }
        None if step.desired.policy.ssa == Ssa::IfNotPresent => create_only(cx, pass, served, step.desired).await,
        Some(found) => write_over(cx, pass, served, step, found).await.map(Written::Applied),
        None => create(cx, served, step.desired).await.map(Written::Applied),
    }
}

/// Creates an object that is to be there and is nothing else's business: what somebody else made meanwhile is not written over.
async fn create_only(cx: &Context, pass: &Pass, served: &Served, object: &Desired) -> Result<Written, RequestError> {
    let uid = match cx.cluster.create(served, object).await? {
        Some(uid) => uid,
        None => match cx.cluster.look(served, &object.id, &object.version).await? {
            // A try of ours whose answer was lost.
            Some(live) if live.owner.as_ref() == Some(&pass.key) => live.uid,
            Some(_) => return Ok(Written::Theirs),
            None => return Err(RequestError::changed(format!("creating {}", object.id))),
        },
    };
    enter(cx, served, object, &uid).await.map(Written::Applied)
}

/// The API server's record of a creation is not that of an apply, by which Towline knows its own. No value changes.
async fn enter(cx: &Context, served: &Served, object: &Desired, uid: &str) -> Result<Applied, RequestError> {
    let is_meant = |live: &Live| live.uid == uid;
    let mut tries = 1;
    loop {
        match cx.cluster.take_over(served, &object.id, &object.version, &is_meant).await {
            Err(error) if error.is_conflict() && tries < WRITTEN_MEANWHILE_MAX => tries += 1,
            answer => return answer.map(|live| Applied { live, created: true }),
        }
    }
}

/// Writes over the very object that was judged, as it was judged: a process that was stopped and wakes creates nothing that
/// another replica has pruned, and writes over nothing that is another's by now. Where somebody else wrote it since, it is
/// looked at again; the status of a busy object is written all the time.
async fn write_over(
    cx: &Context,
    pass: &Pass,
    served: &Served,
    step: &Decided<'_>,
    found: &Found,
) -> Result<Applied, RequestError> {
    let (id, is_meant) = (&step.desired.id, |live: &Live| found.is_still(live, &pass.key));
    let mut resource_version = found.resource_version.clone();
    let mut tries = 1;
    loop {
        match write_on(cx, served, step, (&found.uid, &resource_version), &is_meant).await {
            Err(error) if error.is_conflict() && tries < WRITTEN_MEANWHILE_MAX => {
                let live = cx.cluster.look(served, id, &step.desired.version).await?;
                let Some(live) = live.filter(is_meant) else {
                    return Err(RequestError::changed(format!("applying {id}")));
                };
                resource_version = live.resource_version;
                tries += 1;
            }
            answer => return answer,
        }
    }
}

/// One try: to the object in exactly this version. What comes before the apply is a write, too, and brings another one.
async fn write_on(
    cx: &Context,
    served: &Served,
    step: &Decided<'_>,
    (uid, resource_version): (&str, &str),
    is_meant: &(dyn Fn(&Live) -> bool + Sync),
) -> Result<Applied, RequestError> {
    let (object, mut resource_version) = (step.desired, resource_version.to_owned());
    if step.take_over {
        let taken = cx.cluster.take_over(served, &object.id, &object.version, is_meant).await?;
        resource_version = taken.resource_version;
    }
    // What was Towline's alone would be reset by being left out: it is let go of first.
    if !object.ignored.paths.is_empty()
        && let Some(live) = cx.cluster.disown(served, object, is_meant).await?
    {
        resource_version = live.resource_version;
    }
    cx.cluster.apply(served, object, Some((uid, &resource_version))).await
}

/// Creates an object: with all that Git has of it, and from then on without what is left to others. Ending anywhere in between
/// changes no value.
async fn create(cx: &Context, served: &Served, object: &Desired) -> Result<Applied, RequestError> {
    if object.ignored.paths.is_empty() {
        return cx.cluster.apply(served, object, None).await;
    }
    let mut tries = 1;
    loop {
        match create_beside(cx, served, object).await {
            Err(error) if error.is_conflict() && tries < WRITTEN_MEANWHILE_MAX => tries += 1,
            answer => return answer,
        }
    }
}

async fn create_beside(cx: &Context, served: &Served, object: &Desired) -> Result<Applied, RequestError> {
    let any = |_: &Live| true;
    // Made by somebody since it was judged: what is theirs stays so.
    let there = match cx.cluster.disown(served, object, &any).await? {
        Some(there) => Some(there),
        None => {
            cx.cluster.apply(served, object, None).await?;
            cx.cluster.disown(served, object, &any).await?
        }
    };
    let Some(live) = there else { return Err(RequestError::changed(format!("creating {}", object.id))) };
    cx.cluster.apply(served, object, Some((&live.uid, &live.resource_version))).await
}

/// The object that was judged, unless it was deleted to be created anew.
fn found<'s>(step: &'s Decided<'_>) -> Option<&'s Found> {
    step.seen.as_ref().filter(|_| !matches!(step.apply, Apply::Recreate(_)))
}

/// Deletes exactly the object that was judged. Answers whether it is gone.
async fn delete_first(cx: &Context, pass: &Pass, served: &Served, step: &Decided<'_>) -> Result<bool, RequestError> {
    let (id, version) = (&step.desired.id, &step.desired.version);
    let Some(found) = &step.seen else { return Ok(true) };
    // Before it goes, so that its end is not missed; awaited, it is no drift.
    cx.watches.expect(&pass.key, id, Until::Gone);
    locked(&cx.watches.watched).forget(id);
    let mut resource_version = found.resource_version.clone();
    let mut tries = 1;
    loop {
        match cx.cluster.delete(served, id, version, (&found.uid, &resource_version)).await {
            Err(error) if error.is_not_found() => return Ok(true),
            // Its status, mostly: it is looked at once more, and everything that speaks against it with it.
            Err(error) if error.is_conflict() && tries < WRITTEN_MEANWHILE_MAX => {
                let Some(live) = cx.cluster.look(served, id, version).await? else { return Ok(true) };
                if live.deleting && live.uid == found.uid {
                    return Ok(false);
                }
                if !found.is_still(&live, &pass.key) || !is_ours_to_delete(pass, &live) {
                    return Err(RequestError::changed(format!("deleting {id}")));
                }
                resource_version = live.resource_version;
                tries += 1;
            }
            answer => return answer,
        }
    }
}

pub(super) fn is_write(apply: &Apply) -> bool {
    match apply {
        Apply::Create | Apply::Configure | Apply::Revert(_) | Apply::Recreate(_) => true,
        Apply::AwaitEnd
        | Apply::Keep
        | Apply::Leave(_)
        | Apply::Drifted(_)
        | Apply::WhenDefined
        | Apply::Refuse(_)
        | Apply::Conflict(_)
        | Apply::HoldBack(_) => false,
    }
}
