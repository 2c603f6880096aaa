//! Every folder below a root is a case: one file of it says what is expected, and is compared exactly.
//!
//! Knows files only. `UPDATE_SCENARIOS=1` writes what is expected anew.

use std::fs;
use std::path::{Path, PathBuf};

/// Runs all cases in `tests/<root>`, of which there are at least `least`; `expected` is the file that each answer is compared
/// with.
pub(crate) fn check(root: &str, least: usize, expected: &str, answer: impl Fn(&Path) -> String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(root);
    let mut folders: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    assert!(folders.len() >= least, "only {} cases were found", folders.len());
    let differing = folders.iter().filter_map(|folder| differing(&folder.join(expected), answer(folder)));
    let differing = differing.collect::<Vec<_>>().join("\n");
    assert!(differing.is_empty(), "{differing}\n(UPDATE_SCENARIOS=1 accepts this)");
}

/// What differs from what is expected, if anything does.
fn differing(file: &Path, actual: String) -> Option<String> {
    let expected = fs::read_to_string(file).unwrap_or_default();
    if actual == expected {
        return None;
    }
    if std::env::var_os("UPDATE_SCENARIOS").is_some() {
        fs::write(file, actual).unwrap();
        return None;
    }
    Some(format!("=== {}\n--- expected\n{expected}--- actual\n{actual}", file.display()))
}
