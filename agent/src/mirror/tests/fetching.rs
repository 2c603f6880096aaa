//! What a fetch brings.

use super::lab::{GENEROUS, Lab, fetch, fetch_main, files, name, never, noise, resolve, within};
use super::server::Fault;
use crate::access::Access;
use crate::mirror::{FetchError, Mirror, OpenError};

fn pair(path: &str, contents: &str) -> (String, String) {
    (path.to_owned(), contents.to_owned())
}

#[test]
fn a_first_fetch_brings_the_tip_and_its_files() {
    let lab = Lab::new();
    let mirror = lab.mirror();
    let tip = fetch_main(&mirror);
    assert_eq!(tip.commit, lab.head());
    assert_eq!(tip.about.author, "Ada Author <someone@example.org>");
    assert_eq!(tip.about.committer, "Carl Committer <someone@example.org>");
    assert!(tip.about.parents.is_empty() && tip.about.signers.is_empty());
    assert_eq!((tip.about.subject.as_str(), tip.committed_at.to_string().as_str()), ("first", "2026-01-02T03:04:05Z"));
    assert!(mirror.holds(&tip.commit));
    assert_eq!(
        files(&mirror, &tip.commit, ""),
        [pair("apps/web.yaml", "kind: Web\n"), pair("infra/dns.yaml", "kind: Dns\n")]
    );
}

#[test]
fn only_what_changed_crosses_the_wire() {
    let lab = Lab::new();
    for file in 0..200 {
        lab.write(&format!("apps/{file}.yaml"), &noise(file, 2000));
    }
    lab.commit("many");
    let mirror = lab.mirror();
    let first = fetch_main(&mirror);
    assert!(first.received_bytes > 100_000, "{first:?}");
    lab.write("apps/7.yaml", "kind: Small\n");
    let changed = lab.commit("small");
    let second = fetch_main(&mirror);
    assert_eq!(second.commit, changed);
    // The one large thing left is the folder with its 201 names and ids.
    assert!(second.received_bytes < 12_000, "{second:?}");
    assert_eq!(files(&mirror, &changed, "apps/7.yaml"), [pair("apps/7.yaml", "kind: Small\n")]);
    let nothing = fetch_main(&mirror);
    assert_eq!((nothing.commit, nothing.received_bytes < 1000), (changed, true));
    assert!(mirror.holds(&first.commit), "earlier commits stay");
}

#[test]
fn history_stays_away() {
    let lab = Lab::new();
    let old = lab.head();
    let new = lab.commit("second");
    let mirror = lab.mirror();
    assert_eq!(fetch_main(&mirror).commit, new);
    assert!(!mirror.holds(&old));
}

#[test]
fn a_forced_push_back_is_followed() {
    let lab = Lab::new();
    let first = lab.head();
    let mirror = lab.mirror();
    fetch_main(&mirror);
    lab.write("apps/web.yaml", "kind: Broken\n");
    let second = lab.commit("second");
    assert_eq!(fetch_main(&mirror).commit, second);
    lab.git(["push", "--quiet", "--force", "origin", &format!("{first}:refs/heads/main")]);
    assert_eq!(fetch_main(&mirror).commit, first);
    assert_eq!(files(&mirror, &first, "apps"), [pair("apps/web.yaml", "kind: Web\n")]);
}

#[test]
fn resolving_asks_and_fetches_nothing() {
    let lab = Lab::new();
    let mirror = lab.mirror();
    assert_eq!(resolve(&mirror, "refs/heads/main").unwrap(), Some(lab.head()));
    assert_eq!(resolve(&mirror, "HEAD").unwrap(), Some(lab.head()));
    assert_eq!(resolve(&mirror, "refs/heads/mai").unwrap(), None, "a prefix is not the ref");
    assert!(!mirror.holds(&lab.head()));
}

