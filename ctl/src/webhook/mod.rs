//! `towline webhook`: what is done about webhooks. Knows the subcommands by name.
//!
//! - [`send`]: a delivery signed here. [`meaning`] explains the answer, also where a Git host made the delivery.
//!   [`in_clear`] keeps a secret that would be sent along off the network.
//! - [`create`], [`check`], [`delete`]: a hook at a Git host. [`api`] describes the hosts' APIs, purely, [`host`] asks them;
//!   [`same`] finds the hook, [`expected`] judges it, [`secret_file`] keeps what it is signed with.

mod api;
mod check;
mod create;
mod delete;
mod deliveries;
mod expected;
mod host;
mod in_clear;
mod meaning;
mod same;
mod secret_file;
mod send;
mod shown;

use clap::Subcommand;

use crate::exit::{Exit, Failure};
use crate::ui::Ui;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Set the webhook of a repository or organisation up, by the Git host's API
    Create(create::Args),
    /// Compare the webhook with what a receiver expects, and show its last deliveries
    Check(check::Args),
    /// Take the webhook away
    Delete(delete::Args),
    /// Sign and post a test delivery, and explain the answer
    Send(send::Args),
}

pub(crate) async fn run(command: &Command, ui: &mut Ui) -> Result<Exit, Failure> {
    match command {
        Command::Create(args) => create::run(args, ui).await,
        Command::Check(args) => check::run(args, ui).await,
        Command::Delete(args) => delete::run(args, ui).await,
        Command::Send(args) => send::run(args, ui).await,
    }
}
