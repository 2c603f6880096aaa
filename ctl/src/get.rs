//! `towline get`: sources and Syncs, as kubectl would show them and a little more to the point.

mod rows;

pub(crate) use rows::condition;

use std::time::Duration;

use clap::{Parser, ValueEnum};
use jiff::Timestamp;
use serde_json::Value;

use crate::cluster::{self, Cluster, ClusterError, DynamicObject, TypeMeta};
use crate::exit::{Exit, Failure};
use crate::output::{self, ListForm, OutputError};
use crate::target::Kind;
use crate::ui::Ui;

/// A person watches; anything faster asks the API server for nothing.
const WATCH_PERIOD: Duration = Duration::from_secs(1);

#[derive(Parser)]
pub(crate) struct Args {
    what: What,
    /// Only the one of this name
    #[arg(conflicts_with = "all_namespaces")]
    name: Option<String>,
    #[command(flatten)]
    cluster: cluster::Flags,
    /// All namespaces
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
    /// The form of the list
    #[arg(short, long, value_enum, default_value = "table")]
    output: ListForm,
    /// Go on, and print again what changes
    #[arg(short, long)]
    watch: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    #[value(alias = "source", alias = "gitsources", alias = "gitsource", alias = "gsrc")]
    Sources,
    #[value(alias = "sync")]
    Syncs,
}

pub(crate) async fn run(args: &Args, ui: &mut Ui) -> Result<Exit, Failure> {
    let cluster = args.cluster.connect().await?;
    let mut objects = read(args, &cluster).await?;
    if objects.is_empty() && matches!(args.output, ListForm::Table | ListForm::Wide) {
        let place = if args.all_namespaces { "any namespace" } else { &cluster.namespace };
        ui.note(&format!("No {} found in {place}.", args.what.plural()));
    } else {
        ui.result(&render(args, &objects)?);
    }
    while args.watch && !ui.is_closed() {
        tokio::time::sleep(WATCH_PERIOD).await;
        let now = read(args, &cluster).await?;
        let changed: Vec<_> = now.iter().filter(|object| !objects.contains(object)).cloned().collect();
        if !changed.is_empty() {
            ui.result(&render(args, &changed)?);
        }
        objects = now;
    }
    Ok(Exit::Ok)
}

async fn read(args: &Args, cluster: &Cluster) -> Result<Vec<DynamicObject>, ClusterError> {
    match &args.name {
        Some(name) => Ok(vec![cluster.get(args.what.kind(), name).await?]),
        None => cluster.list(args.what.kind(), args.all_namespaces).await,
    }
}

fn render(args: &Args, objects: &[DynamicObject]) -> Result<String, OutputError> {
    let whole = || match (objects, &args.name) {
        ([object], Some(_)) => plain(object, args.what.kind()),
        _ => output::list(objects.iter().map(|object| plain(object, args.what.kind())).collect()),
    };
    match args.output {
        ListForm::Json => output::json(&whole()),
        ListForm::Yaml => output::yaml(&whole()),
        form @ (ListForm::Table | ListForm::Wide) => {
            let shape = rows::Shape { wide: form == ListForm::Wide, namespaces: args.all_namespaces };
            Ok(rows::table(args.what.kind(), objects, shape, Timestamp::now()))
        }
    }
}

/// As kubectl prints it: items of a list have their kind too, and the server's bookkeeping is left out.
fn plain(object: &DynamicObject, kind: Kind) -> Value {
    let mut object = object.clone();
    object.metadata.managed_fields = None;
    object.types.get_or_insert_with(|| match kind {
        Kind::Source => TypeMeta::resource::<towline_agent::api::GitSource>(),
        Kind::Sync => TypeMeta::resource::<towline_agent::api::Sync>(),
    });
    serde_json::to_value(object).unwrap_or_default()
}

impl What {
    fn kind(self) -> Kind {
        match self {
            Self::Sources => Kind::Source,
            Self::Syncs => Kind::Sync,
        }
    }

    fn plural(self) -> &'static str {
        match self {
            Self::Sources => "sources",
            Self::Syncs => "Syncs",
        }
    }
}
