//! `cargo xtask …`: the development tasks. Each lives in its own module; this file only names them.

mod bench;
mod codegen;
mod demo;
mod lint;
mod run;
mod test;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Development tasks of Towline")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Find or build the real parts that tests and the demo run on: all, or the named ones
    Tools { names: Vec<String> },
    /// Show the main job on real parts; on a terminal they stay up to play with
    Demo {
        /// End after the last step, on a terminal too
        #[arg(long)]
        exit: bool,
    },
    /// Run all tests on the real parts, or those whose names contain a filter
    Test {
        /// Also in the sizes that take long
        #[arg(long)]
        full: bool,
        filters: Vec<String>,
    },
    /// Measure on real parts, in release builds; `cargo xtask bench --help` shows what
    #[command(disable_help_flag = true)]
    Bench {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Check format, lints, documentation and generated files
    Lint,
    /// Write deploy/crds from the types of the cluster API
    Codegen {
        /// Write nothing; fail if a file is not as it would be written
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    let result: Result<(), Box<dyn std::error::Error>> = match Args::parse().task {
        Task::Tools { names } => tools::run(&names).map_err(Into::into),
        Task::Demo { exit } => demo::run(exit).map_err(Into::into),
        Task::Test { full, filters } => test::run(full, &filters).map_err(Into::into),
        Task::Bench { arguments } => bench::run(&arguments).map_err(Into::into),
        Task::Lint => lint::run().map_err(Into::into),
        Task::Codegen { check } => codegen::run(check).map_err(Into::into),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
