//! `towline-agent`: reads its configuration and runs until it is told to stop.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use towline_agent::{config, run};
use towline_daemon::shutdown::Shutdown;
use towline_daemon::{BoxError, exit, logs, tls};

/// Keeps one cluster equal to Git.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file (TOML, or YAML by its extension); TOWLINE__SECTION__KEY variables override it.
    #[arg(long, short)]
    config: Option<PathBuf>,
    /// Check the configuration, and exit.
    #[arg(long)]
    check: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    logs::init();
    tls::install_crypto_provider();
    exit::report(start(Arguments::parse()).await)
}

async fn start(arguments: Arguments) -> Result<(), BoxError> {
    let config = config::load(arguments.config.as_deref())?;
    if arguments.check {
        return Ok(());
    }
    Ok(run(config, Shutdown::from_signals()?).await?)
}
