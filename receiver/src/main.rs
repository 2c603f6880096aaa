//! `towline-receiver`: reads its configuration and runs until it is told to stop.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use jiff::Timestamp;
use towline_daemon::shutdown::Shutdown;
use towline_daemon::{BoxError, exit, logs, tls};
use towline_receiver::check::Report;
use towline_receiver::{config, run};

/// The public webhook edge of Towline.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file (TOML, or YAML by its extension); TOWLINE__SECTION__KEY variables override it.
    #[arg(long, short)]
    config: Option<PathBuf>,
    /// Check the configuration and the files it names, say what is in it, and exit: 0 if it can be used, else 1. Opens no
    /// port and no connection.
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
        let report = Report::new(&config, Timestamp::now());
        print!("{report}");
        return if report.is_good() { Ok(()) } else { Err("the configuration has problems".into()) };
    }
    Ok(run(config, Shutdown::from_signals()?).await?)
}
