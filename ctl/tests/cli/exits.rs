//! Exit codes, and the commands that need nothing outside.

use serde_json::Value;

use crate::Place;

#[test]
fn usage_errors_end_with_2() {
    let place = Place::new();
    for arguments in [
        &["no-such-command"][..],
        &["get", "pods"],
        &["reconcile", "pod/x"],
        &["reconcile"],
        &["reconcile", "source/x", "--cluster", "c", "--nats", "nats://127.0.0.1:1"],
        &["reconcile", "sync/x", "--cluster", "Not A Label"],
        &["fleet", "init"],
        &["completion", "tcsh"],
        &["webhook", "send", "--provider", "sourceforge"],
    ] {
        let ran = place.towline(arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{arguments:?}: {}", ran.stderr);
    }
}

#[test]
fn what_cannot_be_reached_ends_with_3_and_one_chain() {
    let place = Place::new();
    place.write(
        "kubeconfig",
        "{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}], \
         users: [{name: u, user: {}}], clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]}",
    );
    for arguments in [
        &["get", "syncs"][..],
        &["get", "syncs", "--kubeconfig", "nowhere"],
        &["get", "syncs", "--kubeconfig", "kubeconfig"],
        &["suspend", "sync/x", "--kubeconfig", "kubeconfig"],
        &["fleet", "init", "--nats", "nats://127.0.0.1:1"],
        &["fleet", "init", "--nats", "nats://127.0.0.1:1", "--nkey", "nowhere"],
    ] {
        let ran = place.towline(arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (3, ""), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.starts_with("error: failed to "), "{}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    }
}

#[test]
fn a_password_in_an_address_is_not_repeated() {
    let ran = Place::new().towline(&["fleet", "init", "--nats", "nats://me:hunter2@127.0.0.1:1"]);
    assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
}

#[test]
fn the_exit_codes_are_in_the_help() {
    let ran = Place::new().towline(&["--help"]);
    assert_eq!(ran.code, 0);
    assert!(ran.stdout.contains("Exit codes:"), "{}", ran.stdout);
}

#[test]
fn the_version_for_people_and_programs() {
    let place = Place::new();
    assert_eq!(place.towline(&["version"]).stdout, format!("towline {}\n", env!("CARGO_PKG_VERSION")));
    let json: Value = serde_json::from_str(&place.towline(&["version", "-o", "json"]).stdout).unwrap();
    assert_eq!(json["apiVersion"], "towline.dev/v1alpha1");
}

#[test]
fn each_shell_has_a_script() {
    let place = Place::new();
    for (shell, sign) in
        [("bash", "complete -F _towline"), ("zsh", "#compdef towline"), ("fish", "complete -c towline")]
    {
        let ran = place.towline(&["completion", shell]);
        assert_eq!(ran.code, 0);
        assert!(ran.stdout.contains(sign), "{shell}: {}", ran.stdout);
        assert!(ran.stdout.contains("reconcile"), "{shell}");
    }
}
