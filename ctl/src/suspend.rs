//! `towline suspend` and `towline resume`: `spec.suspend`, set and cleared.

use clap::Parser;
use serde::Serialize;
use serde_json::{Value, json};

use crate::cluster;
use crate::exit::{Exit, Failure};
use crate::output::{self, Form};
use crate::target::Target;
use crate::ui::Ui;

#[derive(Parser)]
pub(crate) struct Args {
    /// sync/NAME or source/NAME
    target: Target,
    #[command(flatten)]
    cluster: cluster::Flags,
    /// The form of the answer
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    target: String,
    namespace: String,
    suspended: bool,
    /// False: it was so already.
    changed: bool,
}

pub(crate) async fn run(args: &Args, suspend: bool, ui: &mut Ui) -> Result<Exit, Failure> {
    let cluster = args.cluster.connect().await?;
    let Target { kind, name } = &args.target;
    let before = cluster.get(*kind, name).await?.data.pointer("/spec/suspend") == Some(&Value::Bool(true));
    if before != suspend {
        cluster.patch(*kind, name, &json!({ "spec": { "suspend": suspend } })).await?;
    }
    let report = Report {
        target: args.target.to_string(),
        namespace: cluster.namespace,
        suspended: suspend,
        changed: before != suspend,
    };
    let already = if report.changed { "" } else { ", as it was" };
    let text = format!("{} {}{already}", report.target, if suspend { "suspended" } else { "resumed" });
    ui.result(&output::outcome(args.output, &text, &report)?);
    Ok(Exit::Ok)
}
