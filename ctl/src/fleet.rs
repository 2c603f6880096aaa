//! `towline fleet init`: the streams of `towline_proto::streams`, made so. Nobody else creates them.

use clap::Parser;
use towline_proto::streams;

use crate::exit::{Exit, Failure};
use crate::nats;
use crate::nats::streams::{Outcome, Settled};
use crate::output::{self, Form};
use crate::ui::Ui;

#[derive(Parser)]
pub(crate) struct Args {
    #[command(flatten)]
    nats: nats::Flags,
    /// Copies of each stream in a NATS cluster. Default: 1 for a new stream, as it is for an existing one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=5))]
    replicas: Option<u8>,
    /// The form of the report
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

pub(crate) async fn run(args: &Args, ui: &mut Ui) -> Result<Exit, Failure> {
    let nats = args.nats.connect().await?;
    let mut all = Vec::new();
    for spec in streams::specs() {
        all.push(nats.settle(&spec, args.replicas.map(usize::from)).await?);
    }
    let text: String = all.iter().map(text).collect();
    ui.result(&output::outcome(args.output, &text, &all)?);
    let all_as_specified = all.iter().all(|settled| settled.outcome != Outcome::Differs);
    Ok(if all_as_specified { Exit::Ok } else { Exit::No })
}

fn text(settled: &Settled) -> String {
    let outcome = match settled.outcome {
        Outcome::Created => "created",
        Outcome::Unchanged => "unchanged",
        Outcome::Updated => "updated",
        Outcome::Differs => "differs and cannot be changed: delete the stream and run this again",
    };
    let details = settled.changed.iter().chain(&settled.cannot_change).map(|line| format!("  {line}\n"));
    std::iter::once(format!("{}: {outcome}\n", settled.stream)).chain(details).collect()
}
