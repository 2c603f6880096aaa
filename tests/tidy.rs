//! What `ARCHITECTURE.md` states and a machine can check: who may depend on whom, who may import what, how long files get.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its subject has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

/// The edges between our crates, and no others.
const EDGES: &[(&str, &[&str])] = &[
    ("towline-proto", &[]),
    ("towline-plan", &["towline-proto"]),
    ("towline-daemon", &[]),
    ("towline-receiver", &["towline-daemon", "towline-proto"]),
    ("towline-agent", &["towline-daemon", "towline-plan", "towline-proto"]),
    ("towline-ctl", &["towline-agent", "towline-plan", "towline-proto", "towline-receiver"]),
    ("towline-tests", &["towline-agent", "towline-daemon", "towline-plan", "towline-proto", "towline-receiver"]),
    ("towline-bench", &["towline-proto", "towline-receiver", "towline-tests"]),
    ("xtask", &[]),
];

/// What the deciding crates must not even be able to reach.
const IO_CRATES: &[&str] = &["tokio", "kube", "kube-client", "gix", "async-nats", "hyper", "reqwest", "rustix"];

/// Clients of outside systems, and the only places that import them.
const CLIENTS: &[(&str, &[&str])] = &[
    (
        "async_nats",
        &[
            "agent/src/bus",
            "daemon/src/nats.rs",
            "receiver/src/publish",
            "ctl/src/nats",
            "tests/",
            "bench/src/floor.rs",
        ],
    ),
    ("gix", &["agent/src/mirror"]),
    ("pgp", &["agent/src/signature"]),
    ("kube", &["agent/src/api", "agent/src/cluster", "ctl/src/cluster", "tests/"]),
    (
        "reqwest",
        &[
            "agent/src/access/client.rs",
            "agent/src/access/github.rs",
            "agent/src/mirror",
            "ctl/src/http",
            "receiver/src/sweep/wire.rs",
            "tests/",
        ],
    ),
    ("ssh_key", &["agent/src/signature"]),
];

/// Lines without tests. 300 is long; above 500 a file has more than one reason to change.
const LINES_MAX: usize = 500;

/// Names that say nothing.
const NAMELESS: &[&str] = &["utils", "util", "common", "helpers", "helper", "types", "misc"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace holds this package").to_owned()
}

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(vec!["--locked".into()])
        .exec()
        .unwrap()
}

/// Our own sources, by path from the root.
fn sources() -> BTreeMap<String, String> {
    let output = std::process::Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"])
        .current_dir(root())
        .output()
        .unwrap();
    let names = String::from_utf8(output.stdout).unwrap();
    let read = |name: &str| fs::read_to_string(root().join(name)).ok().map(|text| (name.to_owned(), text));
    names.lines().filter_map(read).collect()
}

/// A source up to its tests.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or(text)
}

