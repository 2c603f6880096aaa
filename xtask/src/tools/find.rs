//! Looks for a part that is already there. Starts a program only to ask for its version; builds and writes nothing.

use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Places;
use super::table::{Pin, Same, Tool, numbers};

/// Where a part came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Named,
    Assets,
    SearchPath,
    Built,
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Named => "named by its TOWLINE_TOOL variable",
            Self::Assets => "from KUBEBUILDER_ASSETS",
            Self::SearchPath => "from PATH",
            Self::Built => "built before",
        })
    }
}

pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) origin: Origin,
}

/// What a search saw: the program, and those it could not use, each with the reason.
#[derive(Default)]
pub(super) struct Search {
    pub(super) found: Option<Found>,
    pub(super) passed_over: Vec<(PathBuf, String)>,
}

/// The variable that names a part's path, here and to children.
pub(super) fn variable(name: &str) -> String {
    format!("TOWLINE_TOOL_{}", name.replace('-', "_").to_uppercase())
}

/// Where a build puts a part.
pub(super) fn built_path(tool: &Tool, places: &Places) -> PathBuf {
    places.out.join("bin").join(tool.name)
}

/// The digest of the pins a built part was made from.
pub(super) fn stamp_path(tool: &Tool, places: &Places) -> PathBuf {
    places.out.join("stamps").join(tool.name)
}

/// Where a build puts the folders that the program reads when it runs.
pub(super) fn static_path(tool: &Tool, places: &Places) -> PathBuf {
    places.out.join(format!("{}-static", tool.name))
}

pub(super) fn search(tool: &Tool, pin: &Pin, places: &Places) -> Search {
    let mut search = Search::default();
    if let Some(path) = env::var_os(variable(tool.name)).map(PathBuf::from) {
        if path.is_file() {
            search.found = Some(Found { path, origin: Origin::Named });
            return search;
        }
        search.passed_over.push((path, format!("{} names no file", variable(tool.name))));
    }
    for (path, origin) in candidates(tool) {
        match fits(&path, tool, pin) {
            Ok(()) => {
                search.found = Some(Found { path, origin });
                return search;
            }
            Err(why) => search.passed_over.push((path, why)),
        }
    }
    if is_built(tool, pin, places) {
        search.found = Some(Found { path: built_path(tool, places), origin: Origin::Built });
    }
    search
}

fn candidates(tool: &Tool) -> Vec<(PathBuf, Origin)> {
    let assets = env::var_os("KUBEBUILDER_ASSETS").filter(|_| tool.in_assets).map(PathBuf::from);
    let assets = assets.into_iter().map(|dir| (dir, Origin::Assets));
    let search_path = env::var_os("PATH").unwrap_or_default();
    let search_path = env::split_paths(&search_path).map(|dir| (dir, Origin::SearchPath));
    // The first of each kind only, as a shell would.
    let mut seen = Vec::new();
    for (dir, origin) in assets.chain(search_path.collect::<Vec<_>>()) {
        let path = dir.join(tool.name);
        if path.is_file() && !seen.iter().any(|(_, known)| *known == origin) {
            seen.push((path, origin));
        }
    }
    seen
}

fn fits(path: &Path, tool: &Tool, pin: &Pin) -> Result<(), String> {
    let output =
        Command::new(path).args(tool.version_args).output().map_err(|error| format!("does not run: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let Some((major, minor)) = numbers(&text) else {
        return Err(format!("does not say its version to `{}`", tool.version_args.join(" ")));
    };
    let Some((want_major, want_minor)) = numbers(&pin.version) else {
        return Err(format!("the pin {} is no version", pin.version));
    };
    let same = match tool.same {
        Same::Major => major == want_major,
        Same::MajorMinor => (major, minor) == (want_major, want_minor),
    };
    if same { Ok(()) } else { Err(format!("its version is {major}.{minor}, the tests want {}", pin.version)) }
}

fn is_built(tool: &Tool, pin: &Pin, places: &Places) -> bool {
    let stamped = fs::read_to_string(stamp_path(tool, places)).is_ok_and(|digest| digest == pin.digest);
    let folders = static_path(tool, places);
    stamped
        && built_path(tool, places).is_file()
        && tool.static_folders.iter().all(|folder| folders.join(folder).is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_named_after_the_tool() {
        assert_eq!(variable("kube-apiserver"), "TOWLINE_TOOL_KUBE_APISERVER");
    }
}
