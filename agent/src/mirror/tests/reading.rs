//! What reading gives, and what it refuses.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use towline_plan::tree::Limits;
use towline_proto::CommitId;

use super::lab::{Lab, fetch_main, files};
use crate::mirror::{Mirror, ReadError};

fn refused(mirror: &Mirror, commit: &CommitId, path: &str) -> ReadError {
    mirror.read(commit, path, &Limits::default()).unwrap_err()
}

#[test]
fn manifests_below_a_path_sorted() {
    let lab = Lab::new();
    for path in ["a/x.yml", "a/x/y.json", "a/x-y.yaml", "a/.hidden/z.yaml", "a/notes.txt", "a/yaml", "b/other.yaml"] {
        lab.write(path, path);
    }
    lab.commit("more");
    let mirror = lab.mirror();
    let commit = fetch_main(&mirror).commit;
    let paths: Vec<String> = files(&mirror, &commit, "a").into_iter().map(|(path, _)| path).collect();
    assert_eq!(paths, ["a/.hidden/z.yaml", "a/x-y.yaml", "a/x.yml", "a/x/y.json"]);
    let tree = mirror.read(&commit, "a", &Limits::default()).unwrap();
    assert_eq!(tree.read.len(), 1);
    assert_eq!((tree.read[0].path.as_str(), &tree.read[0].id), ("a", &mirror.object_id(&commit, "a").unwrap()));
    assert_eq!(files(&mirror, &commit, "a/notes.txt").len(), 1, "a single file, whatever it is called");
    assert_eq!(files(&mirror, &commit, "a/x").len(), 1);
}

#[test]
fn a_missing_path_is_never_an_empty_tree() {
    let lab = Lab::new();
    let mirror = lab.mirror();
    let commit = fetch_main(&mirror).commit;
    for path in ["nowhere", "apps/nowhere", "apps/web.yaml/below"] {
        let error = refused(&mirror, &commit, path);
        assert!(matches!(error, ReadError::PathMissing { .. }), "{error:?}");
        assert_eq!(error.to_string(), format!("read {path:?}: commit {commit} has no such path"));
        assert_eq!(mirror.object_id(&commit, path).unwrap(), None);
    }
    let unknown: CommitId = "1".repeat(40).parse().unwrap();
    let long: CommitId = "1".repeat(64).parse().unwrap();
    for commit in [unknown, long] {
        let error = refused(&mirror, &commit, "apps");
        assert!(matches!(error, ReadError::CommitMissing { .. }) && error.is_retryable(), "{error:?}");
        assert!(mirror.object_id(&commit, "apps").is_err() && !mirror.holds(&commit));
    }
}

#[test]
fn the_same_content_has_the_same_id() {
    let lab = Lab::new();
    let mirror = lab.mirror();
    let first = fetch_main(&mirror).commit;
    lab.write("infra/dns.yaml", "kind: Dns2\n");
    lab.commit("second");
    let second = fetch_main(&mirror).commit;
    let id = |commit: &CommitId, path: &str| mirror.object_id(commit, path).unwrap().unwrap();
    assert_eq!(id(&first, "apps"), id(&second, "apps"));
    assert_ne!(id(&first, "infra"), id(&second, "infra"));
    assert_ne!(id(&first, ""), id(&second, ""));
    assert_eq!(id(&first, "apps"), lab.git(["rev-parse", "HEAD:apps"]));
    assert_eq!(id(&first, "apps/web.yaml"), lab.git(["rev-parse", "HEAD:apps/web.yaml"]));
}

#[test]
fn links_and_submodules_are_not_followed() {
    let lab = Lab::new();
    symlink("web.yaml", lab.work().join("apps/link.yaml")).unwrap();
    symlink("/etc", lab.work().join("infra/folder")).unwrap();
    lab.git(["update-index", "--add", "--cacheinfo", &format!("160000,{},infra/module.yaml", lab.head())]);
    lab.git(["add", "apps", "infra/folder"]);
    lab.git(["commit", "--quiet", "-m", "odd"]);
    lab.git(["push", "--quiet", "origin", "HEAD:refs/heads/main"]);
    let mirror = lab.mirror();
    let commit = fetch_main(&mirror).commit;
    assert!(mirror.holds(&commit), "a submodule's commit is not expected here");
    for path in ["apps", "apps/link.yaml"] {
        let error = refused(&mirror, &commit, path);
        assert!(matches!(&error, ReadError::Symlink { path, .. } if path == "apps/link.yaml"), "{error:?}");
    }
    assert!(matches!(refused(&mirror, &commit, "infra/module.yaml"), ReadError::Submodule { .. }));
    assert_eq!(files(&mirror, &commit, "infra").len(), 1);
    assert!(matches!(refused(&mirror, &commit, "infra/folder/passwd"), ReadError::PathMissing { .. }));
}

#[test]
fn names_that_are_not_utf8_are_refused() {
    let lab = Lab::new();
    std::fs::write(lab.work().join("apps").join(OsStr::from_bytes(b"na\xefve.yaml")), "kind: A\n").unwrap();
    lab.commit("latin");
    let mirror = lab.mirror();
    let error = refused(&mirror, &fetch_main(&mirror).commit, "apps");
    assert!(matches!(error, ReadError::NotUtf8 { .. }), "{error:?}");
}

#[test]
fn every_bound_is_a_clear_error() {
    let lab = Lab::new();
    lab.write("deep/a/b/c/d.yaml", "kind: Deep\n");
    for file in 0..12 {
        lab.write(&format!("many/{file}.yaml"), "0123456789");
    }
    for file in 0..120 {
        lab.write(&format!("other/{file}.txt"), "");
    }
    let mirror = lab.mirror();
    lab.commit("large");
    let commit = fetch_main(&mirror).commit;
    let all = Limits::default();
    let error = |path: &str, limits: Limits| mirror.read(&commit, path, &limits).unwrap_err();
    assert!(matches!(error("many", Limits { files_max: 11, ..all }), ReadError::TooManyFiles { max: 11, .. }));
    assert!(matches!(error("many", Limits { file_bytes_max: 9, ..all }), ReadError::FileTooLarge { bytes: 10, .. }));
    assert!(matches!(error("many", Limits { total_bytes_max: 119, ..all }), ReadError::TotalTooLarge { max: 119, .. }));
    assert!(matches!(error("deep", Limits { depth_max: 2, ..all }), ReadError::TooDeep { max: 2, .. }));
    assert!(matches!(error("other", Limits { files_max: 2, ..all }), ReadError::TooManyEntries { max: 100, .. }));
    let exact = Limits { files_max: 12, file_bytes_max: 10, total_bytes_max: 120, depth_max: 0 };
    assert_eq!(mirror.read(&commit, "many", &exact).unwrap().files.len(), 12);
    assert_eq!(mirror.read(&commit, "deep", &Limits { depth_max: 3, ..all }).unwrap().files.len(), 1);
}
