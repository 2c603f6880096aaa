//! That a mirror stays small, and heals.

use std::fs;
use std::path::{Path, PathBuf};

use towline_plan::tree::Limits;

use super::lab::{Lab, fetch, fetch_main, files, noise};
use super::server::Fault;
use crate::mirror::repack::{PACKS_MAX, packs};
use crate::mirror::{FetchError, ReadError, Tip};

/// What is done to a mirror, and how.
type Spoil = (&'static str, fn(&Path));

fn pack_files(directory: &Path, end: &str) -> Vec<PathBuf> {
    let entries = directory.join("objects/pack").read_dir().unwrap();
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|it| it == end)).collect()
}

/// As disk errors and killed processes do it: in place, whatever the mode.
fn overwrite(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn sixty_fetches_in_a_row_stay_few_packs() {
    let lab = Lab::new();
    let mirror = lab.mirror();
    let tip = fetch_main(&mirror);
    mirror.pin("fleet-system/fleet", &tip).unwrap();
    let first = tip.commit;
    lab.git(["tag", "-a", "v1", "-m", "one"]);
    lab.git(["push", "--quiet", "origin", "v1"]);
    fetch(&mirror, "refs/tags/v1").unwrap();
    let (mut second, mut last, mut most) = (None, first.clone(), 0);
    for round in 0..60 {
        lab.write("apps/web.yaml", &format!("round: {round}\n"));
        last = lab.commit("next");
        assert_eq!(fetch_main(&mirror).commit, last);
        assert_eq!(files(&mirror, &last, "apps")[0].1, format!("round: {round}\n"));
        second.get_or_insert_with(|| last.clone());
        most = most.max(packs(&lab.directory()).len());
    }
    assert_eq!(most, PACKS_MAX, "one more is where it repacks");
    assert!(packs(&lab.directory()).len() < 20, "{:?}", packs(&lab.directory()));
    assert!(mirror.holds(&first) && mirror.holds(&last), "pinned and newest");
    assert!(!mirror.holds(&second.unwrap()), "nothing names it any more");
    assert_eq!(files(&mirror, &first, "apps")[0].1, "kind: Web\n");
    assert_eq!(fetch(&mirror, "refs/tags/v1").unwrap().commit, first);
    assert!(pack_files(&lab.directory(), "keep").is_empty());
    assert!(fs::read_to_string(lab.directory().join("shallow")).unwrap().lines().count() < 20);
    lab.git_in(&lab.directory(), ["fsck", "--full"]);
}

#[test]
fn what_is_not_a_mirror_of_ours_is_replaced() {
    let lab = Lab::new();
    let directory = lab.directory();
    let spoils: [Spoil; 6] = [
        ("a file", |directory| {
            fs::remove_dir_all(directory).unwrap();
            fs::write(directory, "not a folder").unwrap();
        }),
        ("an empty folder", |directory| {
            fs::remove_dir_all(directory).unwrap();
            fs::create_dir(directory).unwrap();
        }),
        ("no HEAD", |directory| fs::remove_file(directory.join("HEAD")).unwrap()),
        ("garbage for configuration", |directory| fs::write(directory.join("config"), "[core\n\0\0").unwrap()),
        ("somebody else's", |directory| fs::write(directory.join("towline-identity"), "example.org/a/b\n").unwrap()),
        ("no objects", |directory| fs::remove_dir_all(directory.join("objects")).unwrap()),
    ];
    for (what, spoil) in spoils {
        let mirror = lab.mirror();
        let tip = fetch_main(&mirror).commit;
        spoil(&directory);
        assert!(!lab.mirror().holds(&tip), "{what}");
        assert_eq!(fetch_main(&mirror).commit, tip, "{what}");
        spoil(&directory);
        assert_eq!(fetch_main(&mirror).commit, tip, "{what}, found by the fetch itself");
        assert!(mirror.holds(&tip), "{what}");
    }
}

#[test]
fn lost_and_truncated_packs_are_fetched_again() {
    let lab = Lab::new();
    for file in 0..20 {
        lab.write(&format!("apps/{file}.yaml"), &noise(file, 500));
    }
    let tip = lab.commit("many");
    let directory = lab.directory();
    let spoils: [Spoil; 4] = [
        ("pack lost", |directory| pack_files(directory, "pack").iter().for_each(|path| fs::remove_file(path).unwrap())),
        ("index lost", |directory| pack_files(directory, "idx").iter().for_each(|path| fs::remove_file(path).unwrap())),
        ("pack cut", |directory| {
            pack_files(directory, "pack")
                .iter()
                .for_each(|path| overwrite(path, |bytes| bytes.truncate(bytes.len() / 2)));
        }),
        ("index cut", |directory| {
            pack_files(directory, "idx")
                .iter()
                .for_each(|path| overwrite(path, |bytes| bytes.truncate(bytes.len() / 2)));
        }),
    ];
    for (what, spoil) in spoils {
        let mirror = lab.mirror();
        fetch_main(&mirror);
        assert_eq!(files(&mirror, &tip, "apps").len(), 21, "{what}");
        spoil(&directory);
        let error = mirror.read(&tip, "apps", &Limits::default()).expect_err(what);
        assert!(error.is_retryable(), "{what}: {error:?}");
        assert!(!mirror.holds(&tip), "{what}");
        assert_eq!(fetch_main(&mirror).commit, tip, "{what}");
        assert_eq!(files(&mirror, &tip, "apps").len(), 21, "{what}");
    }
}

#[test]
fn damage_found_by_a_read_is_repaired_by_the_next_fetch() {
    let lab = Lab::new();
    lab.write("apps/noise.yaml", &noise(3, 100_000));
    let tip = lab.commit("large");
    let mirror = lab.mirror();
    fetch_main(&mirror);
    let spoil = || {
        let pack = &pack_files(&lab.directory(), "pack")[0];
        overwrite(pack, |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle..middle + 64].fill(0xff);
        });
    };
    spoil();
    assert!(mirror.holds(&tip), "the walk does not read contents");
    let error = mirror.read(&tip, "apps", &Limits::default()).unwrap_err();
    assert!(matches!(error, ReadError::Damaged { .. }), "{error:?}");
    assert!(!mirror.holds(&tip));
    assert_eq!(files(&mirror, &tip, "infra").len(), 1, "the rest is still of use");

    lab.server.misbehave(Fault::Answer { status: "500 Oops", headers: String::new(), body: "" });
    assert!(matches!(fetch(&mirror, "refs/heads/main").unwrap_err(), FetchError::Status { .. }));
    assert_eq!(files(&mirror, &tip, "infra").len(), 1, "not thrown away before there is a new one");

    lab.server.misbehave(None);
    assert_eq!(fetch_main(&mirror).commit, tip);
    assert_eq!(files(&mirror, &tip, "apps").len(), 2);
    assert!(mirror.holds(&tip));
    let left: Vec<_> =
        lab.storage.join("mirrors").read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "the mirror and its lock: {left:?}");
}

