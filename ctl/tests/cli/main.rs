//! The binary as people and programs meet it: arguments in; stdout, stderr and an exit code out. Hermetic: a home and a
//! folder of its own, an environment that holds nothing else, and no network but this machine's.

#![expect(clippy::unwrap_used, reason = "in a test a failure is a panic, also in what its tests share")]

mod build;
mod exits;
mod health;
mod hooks;
mod serve;
mod webhook;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// What a run left behind.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A folder for one test.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, name: &str, contents: &str) -> &Self {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
        self
    }

    /// Runs `towline` in the folder.
    pub(crate) fn towline(&self, arguments: &[&str]) -> Ran {
        self.towline_with(arguments, &[])
    }

    pub(crate) fn towline_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
        Ran::of(self.command(arguments, environment).output().unwrap())
    }

    /// Runs `towline` with this on its stdin.
    pub(crate) fn towline_fed(&self, arguments: &[&str], stdin: &str) -> Ran {
        let mut command = self.command(arguments, &[]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        Ran::of(child.wait_with_output().unwrap())
    }

    fn command(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_towline"));
        command.env_clear().env("HOME", self.path()).envs(environment.iter().copied());
        command.current_dir(self.path()).args(arguments);
        command
    }
}

impl Ran {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}