fn report(found: Vec<String>) {
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn our_crates_depend_on_each_other_as_the_house_says() {
    let metadata = metadata();
    let allowed: BTreeMap<_, _> = EDGES.iter().copied().collect();
    let mut found = Vec::new();
    for package in metadata.workspace_packages() {
        let Some(edges) = allowed.get(package.name.as_str()) else {
            found.push(format!("{} stands in no edge table", package.name));
            continue;
        };
        let ours = package.dependencies.iter().filter(|d| d.path.is_some() && d.kind == DependencyKind::Normal);
        for dependency in ours.filter(|d| !edges.contains(&d.name.as_str())) {
            found.push(format!("{} must not depend on {}", package.name, dependency.name));
        }
    }
    report(found);
}

#[test]
fn the_deciding_crates_cannot_reach_the_world() {
    let metadata = metadata();
    let names: BTreeMap<&PackageId, &str> = metadata.packages.iter().map(|p| (&p.id, p.name.as_str())).collect();
    let resolve = metadata.resolve.as_ref().unwrap();
    let nodes: BTreeMap<&PackageId, _> = resolve.nodes.iter().map(|n| (&n.id, n)).collect();
    let mut found = Vec::new();
    for start in ["towline-plan", "towline-proto"] {
        let id = names.iter().find(|(_, name)| **name == start).map(|(id, _)| *id).unwrap();
        let (mut seen, mut next) = (BTreeSet::new(), vec![id]);
        while let Some(id) = next.pop().filter(|_| true) {
            if !seen.insert(id) {
                continue;
            }
            for dependency in &nodes[id].deps {
                if dependency.dep_kinds.iter().any(|k| k.kind == DependencyKind::Normal) {
                    next.push(&dependency.pkg);
                }
            }
        }
        let reached = seen.iter().map(|id| names[*id]).filter(|name| IO_CRATES.contains(name));
        found.extend(reached.map(|name| format!("{start} reaches {name}")));
    }
    for (path, text) in
        sources().iter().filter(|(path, _)| path.starts_with("plan/src") || path.starts_with("proto/src"))
    {
        for word in [
            "std::fs",
            "std::env",
            "std::net::Tcp",
            "std::net::Udp",
            "ToSocketAddrs",
            "std::process",
            "SystemTime",
            "Instant::now",
            "Timestamp::now",
            "RandomState",
        ] {
            if without_tests(text).contains(word) {
                found.push(format!("{path}: {word} is an argument here"));
            }
        }
    }
    report(found);
}

#[test]
fn there_is_one_crypto_provider() {
    // Not from the metadata: that names optional dependencies too, which nobody turned on.
    let mut found = Vec::new();
    for name in ["ring", "openssl", "openssl-sys", "native-tls"] {
        let arguments = ["tree", "--locked", "--workspace", "--target", "all", "--invert", name];
        let output = std::process::Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().unwrap();
        if !output.stdout.is_empty() {
            found.push(format!("{name} is in the graph:\n{}", String::from_utf8_lossy(&output.stdout)));
        }
    }
    report(found);
}

#[test]
fn licences_are_those_of_deny_toml() {
    let text = fs::read_to_string(root().join("deny.toml")).unwrap();
    let list = text.split("allow = [").nth(1).unwrap().split(']').next().unwrap();
    let allowed: BTreeSet<&str> = list.split('"').skip(1).step_by(2).collect();
    let fits = |expression: &str| {
        let expression = expression.replace(['(', ')'], " ").replace('/', " OR ");
        expression.split(" OR ").any(|all| all.split(" AND ").all(|one| allowed.contains(one.trim())))
    };
    let metadata = metadata();
    let found = metadata.packages.iter().filter(|p| !p.license.as_deref().is_some_and(fits));
    report(found.map(|p| format!("{} {} is under {:?}", p.name, p.version, p.license)).collect());
}

#[test]
fn each_outside_system_has_one_place_that_imports_its_client() {
    let mut found = Vec::new();
    for (path, text) in sources() {
        for (client, places) in CLIENTS {
            if places.iter().any(|place| path.starts_with(place)) {
                continue;
            }
            let (import, call) = (format!("use {client}::"), format!(" {client}::"));
            let lines = without_tests(&text).lines().enumerate();
            for (number, line) in lines.filter(|(_, l)| !l.trim_start().starts_with("//")) {
                if line.starts_with(&import) || line.contains(&call) {
                    found.push(format!("{path}:{}: {}", number + 1, line.trim()));
                }
            }
        }
    }
    report(found);
}

#[test]
fn files_are_short_and_say_what_they_know() {
    let mut found = Vec::new();
    for (path, text) in sources() {
        let lines = without_tests(&text).lines().count();
        if lines > LINES_MAX {
            found.push(format!("{path} has {lines} lines: does it still have one reason to change?"));
        }
        let name = Path::new(&path).file_stem().and_then(|s| s.to_str()).unwrap_or_default();
        if NAMELESS.contains(&name) {
            found.push(format!("{path}: name it after what it holds"));
        }
        // A file of tests beside its module says by its place what it is about.
        if name != "tests" && !text.starts_with("//!") {
            found.push(format!("{path} does not open with what it knows"));
        }
        for word in ["todo!(", "unimplemented!(", "dbg!("] {
            if path != "tests/tidy.rs" && text.contains(word) {
                found.push(format!("{path} holds {word}"));
            }
        }
    }
    report(found);
}

#[test]
fn no_file_names_a_registry_host() {
    let hosts = ["ghcr.", "docker.", "quay.", "registry.k8s.", "gcr."].map(|host| format!("{host}io"));
    let output = std::process::Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .unwrap();
    let names = String::from_utf8(output.stdout).unwrap();
    let mut found = Vec::new();
    // Lock files are written by tools.
    let by_hand = names.lines().filter(|n| !["Cargo.lock", "go.sum"].iter().any(|lock| n.ends_with(lock)));
    for name in by_hand.filter(|name| Path::new(name).extension().is_some_and(|e| e != "snap")) {
        let Ok(text) = fs::read_to_string(root().join(name)) else { continue };
        found.extend(
            hosts.iter().filter(|host| text.contains(host.as_str())).map(|host| format!("{name} names {host}")),
        );
    }
    report(found);
}
