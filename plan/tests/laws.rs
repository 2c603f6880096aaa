//! Laws that hold for every situation: small worlds are made up, decided about and played through.

mod world;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use towline_plan::check::{Ceiling, check};
use towline_plan::claims::Claims;
use towline_plan::decide::Apply;
use towline_plan::inventory::Inventory;
use towline_plan::letting::Letting;
use towline_plan::object::ObjectId;
use towline_plan::order;
use towline_plan::part::Prune;
use towline_plan::waves::waves;
use world::{Git, World, is_in, sync, world};

/// Every way a ceiling is given.
fn ceiling() -> impl Strategy<Value = Ceiling> {
    prop_oneof![
        Just(Ceiling::Default),
        (0..6_u32).prop_map(Ceiling::Count),
        (0..=100_u32).prop_map(Ceiling::Percent),
        Just(Ceiling::Lifted),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    /// After a pass nothing is left to do, whatever was there before it. Two passes: what leaves Git while it cannot be
    /// applied waits for the one after.
    #[test]
    fn deciding_after_applying_gives_an_empty_plan(mut world in world()) {
        world.heal();
        for _ in 0..2 {
            let plan = check(world.plan(&sync("a"), &Claims::default()), Ceiling::Lifted, None);
            world.apply(&sync("a"), &plan, usize::MAX);
        }
        let plan = check(world.plan(&sync("a"), &Claims::default()), Ceiling::Lifted, None);
        prop_assert!(plan.is_empty(), "{plan}");
    }

    #[test]
    fn nothing_is_both_applied_and_pruned(world in world()) {
        let plan = world.plan(&sync("a"), &Claims::default());
        let applied: BTreeSet<&ObjectId> = plan.apply.iter().map(|s| &s.desired.id).collect();
        let desired: BTreeSet<ObjectId> = world.git.desired(&sync("a")).into_iter().map(|d| d.id).collect();
        for step in &plan.prune {
            prop_assert!(!applied.contains(&step.id) && !desired.contains(&step.id), "{}", step.id);
            prop_assert!(!world.git.left_alone(&sync("a")).contains(&step.id), "{} is to be left alone", step.id);
        }
    }

    /// With a namespace goes nothing that is owned, wanted or another Sync's, but what goes itself; nor later, when less is
    /// known of it.
    #[test]
    fn nothing_that_stays_goes_with_its_namespace(mut world in world(), other in world::git()) {
        let mut claims = Claims::default();
        claims.replace(&sync("b"), &World { git: other, now: 20, ..World::default() }.plan(&sync("b"), &claims).inventory);
        world.heal();
        let mut let_go: BTreeSet<ObjectId> = BTreeSet::new();
        for _ in 0..3 {
            let plan = world.plan(&sync("a"), &claims);
            let goes: BTreeSet<ObjectId> = plan.prune.iter().filter(|s| matches!(s.prune, Prune::Delete { .. })).map(|s| s.id.clone()).collect();
            let mut stay: BTreeSet<ObjectId> = world.git.desired(&sync("a")).into_iter().map(|d| d.id).collect();
            stay.extend(world.git.left_alone(&sync("a")));
            stay.extend(claims.of_others(&sync("a")).map(|(id, ..)| id.clone()));
            stay.extend(world.inventory.0.keys().filter(|id| world.cluster.contains_key(*id) && !goes.contains(*id)).cloned());
            stay.extend(let_go.iter().cloned());
            for namespace in &goes {
                let taken = stay.iter().find(|id| is_in(id, namespace));
                prop_assert!(taken.is_none(), "{namespace} takes {taken:?} with it");
            }
            let forgotten = plan.prune.iter().filter(|s| matches!(s.prune, Prune::Forget(_))).map(|s| s.id.clone());
            let_go.extend(forgotten.filter(|id| world.cluster.contains_key(id)));
            world.apply(&sync("a"), &check(plan, Ceiling::Lifted, None), usize::MAX);
        }
    }

    /// Deleted is only what is in the inventory, is there, carries our labels, is not protected and not precious.
    #[test]
    fn nothing_else_is_deleted(world in world()) {
        let plan = world.plan(&sync("a"), &Claims::default());
        for step in plan.prune.iter().filter(|s| matches!(s.prune, Prune::Delete { .. })) {
            prop_assert!(world.inventory.0.contains_key(&step.id), "{} is not owned", step.id);
            let live = world.cluster.get(&step.id).expect("what is deleted is there");
            prop_assert_eq!(live.owner.as_ref(), Some(&sync("a")));
            prop_assert!(matches!(live.letting, Letting::Late | Letting::Early) && step.id.kind.kind != "PersistentVolumeClaim", "{}", step.id);
        }
    }

    #[test]
    fn deletions_stay_below_the_ceiling(world in world(), ceiling in ceiling()) {
        let owned = world.inventory.0.len();
        let empty = world.git.desired(&sync("a")).is_empty();
        let plan = check(world.plan(&sync("a"), &Claims::default()), ceiling, None);
        let deletions = plan.prune().iter().filter(|s| matches!(s.prune, Prune::Delete { .. })).count();
        if plan.held().is_some() || deletions == 0 {
            return Ok(());
        }
        match ceiling {
            Ceiling::Default => prop_assert!(deletions * 2 <= owned + 1 && !empty, "{deletions} of {owned}"),
            Ceiling::Count(count) => prop_assert!(deletions <= count as usize),
            // Rounded up: one object fewer is below the exact share.
            Ceiling::Percent(percent) => prop_assert!((deletions - 1) * 100 < owned * percent as usize),
            Ceiling::Lifted => {}
        }
    }

    /// Every deletion has its turn, once, and waits for nothing that comes later.
    #[test]
    fn every_deletion_has_its_turn(world in world()) {
        let plan = world.plan(&sync("a"), &Claims::default());
        let mut before = BTreeSet::new();
        for wave in waves(&plan.prune) {
            prop_assert!(wave.after.iter().all(|id| before.contains(id)));
            for step in wave.steps {
                prop_assert!(before.insert(&step.id), "{} has two turns", step.id);
            }
        }
        let deletions = plan.prune.iter().filter(|s| matches!(s.prune, Prune::Delete { .. } | Prune::Going)).count();
        prop_assert_eq!(before.len(), deletions);
    }

    /// An agent killed after any number of steps: everything it made is in the inventory it wrote before the first.
    #[test]
    fn the_inventory_written_ahead_covers_every_crash(world in world(), steps in 0..12_usize) {
        let plan = check(world.plan(&sync("a"), &Claims::default()), Ceiling::Default, None);
        let mut crashed = world.clone();
        crashed.apply(&sync("a"), &plan, steps);
        let ours = |w: &World| -> BTreeSet<ObjectId> {
            w.cluster.iter().filter(|(_, o)| o.owner == Some(sync("a"))).map(|(id, _)| id.clone()).collect()
        };
        for made in ours(&crashed).difference(&ours(&world)) {
            prop_assert!(plan.inventory().0.contains_key(made), "{made} was made and never claimed");
        }
        for id in world.inventory.0.keys() {
            prop_assert!(plan.inventory().0.contains_key(id), "{id} was let go before anything was done");
        }
    }

    /// The same files in any order give the same plan: the order of application is total.
    #[test]
    fn the_order_of_files_changes_nothing(world in world(), seed in any::<u64>()) {
        let mut shuffled = world.clone();
        shuffled.git.shuffle(seed);
        let (plan, other) = (world.plan(&sync("a"), &Claims::default()), shuffled.plan(&sync("a"), &Claims::default()));
        let ids: Vec<_> = plan.apply.iter().map(|s| s.desired.id.clone()).collect();
        prop_assert!(ids.is_sorted_by(|a, b| order::key(a) < order::key(b)), "strictly ascending: {ids:?}");
        prop_assert_eq!(ids, other.apply.iter().map(|s| s.desired.id.clone()).collect::<Vec<_>>());
        prop_assert_eq!(plan.prune, other.prune);
        prop_assert_eq!(plan.inventory, other.inventory);
    }

    /// Two Syncs want the same objects and take turns in any order, at any pace: whoever applies an object goes on doing
    /// so, and the other one never does.
    #[test]
    fn of_two_syncs_at_most_one_applies_an_object(git in world::git(), turns in proptest::collection::vec((any::<bool>(), 0..2_i64), 1..8)) {
        let mut claims = Claims::default();
        let mut inventories: BTreeMap<&str, Inventory> = BTreeMap::new();
        let mut applied_by: BTreeMap<ObjectId, &str> = BTreeMap::new();
        let mut now = 100;
        for (first, pause) in turns {
            now += pause;
            let name = if first { "a" } else { "b" };
            let world = World { git: git.clone(), inventory: inventories.remove(name).unwrap_or_default(), now, ..World::default() };
            let plan = world.plan(&sync(name), &claims);
            for step in plan.apply.iter().filter(|s| matches!(s.apply, Apply::Create | Apply::Configure | Apply::Revert(_))) {
                let by = *applied_by.entry(step.desired.id.clone()).or_insert(name);
                prop_assert_eq!(by, name, "{} is applied by both", step.desired.id);
            }
            claims.replace(&sync(name), &plan.inventory);
            inventories.insert(name, plan.inventory);
        }
    }

    /// Claims made at once, by replicas that did not see each other: of both inventories together one Sync stays.
    #[test]
    fn of_two_claims_exactly_one_holds(git in world::git(), first in 0..3_i64, second in 0..3_i64) {
        let of = |name: &str, now| World { git: git.clone(), now, ..World::default() }.plan(&sync(name), &Claims::default()).inventory;
        let (a, b) = (of("a", first), of("b", second));
        let mut claims = Claims::default();
        claims.replace(&sync("a"), &a);
        claims.replace(&sync("b"), &b);
        let refused = |name: &str, inventory: Inventory| -> BTreeSet<ObjectId> {
            let world = World { git: git.clone(), inventory, now: 9, ..World::default() };
            let plan = world.plan(&sync(name), &claims);
            plan.apply.into_iter().filter(|s| matches!(s.apply, Apply::Conflict(_))).map(|s| s.desired.id).collect()
        };
        let (by_a, by_b) = (refused("a", a), refused("b", b));
        for object in Git::desired(&git, &sync("a")) {
            prop_assert!(by_a.contains(&object.id) != by_b.contains(&object.id), "{}", object.id);
        }
    }
}
