//! `cargo xtask demo`: the main job in one command. Sees to the parts and the binaries, then becomes `towline-demo`; knows
//! nothing of what it plays.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::run::{RunError, cargo};
use crate::tools::{self, ToolsError};

/// The parts the demo starts, and kubectl, which plays the person in a hurry.
const PARTS: &[&str] = &["etcd", "kube-apiserver", "kube-controller-manager", "nats-server", "kubectl"];

/// Why the demo did not begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    #[error(transparent)]
    Tools(#[from] ToolsError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("failed to start towline-demo: {0}")]
    Start(io::Error),
}

/// Ends with the demo's own exit code. `exit`: does not stay up on a terminal either.
pub(crate) fn run(exit: bool) -> Result<(), DemoError> {
    let parts = tools::ensure(PARTS)?;
    // The same as `test` builds, so that neither undoes the other's work.
    cargo(&["build", "--workspace", "--bins"], |_| {})?;
    let program = std::env::current_exe().map_err(DemoError::Start)?.with_file_name("towline-demo");
    let mut command = Command::new(program);
    parts.export(&mut command).args(exit.then_some("--exit"));
    // In its place, not below it: Ctrl-C at the terminal is the demo's alone to answer.
    Err(DemoError::Start(command.exec()))
}
