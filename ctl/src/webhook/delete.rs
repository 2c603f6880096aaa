//! `towline webhook delete`: takes the hook with this address away. Of several only those that were asked for.

use clap::Parser;
use serde::Serialize;

use super::host::{self, Host, HostError};
use super::same;
use crate::exit::{Exit, Fails, Failure};
use crate::output::{self, Form};
use crate::ui::Ui;

#[derive(Parser)]
pub(crate) struct Args {
    #[command(flatten)]
    host: host::Flags,
    /// Only the one with this id
    #[arg(long)]
    id: Option<u64>,
    /// All that have this address, if there are several
    #[arg(long, conflicts_with = "id")]
    all: bool,
    /// The form of the report
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

/// Why not all was deleted that should have been.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeleteError {
    #[error("find a webhook with this address{which}: there is none")]
    None { which: String },
    #[error(
        "choose a webhook: {number} have this address (ids {ids}), and none was deleted; name one with --id, or use --all"
    )]
    Several { number: usize, ids: String },
    #[error("delete webhook {id}, after {deleted} {} deleted (still there: {left}; running this again goes on)",
        if deleted.contains(',') { "were" } else { "was" })]
    Midway { id: u64, deleted: String, left: String, source: HostError },
}

impl Fails for DeleteError {
    fn exit(&self) -> Exit {
        match self {
            Self::None { .. } | Self::Several { .. } => Exit::No,
            Self::Midway { .. } => Exit::Failed,
        }
    }
}

/// What programs read.
#[derive(Serialize)]
struct Report {
    deleted: Vec<u64>,
    url: String,
    place: String,
}

pub(crate) async fn run(args: &Args, ui: &mut Ui) -> Result<Exit, Failure> {
    let host = args.host.host()?;
    let (mut same, _) = same::with_url(host.hooks().await?, &args.host.url);
    same.retain(|hook| args.id.is_none_or(|id| hook.id == id));
    if same.is_empty() {
        let which = args.id.map_or_else(String::new, |id| format!(" and the id {id}"));
        return Err(DeleteError::None { which }.into());
    }
    if same.len() > 1 && !args.all {
        return Err(DeleteError::Several { number: same.len(), ids: same::joined(&same::ids(&same)) }.into());
    }
    let deleted = same::ids(&same);
    delete(&host, &deleted).await?;
    let report = Report { deleted, url: args.host.url.to_string(), place: host.place.name().to_owned() };
    let text = format!("deleted: webhook {} of {} to {}\n", same::joined(&report.deleted), report.place, report.url);
    ui.result(&output::outcome(args.output, &text, &report)?);
    Ok(Exit::Ok)
}

/// One after the other. What is gone by then is said when one fails.
async fn delete(host: &Host, ids: &[u64]) -> Result<(), Failure> {
    for (index, &id) in ids.iter().enumerate() {
        match host.delete(id).await {
            Err(source) if index > 0 => {
                let (deleted, left) = (same::joined(&ids[..index]), same::joined(&ids[index..]));
                return Err(DeleteError::Midway { id, deleted, left, source }.into());
            }
            other => other?,
        }
    }
    Ok(())
}
