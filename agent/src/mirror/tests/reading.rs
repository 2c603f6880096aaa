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
fn links_are_followed_inside_the_repository_and_recorded() {
    let lab = Lab::new();
    lab.write("base/app.yaml", "kind: App\n");
    lab.write("base/deep/more.yaml", "kind: More\n");
    symlink("web.yaml", lab.work().join("apps/beside.yaml")).unwrap();
    symlink("../base/app.yaml", lab.work().join("apps/base.yaml")).unwrap();
    symlink("./base.yaml", lab.work().join("apps/twice.yaml")).unwrap();
    symlink("/etc", lab.work().join("apps/folder")).unwrap();
    symlink("base", lab.work().join("current")).unwrap();
    let mirror = lab.mirror();
    lab.commit("links");
    let commit = fetch_main(&mirror).commit;
    let tree = mirror.read(&commit, "apps", &Limits::default()).unwrap();
    let contents: Vec<_> = tree.files.iter().map(|f| (f.path.as_str(), f.contents.as_slice())).collect();
    let expected: [(&str, &[u8]); 4] = [
        ("apps/base.yaml", b"kind: App\n"),
        ("apps/beside.yaml", b"kind: Web\n"),
        ("apps/twice.yaml", b"kind: App\n"),
        ("apps/web.yaml", b"kind: Web\n"),
    ];
    assert_eq!(contents, expected, "links to folders are passed over");
    let read = |tree: &towline_plan::tree::Tree| tree.read.iter().map(|r| r.path.clone()).collect::<Vec<_>>();
    assert_eq!(read(&tree), ["apps", "base/app.yaml"], "what is outside of the path counts, too");
    for read in &tree.read {
        assert_eq!(mirror.object_id(&commit, &read.path).unwrap(), read.id, "{}", read.path);
    }
    let tree = mirror.read(&commit, "current/deep", &Limits::default()).unwrap();
    assert_eq!(tree.files[0].path, "current/deep/more.yaml");
    assert_eq!(read(&tree), ["base/deep", "current", "current/deep"]);
    assert_eq!((tree.read[2].id.as_ref(), mirror.object_id(&commit, "current/deep").unwrap()), (None, None));
    let linked = mirror.read(&commit, "apps/base.yaml", &Limits::default()).unwrap();
    assert_eq!((linked.files.len(), read(&linked)), (1, vec!["apps/base.yaml".to_owned(), "base/app.yaml".to_owned()]));
}

#[test]
fn a_link_that_leads_nowhere_good_is_named() {
    let lab = Lab::new();
    let links = [
        ("out", "../../secret.yaml", "leads out of the repository"),
        ("absolute", "/etc/passwd", "leads out of the repository"),
        ("gone", "nothing.yaml", "a symbolic link to \"gone/nothing.yaml\", which does not exist"),
        ("circle", "x.yaml", "go round in circles"),
        ("folder", "../apps", "a symbolic link to a folder"),
    ];
    for (folder, target, _) in links {
        std::fs::create_dir(lab.work().join(folder)).unwrap();
        symlink(target, lab.work().join(folder).join("x.yaml")).unwrap();
    }
    lab.commit("links");
    let mirror = lab.mirror();
    let commit = fetch_main(&mirror).commit;
    for (folder, _, expected) in links {
        let error = refused(&mirror, &commit, folder).to_string();
        assert!(error.contains(expected) && error.contains(&format!("{folder}/x.yaml")), "{error}");
    }
    assert_eq!(files(&mirror, &commit, "apps").len(), 1, "other folders are read");
}

#[test]
fn a_submodule_is_never_an_empty_folder() {
    let lab = Lab::new();
    lab.git(["update-index", "--add", "--cacheinfo", &format!("160000,{},infra/module", lab.head())]);
    lab.git(["commit", "--quiet", "-m", "odd"]);
    lab.git(["push", "--quiet", "origin", "HEAD:refs/heads/main"]);
    let mirror = lab.mirror();
    let commit = fetch_main(&mirror).commit;
    assert!(mirror.holds(&commit), "a submodule's commit is not expected here");
    for path in ["", "infra", "infra/module", "infra/module/below"] {
        let error = refused(&mirror, &commit, path);
        assert!(matches!(&error, ReadError::Submodule { path, .. } if path.starts_with("infra/module")), "{error:?}");
    }
    assert_eq!(files(&mirror, &commit, "apps").len(), 1);
}

#[test]
fn a_pointer_of_git_lfs_is_no_manifest() {
    let lab = Lab::new();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";
    lab.write("apps/web.yaml", pointer);
    lab.write("infra/logo.png", pointer);
    lab.commit("large");
    let mirror = lab.mirror();
    let commit = fetch_main(&mirror).commit;
    let error = refused(&mirror, &commit, "apps");
    assert!(matches!(&error, ReadError::LfsPointer { path, .. } if path == "apps/web.yaml"), "{error:?}");
    assert_eq!(files(&mirror, &commit, "infra").len(), 1, "what is no manifest is nobody's concern");
}

#[test]
fn names_that_differ_by_case_only_are_two_files() {
    let lab = Lab::new();
    lab.write("apps/Web.yaml", "kind: Upper\n");
    lab.commit("case");
    let mirror = lab.mirror();
    let commit = fetch_main(&mirror).commit;
    let expected = [("apps/Web.yaml", "kind: Upper\n"), ("apps/web.yaml", "kind: Web\n")];
    assert_eq!(files(&mirror, &commit, "apps"), expected.map(|(path, text)| (path.to_owned(), text.to_owned())));
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
