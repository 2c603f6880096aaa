//! The commands by name. Knows what is asked for; each command's own flags stand beside the command.

use clap::{Parser, Subcommand};

use crate::{build, completion, fleet, get, health, reconcile, suspend, version, webhook};

const EXIT_CODES: &str = "Exit codes:
  0  done, and what was asked about is so
  1  it is not so: not ready, not found, refused by the receiver, mistakes in manifests
  2  the command line cannot be understood
  3  it could not be found out: something could not be reached or failed";

#[derive(Parser)]
#[command(name = "towline", version, about = "GitOps for fleets of clusters that nothing may reach from outside")]
#[command(after_help = EXIT_CODES, disable_help_subcommand = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show a cluster's sources or Syncs
    Get(get::Args),
    /// Ask for a pass now, and wait for its outcome
    Reconcile(reconcile::Args),
    /// Stop reconciling a Sync or fetching a source
    Suspend(suspend::Args),
    /// Go on with what was suspended
    Resume(suspend::Args),
    /// Print the manifests of a local folder as an agent reads them
    Build(build::Args),
    /// Judge live objects as an agent does: are they as their specs ask?
    Health(health::Args),
    /// Set webhooks up at a Git host, and try them out
    Webhook {
        #[command(subcommand)]
        command: webhook::Command,
    },
    /// Prepare what a fleet shares
    Fleet {
        #[command(subcommand)]
        command: FleetCommand,
    },
    /// Print a completion script for a shell
    Completion(completion::Args),
    /// Print the version
    Version(version::Args),
}

#[derive(Subcommand)]
pub(crate) enum FleetCommand {
    /// Create or update the JetStream streams; what is there already stays
    Init(fleet::Args),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        super::Args::command().debug_assert();
    }
}
