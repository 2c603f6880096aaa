//! `cargo xtask lint`: format, clippy, documentation, generated files. Warnings are errors here, and only here.

use std::process::Command;

use crate::codegen;
use crate::run::{RunError, cargo};

#[derive(Debug, thiserror::Error)]
pub(crate) enum LintError {
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Codegen(#[from] codegen::CodegenError),
}

/// Checks everything that needs no test to run.
pub(crate) fn run() -> Result<(), LintError> {
    cargo(&["fmt", "--all", "--check"], |_| {})?;
    cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"], |_| {})?;
    let strict = |command: &mut Command| {
        command.env("RUSTDOCFLAGS", "-D warnings");
    };
    cargo(&["doc", "--workspace", "--no-deps", "--document-private-items"], strict)?;
    codegen::run(true)?;
    Ok(())
}
