//! `towline`, the command line. This file reads the arguments, runs one command and ends with its exit code; it alone
//! hands out stdout and stderr. What each command does is in the file of its name, outside systems are in [`cluster`],
//! [`nats`], [`http`] and [`folder`].

mod age;
mod args;
mod build;
mod cluster;
mod completion;
mod exit;
mod fleet;
mod folder;
mod get;
mod health;
mod http;
mod mask;
mod nats;
mod output;
mod reconcile;
mod suspend;
mod table;
mod target;
mod ui;
mod version;
mod wait;
mod webhook;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Args, Command, FleetCommand};
use exit::{Exit, Failure};
use ui::Ui;

fn main() -> ExitCode {
    let args = Args::parse();
    let mut ui = Ui::process();
    // Before anything can dial: two TLS providers in one process would panic at the first handshake.
    let _installed_before = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(run(args.command, &mut ui)),
        Err(error) => Err(Failure::runtime(error)),
    };
    let exit = ended.unwrap_or_else(|failure| {
        ui.note(&format!("error: {failure}"));
        failure.exit()
    });
    ExitCode::from(exit.code())
}

async fn run(command: Command, ui: &mut Ui) -> Result<Exit, Failure> {
    Ok(match command {
        Command::Get(args) => get::run(&args, ui).await?,
        Command::Reconcile(args) => reconcile::run(&args, ui).await?,
        Command::Suspend(args) => suspend::run(&args, true, ui).await?,
        Command::Resume(args) => suspend::run(&args, false, ui).await?,
        Command::Build(args) => build::run(&args, ui)?,
        Command::Health(args) => health::run(&args, ui)?,
        Command::Webhook { command } => webhook::run(&command, ui).await?,
        Command::Fleet { command: FleetCommand::Init(args) } => fleet::run(&args, ui).await?,
        Command::Completion(args) => completion::run(&args, ui),
        Command::Version(args) => version::run(&args, ui)?,
    })
}
