//! `towline-bench`: what `cargo xtask bench` runs. Knows which scenarios there are, prints their tables and writes their
//! figures as JSON; what a scenario measures is in the file of its name.
//!
//! Nothing is asserted here: a figure stands beside a floor that was measured in the same run, on the same parts, with the
//! same load generator on the same cores, and the ratio is what is worth comparing between machines.

mod floor;
mod load;
mod process;
mod receiver;
mod report;
mod sample;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use harness::Failure;

#[derive(Parser)]
#[command(name = "cargo xtask bench", about = "Measure Towline on real parts, beside floors of the same run")]
struct Args {
    /// The scenarios to run; default: all
    #[arg(value_parser = ["receiver"])]
    scenarios: Vec<String>,
    /// Once and small: shows that the scenario works, not how fast anything is
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// More rounds and more sizes
    #[arg(long)]
    full: bool,
    /// Where the figures go
    #[arg(long, default_value = "target/bench")]
    output: PathBuf,
    #[command(subcommand)]
    part: Option<Part>,
}

/// Programs of the benchmark itself, each a process of its own so that its costs are its own.
#[derive(Subcommand)]
enum Part {
    /// The bare HTTP handler that a receiver is compared with
    #[command(hide = true)]
    HttpFloor,
}

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    Quick,
    Normal,
    Full,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let size = match (args.quick, args.full) {
        (true, _) => Size::Quick,
        (_, true) => Size::Full,
        _ => Size::Normal,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ended = match (runtime, args.part) {
        (Err(error), _) => Err(Failure::new("start the runtime", error.to_string())),
        (Ok(runtime), Some(Part::HttpFloor)) => runtime.block_on(floor::http()),
        (Ok(runtime), None) => runtime.block_on(async {
            let report = receiver::measure(size).await?;
            print!("{}", report.table());
            let path = report.write(&args.output)?;
            println!("\nThe figures are in {}", path.display());
            Ok(())
        }),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}