#[test]
fn what_a_killed_process_left_is_no_obstacle() {
    let lab = Lab::new();
    let mirror = lab.mirror();
    fetch_main(&mirror);
    let tip_ref = lab.directory().join("refs/towline/tips").read_dir().unwrap().next().unwrap().unwrap().path();
    let lock = tip_ref.with_file_name(format!("{}.lock", tip_ref.file_name().unwrap().to_str().unwrap()));
    let unfinished = lab.directory().join("objects/pack/.tmpX1Y2Z3");
    for path in [&lock, &lab.directory().join("shallow.lock"), &lab.directory().join("packed-refs.lock"), &unfinished] {
        fs::write(path, "").unwrap();
    }
    fs::create_dir_all(lab.directory().with_extension("new").join("objects")).unwrap();
    lab.write("apps/web.yaml", "kind: Web2\n");
    assert_eq!(lab.commit("second"), fetch_main(&mirror).commit);
    assert!(!unfinished.exists() && !lock.exists());
}

#[test]
fn only_what_is_here_can_be_pinned() {
    let lab = Lab::new();
    let mirror = lab.mirror();
    let tip = fetch_main(&mirror);
    for digits in [40, 64] {
        let other = Tip { commit: "1".repeat(digits).parse().unwrap(), ..tip.clone() };
        let error = mirror.pin("x", &other).unwrap_err();
        assert!(error.to_string().contains("pin commit 1111"), "{error}");
    }
    mirror.pin("x", &tip).unwrap();
}

#[test]
fn a_source_goes_on_with_what_it_was_given_and_with_nothing_else_that_is_here() {
    let lab = Lab::new();
    let mirror = lab.mirror();
    let mut tips = vec![fetch_main(&mirror)];
    for round in 0..2 {
        lab.write("apps/web.yaml", &format!("round: {round}\n"));
        lab.commit("next");
        tips.push(fetch_main(&mirror));
    }
    let holds = |name: &str| tips.iter().map(|tip| mirror.holds_for(name, &tip.commit)).collect::<Vec<_>>();
    assert!(tips[1..].iter().all(|tip| mirror.holds(&tip.commit)), "all of it is here");
    assert_eq!(holds("a"), [false, false, false]);
    for (tip, expected) in tips.iter().zip([[true, false, false], [true, true, false], [false, true, true]]) {
        // Again, as each poll does: it moves nothing.
        mirror.pin("a", tip).unwrap();
        mirror.pin("a", tip).unwrap();
        assert_eq!(holds("a"), expected, "the newest, and the one before");
        assert_eq!(holds("b"), [false, false, false], "another source");
    }
    // A tag is given for the commit it names.
    lab.git(["tag", "-a", "v1", "-m", "one"]);
    lab.git(["push", "--quiet", "origin", "v1"]);
    let tag = fetch(&mirror, "refs/tags/v1").unwrap();
    mirror.pin("tags", &tag).unwrap();
    assert!(mirror.holds_for("tags", &tag.commit) && mirror.raw_pinned("tags", &tag.commit).unwrap().tag.is_some());
    assert!(mirror.raw_pinned("a", &tag.commit).unwrap().tag.is_none(), "nobody gave it the tag");
}
