//! Repositories that are too large, or whose trees cannot be, and what is said of them.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::lab::{GENEROUS, Lab, fetch, fetch_main, files, hermetic, noise, within};
use crate::mirror::{Exceeded, FetchError, Limits, Mirror};

const ALL: Limits = Limits {
    received_bytes: 1 << 30,
    unpacked_bytes: 1 << 30,
    files: 1_000,
    file_bytes: 1 << 20,
    path_bytes: 100,
    depth: 9,
};

fn exceeded(mirror: &Mirror, limits: Limits) -> Exceeded {
    match fetch(&mirror.clone().within(limits), "refs/heads/main") {
        Err(FetchError::Exceeded { limit, .. }) => limit,
        other => panic!("{other:?}"),
    }
}

/// A tree of these entries, each with its mode, kind of object and name, whatever git thinks of them.
fn tree(lab: &Lab, entries: &[(&str, &str, &str)]) -> String {
    let mut raw = Vec::new();
    for (mode, id, name) in entries {
        raw.extend_from_slice(format!("{mode} {name}\0").as_bytes());
        raw.extend(data_encoding::HEXLOWER.decode(id.as_bytes()).unwrap());
    }
    let mut command = Command::new("git");
    hermetic(&mut command, lab.folder.path()).current_dir(lab.work());
    command.args(["hash-object", "-t", "tree", "-w", "--literally", "--stdin"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&raw).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap().trim().to_owned()
}

fn commit_tree(lab: &Lab, tree: &str) {
    let commit = lab.git(["commit-tree", tree, "-m", "odd"]);
    lab.git(["push", "--quiet", "--force", "origin", &format!("{commit}:refs/heads/main")]);
}

#[test]
fn each_limit_is_named_and_the_last_good_state_stays() {
    let lab = Lab::new();
    let mirror = lab.mirror();
    let good = fetch_main(&mirror).commit;
    lab.write("deep/a/b/c/d.yaml", "kind: Deep\n");
    lab.write("large.txt", &noise(1, 5_000));
    lab.commit("more");
    // 4 files beside: README.md, web.yaml, dns.yaml, d.yaml.
    let at = |path: &str| path.to_owned();
    let cases = [
        (Limits { files: 4, ..ALL }, Exceeded::Files { path: at(""), max: 4 }),
        (Limits { unpacked_bytes: 4_999, file_bytes: 6_000, ..ALL }, Exceeded::Bytes { path: at(""), max: 4_999 }),
        (Limits { file_bytes: 4_999, ..ALL }, Exceeded::FileBytes { path: at("large.txt"), bytes: 5_000, max: 4_999 }),
        (Limits { depth: 3, ..ALL }, Exceeded::Depth { path: at("deep/a/b/c"), max: 3 }),
        (Limits { path_bytes: 16, ..ALL }, Exceeded::PathBytes { path: at("deep/a/b/c/d.yaml"), max: 16 }),
    ];
    for (limits, expected) in cases {
        assert_eq!(exceeded(&mirror, limits), expected);
        // It is the same when nothing has to be received any more.
        assert_eq!(exceeded(&mirror, limits), expected);
        assert!(expected.to_string().contains("_max of the agent's configuration allows more"), "{expected}");
        assert_eq!(files(&mirror, &good, "apps").len(), 1);
    }
    let exact = Limits { files: 5, file_bytes: 5_000, depth: 4, path_bytes: 17, ..ALL };
    assert_eq!(fetch(&mirror.clone().within(exact), "refs/heads/main").unwrap().commit, lab.head());
    assert_eq!(exceeded(&mirror, Limits { files: 4, ..ALL }), Exceeded::Files { path: at(""), max: 4 }, "judged anew");
}

#[test]
fn an_object_or_a_pack_that_is_too_large_is_not_received_to_its_end() {
    let lab = Lab::new();
    lab.write("large.txt", &noise(1, 200_000));
    lab.commit("large");
    let limits = Limits { received_bytes: 50_000, ..ALL };
    let error = fetch(&lab.mirror().within(limits), "refs/heads/main").unwrap_err();
    assert!(matches!(error, FetchError::TooLarge { bytes_max: 50_000, .. }) && !error.is_retryable(), "{error:?}");
    assert!(error.to_string().contains("git.received_bytes_max"), "{error}");
    // It packs to nearly nothing, and would take much memory.
    lab.write("large.txt", &"a".repeat(20 << 20));
    lab.commit("larger");
    assert_eq!(exceeded(&lab.mirror(), ALL), Exceeded::ObjectBytes { max: 1 << 20 });
    lab.write("large.txt", "small");
    lab.commit("small");
    let tip = lab.mirror().within(ALL).fetch(
        &"refs/heads/main".parse().unwrap(),
        &Default::default(),
        within(GENEROUS),
        &Default::default(),
    );
    assert_eq!(tip.unwrap().commit, lab.head(), "it recovers by itself");
}

#[test]
fn a_tree_that_unfolds_without_end_is_found_out_at_once() {
    let lab = Lab::new();
    let blob = lab.git(["rev-parse", "HEAD:apps/web.yaml"]);
    let mut id = blob.clone();
    let mut mode = "100644";
    for _ in 0..30 {
        let names: Vec<String> = (b'a'..=b'j').map(|c| char::from(c).to_string()).collect();
        id = tree(&lab, &names.iter().map(|name| (mode, id.as_str(), name.as_str())).collect::<Vec<_>>());
        mode = "40000";
    }
    commit_tree(&lab, &id);
    let limits = Limits { depth: 64, ..Limits::default() };
    assert!(matches!(exceeded(&lab.mirror(), limits), Exceeded::Files { .. }));
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let lab = Lab::new();
    let mirror = lab.mirror();
    let good = fetch_main(&mirror).commit;
    let blob = lab.git(["rev-parse", "HEAD:apps/web.yaml"]);
    let folder = lab.git(["rev-parse", "HEAD:apps"]);
    for (mode, id, name) in [
        ("40000", &folder, ".."),
        ("40000", &folder, "."),
        ("100644", &blob, "../x.yaml"),
        ("100644", &blob, "/etc/x.yaml"),
    ] {
        let inner = tree(&lab, &[(mode, id, name)]);
        commit_tree(&lab, &tree(&lab, &[("40000", &inner, "apps")]));
        let expected = Exceeded::Name { path: "apps".to_owned(), name: name.to_owned() };
        // The path is the one of the folder that has it.
        assert_eq!(exceeded(&mirror, ALL), expected);
        assert_eq!(files(&mirror, &good, "apps").len(), 1);
    }
}
