//! `towline-demo`: the main job of Towline on real parts, as a timeline. `cargo xtask demo` builds and runs it.
//!
//! Knows the order: parts up, four scenes, what it came to, and, on a terminal, an open stage until Ctrl-C. Exit code 0 means
//! that every step was seen to happen at the API server; 1 names the step that was not.

mod deliver;
mod parts;
mod play;
mod scenes;
mod screen;
mod tell;
mod watch;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Instant;

use harness::Failure;
use parts::Parts;
use screen::say;

#[tokio::main]
async fn main() -> ExitCode {
    let stay = match stays(std::env::args().skip(1)) {
        Ok(stay) => stay,
        Err(problem) => {
            eprintln!("error: {problem}");
            return ExitCode::from(2);
        }
    };
    match run(stay).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\nerror: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Whether the stage stays open after the last scene: on a terminal, unless `--exit` says otherwise.
fn stays(arguments: impl Iterator<Item = String>) -> Result<bool, String> {
    let mut stay = std::io::stdout().is_terminal();
    for argument in arguments {
        match argument.as_str() {
            "--exit" => stay = false,
            other => return Err(format!("unknown argument {other:?}; there is --exit")),
        }
    }
    Ok(stay)
}

async fn run(stay: bool) -> Result<(), Failure> {
    let started = Instant::now();
    let mut parts = Parts::start().await?;
    let played = match scenes::all(&mut parts).await {
        Ok(played) => played,
        // Told while everything still runs: what is seen afterwards is the ending, not the fault.
        Err(failure) => return Err(tell::explained(&parts, failure).await),
    };
    say("\nWhat it came to");
    for (what, time) in played {
        say(format!("  {what:<44} {time:>8.1} ms"));
    }
    for (name, bytes) in parts.resident_bytes() {
        say(format!("  {:<44} {:>8.1} MiB", format!("resident memory of {name}"), bytes as f64 / 1_048_576.0));
    }
    say(format!("  {:<44} {:>8.1} s", "the whole demo", started.elapsed().as_secs_f64()));
    if stay {
        play::until_interrupted(&mut parts).await?;
    }
    parts.end().await
}