/// A poll costs the same however many refs there are: only the one that is wanted is listed.
#[test]
fn a_poll_of_one_ref_lists_no_others() {
    let lab = Lab::new();
    let mirror = lab.mirror();
    fetch_main(&mirror);
    let cost = |mirror: &crate::mirror::Mirror| {
        let (requests, bytes) = mirror.traffic();
        fetch_main(mirror);
        (mirror.traffic().0 - requests, mirror.traffic().1 - bytes)
    };
    let before = cost(&mirror);
    let head = lab.head();
    let lines: String = (0..2_000).map(|n| format!("{head} refs/pull/{n}/head\n")).collect();
    std::fs::write(lab.bare().join("packed-refs"), format!("# pack-refs with: peeled fully-peeled sorted \n{lines}"))
        .unwrap();
    assert_eq!(resolve(&mirror, "refs/pull/1999/head").unwrap(), Some(head), "they are there");
    assert_eq!(cost(&mirror), before);
    assert_eq!(before.0, 2, "capabilities, and the list");
}

#[test]
fn a_deleted_branch_is_an_error_and_leaves_its_last_tip() {
    let lab = Lab::new();
    let mirror = lab.mirror();
    lab.git(["push", "--quiet", "origin", "HEAD:refs/heads/gone"]);
    let tip = fetch(&mirror, "refs/heads/gone").unwrap();
    lab.git(["push", "--quiet", "origin", ":refs/heads/gone"]);
    let error = fetch(&mirror, "refs/heads/gone").unwrap_err();
    assert!(matches!(error, FetchError::RefNotFound { .. }) && !error.is_retryable(), "{error:?}");
    assert_eq!(error.to_string(), format!("fetch refs/heads/gone from {}: the repository has no such ref", lab.url()));
    assert_eq!(resolve(&mirror, "refs/heads/gone").unwrap(), None);
    assert!(mirror.holds(&tip.commit));
    // A folder in the place of a file is no obstacle.
    lab.git(["push", "--quiet", "origin", "HEAD:refs/heads/gone/too"]);
    assert_eq!(fetch(&mirror, "refs/heads/gone/too").unwrap().commit, tip.commit);
}

#[test]
fn tags_and_other_names_are_peeled_to_their_commit() {
    let lab = Lab::new();
    let mirror = lab.mirror();
    lab.git(["tag", "-a", "v1", "-m", "one"]);
    lab.git(["tag", "light"]);
    lab.git(["push", "--quiet", "origin", "v1", "light", "HEAD:refs/pull/1/head"]);
    for reference in ["refs/tags/v1", "refs/tags/light", "refs/pull/1/head", "HEAD"] {
        assert_eq!(resolve(&mirror, reference).unwrap(), Some(lab.head()), "{reference}");
        assert_eq!(fetch(&mirror, reference).unwrap().commit, lab.head(), "{reference}");
    }
    // A tag that moves.
    lab.write("apps/web.yaml", "kind: Web2\n");
    let second = lab.commit("second");
    lab.git(["tag", "-f", "-a", "v1", "-m", "one again"]);
    lab.git(["push", "--quiet", "--force", "origin", "v1"]);
    assert_eq!(fetch(&mirror, "refs/tags/v1").unwrap().commit, second);
}

#[test]
fn what_is_not_a_commit_is_an_error() {
    let lab = Lab::new();
    let blob = lab.git(["hash-object", "-w", "apps/web.yaml"]);
    lab.git(["push", "--quiet", "origin", &format!("{blob}:refs/tags/blob")]);
    let error = fetch(&lab.mirror(), "refs/tags/blob").unwrap_err();
    assert!(matches!(error, FetchError::NotACommit { .. }), "{error:?}");
    let error = fetch(&lab.mirror(), "refs/heads/*").unwrap_err();
    assert!(matches!(error, FetchError::RefInvalid { .. }), "{error:?}");
}

#[test]
fn an_empty_repository_has_no_refs() {
    let lab = Lab::new();
    lab.git_in(&lab.folder.path().join("served"), ["init", "--quiet", "--bare", "org/empty.git"]);
    let url = lab.url().replace("fleet", "empty");
    let mirror = Mirror::open(&lab.storage, &url).unwrap();
    assert_eq!(resolve(&mirror, "refs/heads/main").unwrap(), None);
    assert_eq!(resolve(&mirror, "HEAD").unwrap(), None);
    assert!(matches!(fetch(&mirror, "refs/heads/main").unwrap_err(), FetchError::RefNotFound { .. }));
}

