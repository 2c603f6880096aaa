//! Asking the agent of another cluster. The subject is the whole message, and no answer comes back: what an agent did with
//! it shows in what it reports.

use serde::Serialize;
use towline_proto::{ClusterName, subject};

use super::Args;
use crate::exit::{Exit, Fails, Failure};
use crate::output;
use crate::target::{Kind, Target};
use crate::ui::Ui;

/// Why nothing could be asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoteError {
    #[error("reconcile {target} over NATS: only a Sync, or all of a cluster, can be asked for")]
    NotASync { target: Target },
    #[error("reconcile {target} over NATS: name its namespace with -n")]
    NoNamespace { target: Target },
}

impl Fails for RemoteError {
    fn exit(&self) -> Exit {
        Exit::Usage
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    cluster: String,
    subject: String,
    /// Whether an agent of that cluster is connected.
    heard: bool,
}

pub(super) async fn run(args: &Args, cluster: &ClusterName, ui: &mut Ui) -> Result<Exit, Failure> {
    let subject = subject(args, cluster)?;
    let heard = args.nats.connect().await?.tell(subject.clone()).await?;
    let text = match heard {
        true => format!("asked {cluster} ({subject})"),
        false => format!("nobody listens for {cluster}: its agent is not connected to NATS, or has another name"),
    };
    let report = Report { cluster: cluster.to_string(), subject, heard };
    ui.result(&output::outcome(args.output, &text, &report)?);
    Ok(if heard { Exit::Ok } else { Exit::No })
}

fn subject(args: &Args, cluster: &ClusterName) -> Result<String, RemoteError> {
    let Some(target) = &args.target else { return Ok(subject::reconcile_cluster(cluster)) };
    if target.kind != Kind::Sync {
        return Err(RemoteError::NotASync { target: target.clone() });
    }
    // The context's default namespace is one of this cluster, not of that one.
    let namespace = args.cluster.namespace.as_deref();
    let namespace = namespace.ok_or_else(|| RemoteError::NoNamespace { target: target.clone() })?;
    Ok(subject::reconcile_sync(cluster, namespace, &target.name))
}
