//! `cargo xtask bench`: sees to the parts and to release builds, then becomes `towline-bench`; knows nothing of what that
//! measures.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::run::{RunError, cargo};
use crate::tools::{self, ToolsError};

/// The parts the scenarios start.
const PARTS: &[&str] = &["nats-server"];

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    #[error(transparent)]
    Tools(#[from] ToolsError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("failed to start towline-bench: {0}")]
    Start(io::Error),
}

/// Ends with the benchmark's own exit code; the arguments are its own too.
pub(crate) fn run(arguments: &[String]) -> Result<(), BenchError> {
    let parts = tools::ensure(PARTS)?;
    cargo(&["build", "--release", "--package", "towline-bench", "--package", "towline-receiver"], |_| {})?;
    let own = std::env::current_exe().map_err(BenchError::Start)?;
    // Of `target/<profile>/xtask`.
    let target = own.ancestors().nth(2).unwrap_or(&own);
    let mut command = Command::new(target.join("release/towline-bench"));
    parts.export(&mut command).args(arguments);
    Err(BenchError::Start(command.exec()))
}
