//! One object's write: to the very object that was judged, or none.
//!
//! Knows the requests of a write and their order. Must not know stages, claims or what is said of it.

use towline_plan::awaited::Until;
use towline_plan::decide::Apply;
use towline_plan::desired::Desired;
use towline_plan::observed::Found;

use super::apply::Decided;
use super::{Context, Pass};
use crate::cluster::{Applied, RequestError, Served, locked};

/// How often an object may be written by others between two judgements of an apply, before its pass fails.
const WRITTEN_MEANWHILE_MAX: usize = 5;

/// What others left on an adopted object is taken over first: the apply then removes what Git does not have.
/// `None`: it was deleted to be created anew, and is not gone yet.
pub(super) async fn write(
    cx: &Context,
    pass: &Pass,
    served: &Served,
    step: &Decided<'_>,
) -> Result<Option<Applied>, RequestError> {
    if matches!(step.apply, Apply::Recreate(_)) && !delete_first(cx, pass, served, step).await? {
        return Ok(None);
    }
    if step.take_over {
        cx.cluster.take_over(served, &step.desired.id, &step.desired.version).await?;
    }
    match step.desired.ignored.paths.is_empty() {
        true => apply_to(cx, served, step).await.map(Some),
        false => apply_beside(cx, served, step).await.map(Some),
    }
}

/// Applies an object of which others have a part: all of it where it is created, and from then on without that part, which is
/// let go of before it is left out: the API server resets what was Towline's alone. Ending anywhere in between changes no value.
async fn apply_beside(cx: &Context, served: &Served, step: &Decided<'_>) -> Result<Applied, RequestError> {
    let object = step.desired;
    let uid = match (let_go(cx, served, object).await?, found(step)) {
        (_, Some(found)) => found.uid.clone(),
        // Made by somebody since it was judged: what is theirs stays so.
        (Some(uid), None) => uid,
        (None, None) => {
            let created = cx.cluster.apply(served, object, None).await?;
            // It may be gone again; then the apply says so.
            let_go(cx, served, object).await?;
            created.live.uid
        }
    };
    apply_on(cx, served, object, (&uid, None)).await
}

/// The status of a busy object is written all the time, and the record is written on the very version that was read.
async fn let_go(cx: &Context, served: &Served, object: &Desired) -> Result<Option<String>, RequestError> {
    for _ in 1..WRITTEN_MEANWHILE_MAX {
        match cx.cluster.disown(served, object).await {
            Err(error) if error.is_conflict() => {}
            answer => return answer,
        }
    }
    cx.cluster.disown(served, object).await
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
    match cx.cluster.delete(served, id, version, (&found.uid, &found.resource_version)).await {
        Err(error) if error.is_not_found() => Ok(true),
        answer => answer,
    }
}

/// Applies to the very object that was judged: a process that was stopped and wakes creates nothing that another replica has
/// pruned, and writes over nothing that another has written. Where it was written since, an apply is judged anew; the status of
/// a busy object is written all the time.
async fn apply_to(cx: &Context, served: &Served, step: &Decided<'_>) -> Result<Applied, RequestError> {
    let Some(found) = found(step) else { return cx.cluster.apply(served, step.desired, None).await };
    // The take-over was a write, too.
    let version = (!step.take_over).then(|| found.resource_version.clone());
    apply_on(cx, served, step.desired, (&found.uid, version)).await
}

async fn apply_on(
    cx: &Context,
    served: &Served,
    object: &Desired,
    (uid, mut version): (&str, Option<String>),
) -> Result<Applied, RequestError> {
    for _ in 1..WRITTEN_MEANWHILE_MAX {
        match cx.cluster.apply(served, object, Some((uid, version.as_deref()))).await {
            Err(error) if error.is_conflict() => {
                let judged = cx.cluster.dry_run(served, object, true).await?.live;
                if judged.uid != uid || judged.resource_version.is_empty() {
                    return Err(error);
                }
                version = Some(judged.resource_version);
            }
            answer => return answer,
        }
    }
    cx.cluster.apply(served, object, Some((uid, version.as_deref()))).await
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
