//! `towline version`.

use clap::Parser;
use serde::Serialize;
use towline_agent::api::{GitSource, Sync};
use towline_proto::streams;

use crate::exit::Exit;
use crate::output::{self, Form, OutputError};
use crate::ui::Ui;

#[derive(Parser)]
pub(crate) struct Args {
    /// The form of the answer
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    version: &'static str,
    /// The cluster API it speaks.
    api_version: String,
    kinds: Vec<String>,
    streams: Vec<&'static str>,
}

pub(crate) fn run(args: &Args, ui: &mut Ui) -> Result<Exit, OutputError> {
    use towline_agent::api::Resource as _;
    let version = Version {
        version: env!("CARGO_PKG_VERSION"),
        api_version: Sync::api_version(&()).into_owned(),
        kinds: vec![GitSource::kind(&()).into_owned(), Sync::kind(&()).into_owned()],
        streams: streams::specs().iter().map(|spec| spec.name).collect(),
    };
    ui.result(&output::outcome(args.output, &format!("towline {}", version.version), &version)?);
    Ok(Exit::Ok)
}
