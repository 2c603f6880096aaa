//! `towline build`: order, form, masks, rules of the tree, mistakes.

use std::os::unix::fs::symlink;

use serde_json::Value;

use crate::Place;

const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\n";

fn documents(yaml: &str) -> Vec<Value> {
    // The rules kubectl reads by: YAML 1.1, where `0644` is octal and `yes` is true.
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    serde_saphyr::from_multiple_with_options(yaml, options).unwrap()
}

#[test]
fn manifests_come_out_in_the_order_of_applying() {
    let place = Place::new();
    place
        .write("z/ns.yml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: apps}\n")
        .write(
            "a.yaml",
            &format!("{MAP}---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: d, namespace: apps}}\n"),
        )
        .write(".hidden/s.json", r#"{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"s"}}"#)
        .write(".git/config.yaml", "not: a manifest")
        .write("README.md", "# nothing");
    let ran = place.towline(&["build", "."]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let kinds: Vec<_> = documents(&ran.stdout).iter().map(|d| d["kind"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds, ["Namespace", "ServiceAccount", "ConfigMap", "Deployment"]);

    let json = place.towline(&["build", ".", "-o", "json"]);
    let list: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((list["kind"].as_str(), list["items"].as_array().unwrap().len()), (Some("List"), 4));
    assert_eq!(list["items"].as_array().unwrap(), &documents(&ran.stdout));
}

#[test]
fn text_that_looks_like_something_else_survives_the_way_round() {
    let place = Place::new();
    let values = r#"data: {octal: "0644", "yes": "yes", "no": 'no', "on": "on", date: "2024-01-01", exp: "1e3", "null": "null", empty: "", colon: "a: b", lines: "a\n  b\n", tail: "x ", hex: "0x1f", base60: "12:30:45"}"#;
    place.write("m.yaml", &format!("{MAP}{values}\nmode: 0644\nflag: yes\n"));
    let first = place.towline(&["build", "m.yaml"]).stdout;
    assert_eq!(documents(&first)[0]["mode"], 420);
    assert_eq!(documents(&first)[0]["data"]["octal"], "0644");

    place.write("again/m.yaml", &first);
    assert_eq!(place.towline(&["build", "again"]).stdout, first);
    let read: Value = serde_json::from_str(&place.towline(&["build", "m.yaml", "-o", "json"]).stdout).unwrap();
    assert_eq!(documents(&first)[0], read["items"][0]);
}

#[test]
fn values_of_secrets_are_masked_unless_asked_for() {
    let place = Place::new();
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: hunter2}\ndata: {key: aHVudGVyMg==}\n";
    place.write("s.yaml", secret).write("list.yaml", "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: t}, stringData: {password: hunter2}}\n");
    let masked = place.towline(&["build", "."]).stdout;
    assert!(masked.contains("password") && masked.contains("***"), "{masked}");
    assert!(!masked.contains("hunter2") && !masked.contains("aHVudGVyMg=="), "{masked}");
    let shown = place.towline(&["build", ".", "--show-secrets"]).stdout;
    assert_eq!(shown.matches("hunter2").count(), 2, "{shown}");
}

#[test]
fn mistakes_have_a_path_and_a_line_and_nothing_is_printed() {
    let place = Place::new();
    place
        .write("apps/a.yaml", &format!("{MAP}---\nkind: X\n"))
        .write("apps/b.yaml", "a: [unclosed\n")
        .write("good.yaml", MAP);
    let ran = place.towline(&["build", "apps"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.contains("apps/a.yaml:5: apiVersion and kind must both be set\n"), "{}", ran.stderr);
    assert!(ran.stderr.lines().any(|line| line.starts_with("apps/b.yaml:")), "{}", ran.stderr);
}

#[test]
fn what_stands_twice_is_a_mistake() {
    let place = Place::new();
    place.write("a.yaml", MAP).write("b.yaml", MAP);
    let ran = place.towline(&["build", "."]);
    assert_eq!(ran.code, 1);
    assert_eq!(ran.stderr, "./b.yaml:1: ConfigMap/m stands twice: first at ./a.yaml:1\n");
}

#[test]
fn links_are_refused_where_they_would_matter() {
    let place = Place::new();
    place.write("tree/a.yaml", MAP).write("secret.yaml", MAP);
    symlink("../secret.yaml", place.path().join("tree/notes.txt")).unwrap();
    assert_eq!(place.towline(&["build", "tree"]).code, 0);
    symlink("../secret.yaml", place.path().join("tree/b.yaml")).unwrap();
    let ran = place.towline(&["build", "tree"]);
    assert_eq!(ran.code, 1);
    assert_eq!(ran.stderr, "error: failed to read tree/b.yaml: it is a symbolic link, and links are not followed\n");
}

#[test]
fn a_missing_folder_is_not_an_empty_one() {
    let place = Place::new();
    let ran = place.towline(&["build", "nowhere"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert_eq!(ran.stderr, "error: failed to read nowhere: there is no such file or folder\n");
    assert_eq!(place.write("empty/README", "").towline(&["build", "empty"]).code, 0);
}
