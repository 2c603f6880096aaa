//! The functions `sets.contains`, `sets.equivalent` and `sets.intersects`, which Flux has and the interpreter has not.

use cel::common::types::{CelBool, CelList, LIST_TYPE};
use cel::common::value::{CowVal, Val};
use cel::{DeclarationError, Env, ExecutionError};

pub(super) fn extension(env: &mut Env) -> Result<(), DeclarationError> {
    let lists = || vec![LIST_TYPE, LIST_TYPE];
    env.add_overload("sets.contains", "list_sets_contains_list", lists(), contains)?;
    env.add_overload("sets.equivalent", "list_sets_equivalent_list", lists(), equivalent)?;
    env.add_overload("sets.intersects", "list_sets_intersects_list", lists(), intersects)
}

fn contains<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    answer(&args, |all, some| has_all(all, some))
}

fn equivalent<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    answer(&args, |left, right| has_all(left, right) && has_all(right, left))
}

fn intersects<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    answer(&args, |left, right| right.iter().any(|element| has(left, element.as_ref())))
}

type Elements<'v> = [Box<dyn Val + 'v>];

fn answer<'b, 'v>(
    args: &[CowVal<'b, 'v>],
    decide: impl Fn(&Elements<'v>, &Elements<'v>) -> bool,
) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let [left, right] = args else { return Err(ExecutionError::invalid_argument_count(2, args.len())) };
    let list = |value: &'_ CowVal<'b, 'v>| value.downcast_ref::<CelList<'v>>().cloned();
    match (list(left), list(right)) {
        (Some(left), Some(right)) => Ok(CowVal::Owned(Box::new(CelBool::from(decide(left.inner(), right.inner()))))),
        (_, _) => Err(ExecutionError::function_error("sets", "not a list")),
    }
}

fn has_all(all: &Elements<'_>, some: &Elements<'_>) -> bool {
    some.iter().all(|element| has(all, element.as_ref()))
}

fn has(elements: &Elements<'_>, wanted: &dyn Val) -> bool {
    elements.iter().any(|element| element.equals(wanted))
}