#[test]
fn a_sha256_repository_is_not_supported() {
    let lab = Lab::new();
    let served = lab.folder.path().join("served");
    lab.git_in(
        &served,
        ["init", "--quiet", "--bare", "--object-format=sha256", "--initial-branch=main", "org/new.git"],
    );
    lab.git_in(lab.folder.path(), ["init", "--quiet", "--object-format=sha256", "--initial-branch=main", "new"]);
    let work = lab.folder.path().join("new");
    lab.git_in(&work, ["commit", "--quiet", "--allow-empty", "-m", "first"]);
    lab.git_in(&work, ["push", "--quiet", served.join("org/new.git").to_str().unwrap(), "HEAD:refs/heads/main"]);
    let mirror = Mirror::open(&lab.storage, &lab.url().replace("fleet", "new")).unwrap();
    let error = fetch(&mirror, "refs/heads/main").unwrap_err();
    assert!(matches!(error, FetchError::NotSupported { .. }) && !error.is_retryable(), "{error:?}");
}

#[test]
fn texts_of_a_commit_are_bounded_and_harmless() {
    let lab = Lab::new();
    lab.commit(&format!("\u{1b}[31mred {}\n\nbody", "x".repeat(5000)));
    let tip = fetch_main(&lab.mirror());
    assert!(tip.about.subject.len() <= 216 && !tip.about.subject.contains(char::is_control), "{:?}", tip.about.subject);
    assert!(tip.about.subject.contains("[31mred xxx"), "{:?}", tip.about.subject);
}

#[test]
fn only_http_for_now() {
    let folder = tempfile::tempdir().unwrap();
    for (url, scheme) in [
        ("ssh://git@github.com/org/fleet.git", "ssh"),
        ("git@github.com:org/fleet.git", "ssh"),
        ("file:///srv/fleet.git", "file"),
        ("/srv/fleet.git", "file"),
        ("git://github.com/org/fleet.git", "git"),
    ] {
        let error = Mirror::open(folder.path(), url).unwrap_err();
        assert!(matches!(&error, OpenError::NotSupported { scheme: found } if found == scheme), "{url}: {error:?}");
    }
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
}

#[test]
fn one_repository_has_one_mirror() {
    let lab = Lab::new();
    let tip = fetch_main(&lab.mirror());
    let other = format!("http://{}/Org/Fleet", lab.server.address);
    assert!(Mirror::open(&lab.storage, &other).unwrap().holds(&tip.commit));
}

#[test]
fn the_newest_tag_of_a_range_is_found_by_version() {
    let lab = Lab::new();
    let mirror = lab.mirror();
    let newest = |range: &str| {
        let range = towline_plan::tag_range::TagRange::parse(range).unwrap();
        mirror.newest_tag(&range, &Access::default(), within(GENEROUS), &never())
    };
    let none = newest("1.x").unwrap_err();
    assert!(matches!(none, FetchError::NoTag { .. }) && !none.is_retryable(), "{none:?}");
    assert!(none.to_string().ends_with("none of its tags is a version"), "{none}");
    lab.git(["tag", "v1.9.0"]);
    lab.git(["tag", "-a", "v1.10.0", "-m", "annotated"]);
    lab.git(["tag", "v2.0.0-rc.1"]);
    lab.git(["push", "--quiet", "origin", "--tags"]);
    assert_eq!(newest("1.x").unwrap(), name("refs/tags/v1.10.0"));
    assert_eq!(newest(">=1.0.0-0").unwrap(), name("refs/tags/v2.0.0-rc.1"));
    let none = newest(">=3").unwrap_err().to_string();
    assert!(none.contains("of 3 tags that are versions none is in it; the newest is v2.0.0-rc.1"), "{none}");
    assert!(!mirror.holds(&lab.head()), "nothing but names came");
    lab.server.misbehave(Fault::Silent);
    let range = towline_plan::tag_range::TagRange::parse("1.x").unwrap();
    let late = mirror.newest_tag(&range, &Access::default(), within(std::time::Duration::from_secs(1)), &never());
    assert!(matches!(late, Err(FetchError::DeadlineExceeded { .. })), "{late:?}");
}
