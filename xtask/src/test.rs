//! `cargo xtask test`: every test, from unit to end-to-end, on the real parts.

use std::process::Command;

use crate::run::{RunError, cargo};
use crate::tools::{self, ToolsError};

/// The parts the suites start.
const PARTS: &[&str] = &["etcd", "kube-apiserver", "kube-controller-manager", "kubectl", "nats-server", "gitea"];

/// Tests that run at once. They mostly wait for other processes, so more than there are cores.
const THREADS: &str = "4";

#[derive(Debug, thiserror::Error)]
pub(crate) enum TestError {
    #[error(transparent)]
    Tools(#[from] ToolsError),
    #[error(transparent)]
    Run(#[from] RunError),
}

/// Runs all tests, or those whose names contain one of `filters`. `full`: also in the sizes that take long.
pub(crate) fn run(full: bool, filters: &[String]) -> Result<(), TestError> {
    let paths = tools::ensure(PARTS)?;
    cargo(&["build", "--workspace", "--bins"], |_| {})?;
    // One failing suite must not hide what the others would say.
    let mut arguments = vec!["test", "--workspace", "--no-fail-fast", "--"];
    arguments.extend(filters.iter().map(String::as_str));
    let prepare = |command: &mut Command| {
        paths.export(command);
        command.env("RUST_TEST_THREADS", THREADS);
        if full {
            command.env("TOWLINE_TESTS_FULL", "1");
        }
    };
    Ok(cargo(&arguments, prepare)?)
}
