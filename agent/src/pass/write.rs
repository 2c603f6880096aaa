//! One object's write: to the very object that was judged, or none.
//!
//! Knows the requests of a write and their order. Must not know stages, claims or what is said of it.

use towline_plan::awaited::Until;
use towline_plan::decide::Apply;

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
    apply_to(cx, served, step).await.map(Some)
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
    // What was deleted to be created anew is gone.
    let found = step.seen.as_ref().filter(|_| !matches!(step.apply, Apply::Recreate(_)));
    let Some(found) = found else { return cx.cluster.apply(served, step.desired, None).await };
    // The take-over was a write, too.
    let mut version = (!step.take_over).then(|| found.resource_version.clone());
    for _ in 1..WRITTEN_MEANWHILE_MAX {
        match cx.cluster.apply(served, step.desired, Some((&found.uid, version.as_deref()))).await {
            Err(error) if error.is_conflict() => {
                let judged = cx.cluster.dry_run(served, step.desired).await?.live;
                if judged.uid != found.uid || judged.resource_version.is_empty() {
                    return Err(error);
                }
                version = Some(judged.resource_version);
            }
            answer => return answer,
        }
    }
    cx.cluster.apply(served, step.desired, Some((&found.uid, version.as_deref()))).await
}

pub(super) fn is_write(apply: &Apply) -> bool {
    match apply {
        Apply::Create | Apply::Configure | Apply::Revert(_) | Apply::Recreate(_) => true,
        Apply::AwaitEnd
        | Apply::Keep
        | Apply::Leave(_)
        | Apply::WhenDefined
        | Apply::Refuse(_)
        | Apply::Conflict(_)
        | Apply::HoldBack(_) => false,
    }
}
