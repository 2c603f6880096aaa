//! Runs cargo and says what it ran.

use std::process::{Command, ExitStatus};
use std::time::Instant;

#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("failed to start cargo")]
    Start(#[source] std::io::Error),
    #[error("`cargo {arguments}` ended with {status}")]
    Failed { arguments: String, status: ExitStatus },
}

/// Runs one cargo command, its output on ours.
pub(crate) fn cargo(arguments: &[&str], prepare: impl FnOnce(&mut Command)) -> Result<(), RunError> {
    let shown = arguments.join(" ");
    eprintln!("xtask: cargo {shown}");
    let started = Instant::now();
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    prepare(command.args(arguments));
    let status = command.status().map_err(RunError::Start)?;
    if !status.success() {
        return Err(RunError::Failed { arguments: shown, status });
    }
    eprintln!("xtask: cargo {} done in {:.0} s", arguments[0], started.elapsed().as_secs_f64());
    Ok(())
}
