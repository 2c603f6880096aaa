//! `towline webhook`: what is done about webhooks. Knows the subcommands by name, and what a receiver's answer means,
//! which several of them say.

mod meaning;
mod send;

use clap::Subcommand;

use crate::exit::{Exit, Failure};
use crate::ui::Ui;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Sign and post a test delivery, and explain the answer
    Send(send::Args),
}

pub(crate) async fn run(command: &Command, ui: &mut Ui) -> Result<Exit, Failure> {
    match command {
        Command::Send(args) => send::run(args, ui).await,
    }
}
