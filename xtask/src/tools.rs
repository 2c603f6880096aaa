//! The real parts that tests and the demo run on: where each was found, or built.
//!
//! In order: `TOWLINE_TOOL_<NAME>`, `KUBEBUILDER_ASSETS`, `PATH`, what an earlier run built, and last a build from
//! the Go modules pinned in `tests/tools/`. Knows no test and no command that uses the parts.

mod build;
mod find;
mod table;

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use build::BuildError;
use find::{Found, Origin, Search};
use table::{TOOLS, Tool};

/// Why the parts could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ToolsError {
    #[error("unknown tool `{name}`; there are: {known}")]
    Unknown { name: String, known: String },
    #[error("failed to read the pins of {name}: {why}")]
    Pins { name: &'static str, why: String },
    #[error("failed to lock {}: {source}", path.display())]
    Lock { path: PathBuf, source: io::Error },
    #[error("failed to get {name}: {source}")]
    Build { name: &'static str, source: BuildError },
}

/// The folders the parts come from and go to.
struct Places {
    pins: PathBuf,
    out: PathBuf,
}

impl Places {
    fn of_workspace() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let root = root.canonicalize().unwrap_or(root);
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
        Self { pins: root.join("tests/tools"), out: target.join("tools") }
    }
}

/// Where each asked-for part is.
#[derive(Debug, Default)]
pub(crate) struct ToolPaths(Vec<(&'static str, PathBuf)>);

impl ToolPaths {
    /// Tells a child where the parts are: `TOWLINE_TOOL_KUBE_APISERVER=/path`, one variable for each.
    pub(crate) fn export<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.envs(self.0.iter().map(|(name, path)| (find::variable(name), path)))
    }
}

/// How much is said about parts that were already there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Talk {
    Everything,
    WhatIsNew,
}

/// The command `cargo xtask tools [NAME…]`: all parts, or the named ones.
pub(crate) fn run(names: &[String]) -> Result<(), ToolsError> {
    let names: Vec<&str> = if names.is_empty() {
        TOOLS.iter().map(|tool| tool.name).collect()
    } else {
        names.iter().map(String::as_str).collect()
    };
    provide(&names, Talk::Everything).map(drop)
}

/// Finds or builds the named parts. Silent about what an earlier run built.
pub(crate) fn ensure(names: &[&str]) -> Result<ToolPaths, ToolsError> {
    provide(names, Talk::WhatIsNew)
}

fn provide(names: &[&str], talk: Talk) -> Result<ToolPaths, ToolsError> {
    let tools = names.iter().map(|name| table::by_name(name)).collect::<Result<Vec<_>, _>>()?;
    let places = Places::of_workspace();
    let mut paths = ToolPaths::default();
    let mut missing = Vec::new();
    for tool in tools {
        let search = look(tool, &places)?;
        for (path, why) in &search.passed_over {
            eprintln!("{}: {} is not used: {why}", tool.name, path.display());
        }
        match search.found {
            Some(found) => {
                if talk == Talk::Everything || found.origin != Origin::Built {
                    say_found(tool, &found);
                }
                paths.0.push((tool.name, found.path));
            }
            None => missing.push(tool),
        }
    }
    if missing.is_empty() {
        return Ok(paths);
    }
    let built = build_all(&missing, &places)?;
    paths.0.extend(built.0);
    Ok(paths)
}

fn look(tool: &'static Tool, places: &Places) -> Result<Search, ToolsError> {
    Ok(find::search(tool, &pin_of(tool, places)?, places))
}

fn pin_of(tool: &'static Tool, places: &Places) -> Result<table::Pin, ToolsError> {
    table::Pin::read(tool, &places.pins).map_err(|why| ToolsError::Pins { name: tool.name, why })
}

fn build_all(tools: &[&'static Tool], places: &Places) -> Result<ToolPaths, ToolsError> {
    let _lock = build::lock(&places.out)?;
    let mut paths = ToolPaths::default();
    let begin = Instant::now();
    let mut count = 0;
    for &tool in tools {
        // Another process may have built it while this one waited for the lock.
        if let Some(found) = look(tool, places)?.found {
            say_found(tool, &found);
            paths.0.push((tool.name, found.path));
            continue;
        }
        let pin = pin_of(tool, places)?;
        eprintln!("{}: building {} {} …", tool.name, tool.package, pin.version);
        let start = Instant::now();
        let path = build::build(tool, &pin, places).map_err(|source| ToolsError::Build { name: tool.name, source })?;
        eprintln!("{}: built in {}", tool.name, seconds(start.elapsed()));
        paths.0.push((tool.name, path));
        count += 1;
    }
    eprintln!("tools: built {count} in {}", seconds(begin.elapsed()));
    Ok(paths)
}

fn say_found(tool: &Tool, found: &Found) {
    eprintln!("{}: {} ({})", tool.name, found.path.display(), found.origin);
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
