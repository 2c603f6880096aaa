use super::*;
use crate::inventory::{Entry as Owned, State};
use crate::object::{GroupKind, ObjectId};

fn plan(deletions: usize, entries: usize, desired: bool) -> Plan {
    let id = |i: usize| ObjectId { kind: GroupKind::new("", "ConfigMap"), namespace: None, name: format!("c{i}") };
    let owned = Owned { version: "v1".into(), uid: None, digest: None, claimed_at: 0, state: State::Applied };
    let prune = (0..deletions)
        .map(|i| PruneStep { id: id(i), version: "v1".into(), prune: Prune::Delete { uid: "u".into(), early: false } })
        .collect();
    let apply = desired.then(|| step("kept", Apply::Keep)).into_iter().collect();
    let inventory = Inventory((0..entries).map(|i| (id(i), owned.clone())).collect());
    Plan { apply, prune, inventory, owned: entries, deletions }
}

fn step(name: &str, apply: Apply) -> ApplyStep {
    let id = ObjectId { kind: GroupKind::new("", "ConfigMap"), namespace: None, name: name.into() };
    let desired = crate::desired::Desired {
        id,
        version: "v1".into(),
        value: serde_json::Value::Null,
        digest: String::new(),
        origin: crate::object::Origin { path: String::new(), line: 1 },
        policy: Default::default(),
        awaits_definition: false,
        namespace_in_set: false,
        ignored: Default::default(),
    };
    ApplyStep { desired, apply, take_over: false, seen: None }
}

#[rstest::rstest]
#[case::few_of_many(5, 10, true, Ceiling::Default, None)]
#[case::most(6, 10, true, Ceiling::Default, Some(Held::Ceiling { allowed: 5, entries: 10, deletions: 6 }))]
#[case::one_of_two(1, 2, true, Ceiling::Default, None)]
#[case::the_only_one(1, 1, false, Ceiling::Default, Some(Held::Emptied { entries: 1 }))]
#[case::all_of_it_allowed(10, 10, false, Ceiling::Percent(100), None)]
#[case::all_of_it_lifted(10, 10, false, Ceiling::Lifted, None)]
#[case::counted(3, 10, true, Ceiling::Count(2), Some(Held::Ceiling { allowed: 2, entries: 10, deletions: 3 }))]
#[case::none_allowed(1, 10, true, Ceiling::Count(0), Some(Held::Ceiling { allowed: 0, entries: 10, deletions: 1 }))]
#[case::percent_rounds_up(1, 3, true, Ceiling::Percent(10), None)]
#[case::nothing_to_delete(0, 3, false, Ceiling::Default, None)]
fn the_ceiling(
    #[case] deletions: usize,
    #[case] entries: usize,
    #[case] desired: bool,
    #[case] ceiling: Ceiling,
    #[case] held: Option<Held>,
) {
    assert_eq!(check(plan(deletions, entries, desired), ceiling, None).held(), held.as_ref());
}

#[test]
fn a_rebuilt_inventory_prunes_nothing_even_with_the_ceiling_lifted() {
    let checked = check(plan(1, 10, true), Ceiling::Lifted, Some("abc"));
    assert_eq!(checked.held(), Some(&Held::Rebuilt { digest: "abc".into() }));
}

#[test]
fn nothing_is_pruned_while_something_cannot_be_applied() {
    let mut plan = plan(1, 10, true);
    plan.apply.push(step("bad", Apply::Refuse("no".into())));
    assert_eq!(check(plan, Ceiling::Default, None).held(), Some(&Held::Unapplied));
}

#[test]
fn a_refusal_closes_a_stage_and_doubt_opens_it_partly() {
    let doubt = Apply::HoldBack("503".into());
    assert_eq!(entry([&Apply::Keep, &Apply::Create]), Entry::Whole);
    assert_eq!(entry([&doubt, &Apply::Create]), Entry::Partly);
    assert_eq!(entry([&doubt, &Apply::Refuse("422".into())]), Entry::No);
}

#[test]
fn ceilings_are_read_as_int_or_percent() {
    assert_eq!(Ceiling::parse("10"), Ok(Ceiling::Count(10)));
    assert_eq!(Ceiling::parse("10%"), Ok(Ceiling::Percent(10)));
    for bad in ["", "%", "101%", "-1", "ten", "10 %"] {
        assert_eq!(Ceiling::parse(bad), Err(CeilingError(bad.into())));
    }
}
