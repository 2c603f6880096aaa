//! kill -9 at random moments of passes over 200 objects, of a prune, and while objects move between Syncs: nothing is lost, nothing is orphaned, and nothing that
//! Git has is made anew. The seed is printed; `TOWLINE_TESTS_SEED` repeats it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use harness::wait_until;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::json;

use crate::world::{PATIENCE, World};

const OBJECTS: usize = 200;
const KILLS: usize = 20;
/// Commits that each move every object from one Sync to another, and kills on the way of each.
const MOVES: usize = 4;
const KILLS_OF_A_MOVE: usize = 3;

/// Numbers that a seed repeats (SplitMix64).
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        use std::hash::{BuildHasher as _, Hasher as _};
        let given = std::env::var("TOWLINE_TESTS_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| std::hash::RandomState::new().build_hasher().finish());
        println!("TOWLINE_TESTS_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

fn name(n: usize) -> String {
    format!("c{n:03}")
}

fn manifests(world: &World, range: Range<usize>, value: &str) -> String {
    range.map(|n| world.config_map(&name(n), value)).collect::<Vec<_>>().join("---\n")
}

/// The objects with owner labels: to each name its Sync, its value and its uid.
async fn objects(world: &World) -> Result<BTreeMap<String, (String, String, String)>, String> {
    let ours = ListParams::default().labels("towline.dev/sync-name");
    let list = world.config_maps().list(&ours).await.map_err(|error| error.to_string())?;
    let of = |c: k8s_openapi::api::core::v1::ConfigMap| {
        let owner = c.labels()["towline.dev/sync-name"].clone();
        let value = c.data.as_ref().map(|data| data["value"].clone()).unwrap_or_default();
        (c.name_any(), (owner, value, c.uid().unwrap_or_default()))
    };
    Ok(list.items.into_iter().map(of).collect())
}

/// Every object that carries owner labels stands in some Inventory: whoever is killed now leaves nothing behind.
async fn nothing_is_orphaned(world: &World, syncs: &[&str]) {
    // The objects first: what is created afterwards was claimed before that.
    let objects = objects(world).await.unwrap();
    let mut claimed = Vec::new();
    for sync in syncs {
        claimed.extend(world.owned(sync).await);
    }
    for name in objects.keys() {
        assert!(claimed.contains(name), "{name} exists, and no Inventory knows it");
    }
}

/// Lets the agent work until so many objects are so, and a little longer; then kills it.
async fn kill_when(world: &mut World, dice: &mut Dice, what: &str, enough: impl Fn(&World, &Seen) -> bool) {
    let looked = wait_until(what, PATIENCE, async || {
        let seen = objects(world).await?;
        if enough(world, &seen) { Ok(()) } else { Err(format!("{} objects", seen.len())) }
    });
    looked.await.unwrap();
    // A random moment, not a wait: requests take some milliseconds, and each part of one is to be hit.
    tokio::time::sleep(Duration::from_micros(dice.below(20_000) as u64)).await;
    world.agent.kill();
}

type Seen = BTreeMap<String, (String, String, String)>;

/// Waits until exactly these objects are there, each of its Sync and with a value, and owned by it.
async fn exactly(world: &World, wanted: &[(&str, Range<usize>, &str)]) -> Seen {
    let wanted: BTreeMap<String, (&str, &str)> =
        wanted.iter().flat_map(|(sync, range, value)| range.clone().map(move |n| (name(n), (*sync, *value)))).collect();
    let seen = wait_until(&format!("exactly {} objects are as Git says", wanted.len()), PATIENCE, async || {
        let seen = objects(world).await?;
        let is: BTreeMap<String, (&str, &str)> =
            seen.iter().map(|(name, (sync, value, _))| (name.clone(), (sync.as_str(), value.as_str()))).collect();
        let wrong: Vec<_> = is.iter().filter(|(name, is)| wanted.get(*name) != Some(is)).take(3).collect();
        if is == wanted { Ok(seen) } else { Err(format!("{} of {}; wrong: {wrong:?}", is.len(), wanted.len())) }
    })
    .await
    .unwrap();
    let mut owned: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, (sync, _)) in &wanted {
        owned.entry(sync).or_default().push(name);
    }
    for (sync, names) in owned {
        world.owns(sync, &names).await;
    }
    seen
}

fn same_objects(before: &Seen, after: &Seen) {
    for (name, (_, _, uid)) in after {
        assert!(before.get(name).is_none_or(|(_, _, old)| old == uid), "{name} was deleted and made again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_points_of_passes_over_two_hundred_objects() {
    let (mut world, mut dice) = (World::new("kill").await, Dice::new());
    let everything = json!({"prunePolicy": {"maxDeletions": "100%"}});
    world.repo.commit(&[("all.yaml", &manifests(&world, 0..OBJECTS, "0"))]).await.unwrap();
    world.sync_with(json!({}), everything).await;
    // While the first pass creates them, and while each later one changes all of them.
    let mut known: Seen = BTreeMap::new();
    for round in 0..KILLS {
        let point = dice.below(OBJECTS);
        let value = round.to_string();
        if round > 0 {
            let commit = world.repo.commit(&[("all.yaml", &manifests(&world, 0..OBJECTS, &value))]).await.unwrap();
            // Nobody hears it: the next start polls.
            println!("round {round}: {commit} is killed when {point} objects are changed");
            world.agent.resume().unwrap();
        }
        let done = |seen: &Seen| seen.values().filter(|(_, is, _)| *is == value).count();
        kill_when(&mut world, &mut dice, &format!("{point} objects are {value:?}"), |_, seen| done(seen) >= point)
            .await;
        nothing_is_orphaned(&world, &["fleet"]).await;
        let now = objects(&world).await.unwrap();
        assert!(known.keys().all(|name| now.contains_key(name)), "round {round}: an object is lost");
        same_objects(&known, &now);
        known = now;
    }
    world.agent.resume().unwrap();
    let last = (KILLS - 1).to_string();
    let after = exactly(&world, &[("fleet", 0..OBJECTS, &last)]).await;
    same_objects(&known, &after);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_points_of_a_prune() {
    let (mut world, mut dice) = (World::new("kill-prune").await, Dice::new());
    world.repo.commit(&[("all.yaml", &manifests(&world, 0..OBJECTS, "0"))]).await.unwrap();
    world.sync_with(json!({}), json!({"prunePolicy": {"maxDeletions": "100%"}})).await;
    let before = exactly(&world, &[("fleet", 0..OBJECTS, "0")]).await;
    world.agent.kill();
    // Half of them go, and the agent dies again and again on the way.
    let left = OBJECTS / 2;
    let commit = world.repo.commit(&[("all.yaml", &manifests(&world, 0..left, "0"))]).await.unwrap();
    let mut points: Vec<usize> = (0..KILLS / 2).map(|_| dice.below(left)).collect();
    points.sort_unstable();
    for point in points {
        world.agent.resume().unwrap();
        kill_when(&mut world, &mut dice, &format!("{point} are gone"), |_, seen| seen.len() <= OBJECTS - point).await;
        nothing_is_orphaned(&world, &["fleet"]).await;
        let now = objects(&world).await.unwrap();
        assert!((0..left).all(|n| now.contains_key(&name(n))), "an object that Git has is gone");
    }
    world.agent.resume().unwrap();
    let after = exactly(&world, &[("fleet", 0..left, "0")]).await;
    same_objects(&before, &after);
    world.ready_at(&commit).await;
}

/// Both halves change places with each commit. Nobody passes both Syncs at one moment, and the agent dies at any.
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_points_while_objects_move_between_syncs() {
    let (mut world, mut dice) = (World::new("kill-moves").await, Dice::new());
    let halves = [0..OBJECTS / 2, OBJECTS / 2..OBJECTS];
    let of = |round: usize, sync: usize| halves[(round + sync) % 2].clone();
    let files = async |world: &World, round: usize| {
        let texts = [0, 1].map(|sync| manifests(world, of(round, sync), &round.to_string()));
        world.repo.commit(&[("one/all.yaml", &texts[0]), ("two/all.yaml", &texts[1])]).await.unwrap()
    };
    files(&world, 0).await;
    world.sync_with(json!({}), json!({"path": "one"})).await;
    world.another_sync("other", json!({"path": "two"})).await;
    let before = exactly(&world, &[("fleet", of(0, 0), "0"), ("other", of(0, 1), "0")]).await;
    for round in 1..=MOVES {
        world.agent.kill();
        let commit = files(&world, round).await;
        let mut points: Vec<usize> = (0..KILLS_OF_A_MOVE).map(|_| dice.below(OBJECTS)).collect();
        points.sort_unstable();
        println!("round {round}: {commit} is killed when {points:?} objects are taken over");
        let value = round.to_string();
        for point in points {
            // It polls when it starts: nobody tells it of the commit.
            world.agent.resume().unwrap();
            let taken = |seen: &Seen| seen.values().filter(|(_, is, _)| *is == value).count();
            kill_when(&mut world, &mut dice, &format!("{point} are taken over"), |_, seen| taken(seen) >= point).await;
            nothing_is_orphaned(&world, &["fleet", "other"]).await;
            let now = objects(&world).await.unwrap();
            assert_eq!(now.len(), OBJECTS, "round {round}: an object is lost");
            same_objects(&before, &now);
        }
        world.agent.resume().unwrap();
        let wanted = [("fleet", of(round, 0), value.as_str()), ("other", of(round, 1), value.as_str())];
        same_objects(&before, &exactly(&world, &wanted).await);
    }
}
