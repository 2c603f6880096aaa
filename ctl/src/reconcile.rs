//! `towline reconcile`: asks for a pass now. In the cluster at hand by an annotation, whose answer can be waited for; in any
//! cluster of the fleet by a message on NATS, which says only "look again".

mod remote;

use std::time::Duration;

use clap::Parser;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use towline_agent::api::REQUESTED_AT;
use towline_proto::ClusterName;

use crate::cluster::{self, Cluster};
use crate::exit::{Exit, Fails, Failure};
use crate::nats;
use crate::output::{self, Form};
use crate::target::{Kind, Target};
use crate::ui::Ui;
use crate::wait::{self, Verdict};

#[derive(Parser)]
pub(crate) struct Args {
    /// sync/NAME or source/NAME; with --cluster it may be left out, and means all Syncs
    #[arg(required_unless_present = "fleet_cluster")]
    target: Option<Target>,
    /// Fetch the Sync's source first
    #[arg(long)]
    with_source: bool,
    /// Ask, and do not wait for the outcome
    #[arg(long, conflicts_with = "timeout")]
    no_wait: bool,
    /// How long to wait for the outcome, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "300")]
    timeout: u64,
    #[command(flatten)]
    cluster: cluster::Flags,
    /// Ask the agent of this cluster of the fleet, over NATS; nothing is waited for
    #[arg(
        id = "fleet_cluster",
        long = "cluster",
        value_name = "NAME",
        conflicts_with_all = ["with_source", "no_wait", "timeout", "context", "kubeconfig"]
    )]
    fleet_cluster: Option<ClusterName>,
    #[command(flatten)]
    nats: nats::Flags,
    /// The form of the answer
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

/// Why nothing was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReconcileError {
    #[error("reconcile {target}: it is suspended; `towline resume {target}` first")]
    Suspended { target: Target },
    #[error("fetch the source of {target}: it names none")]
    NoSource { target: Target },
    #[error("use --with-source for {target}: only a Sync has a source")]
    NotASync { target: Target },
    #[error("reconcile nothing: name sync/NAME or source/NAME")]
    NoTarget,
}

impl Fails for ReconcileError {
    fn exit(&self) -> Exit {
        match self {
            Self::Suspended { .. } | Self::NoSource { .. } => Exit::No,
            Self::NotASync { .. } | Self::NoTarget => Exit::Usage,
        }
    }
}

/// What programs read, one for each object that was asked about.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    target: String,
    namespace: String,
    requested_at: String,
    /// Absent with --no-wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<Verdict>,
}

pub(crate) async fn run(args: &Args, ui: &mut Ui) -> Result<Exit, Failure> {
    if let Some(name) = &args.fleet_cluster {
        return remote::run(args, name, ui).await;
    }
    let target = args.target.as_ref().ok_or(ReconcileError::NoTarget)?;
    let cluster = args.cluster.connect().await?;
    let mut reports = Vec::new();
    if args.with_source {
        reports.push(ask(args, &cluster, &source_of(&cluster, target).await?, ui).await?);
    }
    // With an old revision the Sync's pass would say nothing about what was asked for.
    if reports.iter().all(Report::is_ready) {
        reports.push(ask(args, &cluster, target, ui).await?);
    }
    let text: String = reports.iter().map(Report::text).collect();
    ui.result(&output::outcome(args.output, &text, &reports)?);
    Ok(if reports.iter().all(Report::is_ready) { Exit::Ok } else { Exit::No })
}

async fn source_of(cluster: &Cluster, target: &Target) -> Result<Target, Failure> {
    if target.kind != Kind::Sync {
        return Err(ReconcileError::NotASync { target: target.clone() }.into());
    }
    let sync = cluster.get(Kind::Sync, &target.name).await?;
    let name = sync.data.pointer("/spec/sourceRef/name").and_then(Value::as_str);
    let name = name.ok_or_else(|| ReconcileError::NoSource { target: target.clone() })?;
    Ok(Target { kind: Kind::Source, name: name.to_owned() })
}

async fn ask(args: &Args, cluster: &Cluster, target: &Target, ui: &mut Ui) -> Result<Report, Failure> {
    let object = cluster.get(target.kind, &target.name).await?;
    if object.data.pointer("/spec/suspend") == Some(&Value::Bool(true)) {
        return Err(ReconcileError::Suspended { target: target.clone() }.into());
    }
    let request = Timestamp::now().to_string();
    let patch = json!({ "metadata": { "annotations": { REQUESTED_AT: request } } });
    cluster.patch(target.kind, &target.name, &patch).await?;
    let outcome = if args.no_wait {
        None
    } else {
        ui.note(&format!("asked for {target}, waiting …"));
        Some(wait::for_request(cluster, target, &request, Duration::from_secs(args.timeout)).await?)
    };
    let namespace = cluster.namespace.clone();
    Ok(Report { target: target.to_string(), namespace, requested_at: request, outcome })
}

impl Report {
    /// Not having waited is no failure.
    fn is_ready(&self) -> bool {
        self.outcome.as_ref().is_none_or(|outcome| outcome.ready)
    }

    fn text(&self) -> String {
        match &self.outcome {
            None => format!("{} asked for\n", self.target),
            Some(Verdict { ready, reason, message, revision }) => {
                let state = if *ready { "ready" } else { "not ready" };
                let at = revision.as_ref().map(|revision| format!(" at {revision}")).unwrap_or_default();
                format!("{} {state}{at}: {reason}: {message}\n", self.target)
            }
        }
    }
}
