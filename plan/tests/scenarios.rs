//! Every folder in `scenarios/` is a case: what Git, the inventory and the API server say, and the plan that follows.
//!
//! `plan.txt` is compared exactly; `UPDATE_SCENARIOS=1` writes it anew. The formats stand in `scenarios/README.md`.

#![expect(clippy::unwrap_used, reason = "a scenario that cannot be read fails its test")]

mod scenario;

use std::fs;
use std::path::{Path, PathBuf};

use scenario::Scenario;

#[test]
fn every_scenario_gives_its_plan() {
    let folders = folders(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios"));
    assert!(folders.len() >= 30, "only {} scenarios were found", folders.len());
    let update = std::env::var_os("UPDATE_SCENARIOS").is_some();
    let failures: Vec<String> = folders.iter().filter_map(|folder| failure(folder, update)).collect();
    assert!(failures.is_empty(), "{}\n(UPDATE_SCENARIOS=1 accepts this)", failures.join("\n"));
}

/// What differs from what is expected, if anything does.
fn failure(folder: &Path, update: bool) -> Option<String> {
    let actual = Scenario::read(folder).plan();
    let file = folder.join("plan.txt");
    let expected = fs::read_to_string(&file).unwrap_or_default();
    if actual == expected {
        return None;
    }
    if update {
        fs::write(&file, actual).unwrap();
        return None;
    }
    Some(format!("=== {}\n--- expected\n{expected}--- actual\n{actual}", folder.display()))
}

fn folders(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<_> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}
