//! The composition root: puts the parts together, starts them as owned tasks, and waits for the end.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;
use towline_daemon::BoxError;
use towline_daemon::admin::{self, Readiness};
use towline_daemon::error::chain;
use towline_daemon::nats::NatsError;
use towline_daemon::shutdown::Shutdown;
use towline_daemon::tasks::{TaskFailure, Tasks, WhenItEnds};
use towline_plan::members::Share;

use crate::access::Tokens;
use crate::bus::{self, Bus};
use crate::cluster::{self, Cluster, ConnectError, Resources, Watches};
use crate::config::{Bootstrap, Config};
use crate::engine::{Driver, Engine, Keyring, Parts};
use crate::metrics::{Kept, Metrics};
use crate::pass::Context;
use crate::replicas;

/// How long tasks may take to end: a little more than the passes get.
const DRAIN: Duration = Duration::from_secs(20);
/// Between two tries of the bootstrap while the API server or the definitions are not there.
const BOOTSTRAP_RETRY: Duration = Duration::from_secs(2);

/// Why an agent ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("preparing the storage folder {path}")]
    Storage { path: std::path::PathBuf, source: std::io::Error },
    #[error("connecting to the cluster")]
    Cluster(#[from] ConnectError),
    #[error("reading how long the machine has been up")]
    Uptime(#[source] std::io::Error),
    #[error(transparent)]
    Key(#[from] bus::key::KeyFileError),
    #[error(transparent)]
    Nats(#[from] NatsError),
    #[error(transparent)]
    Task(#[from] TaskFailure),
}

/// Runs until shutdown is requested or a part fails that must not.
///
/// # Errors
/// What cannot be started. An API server, a NATS server or a Git host that cannot be reached is no error: they are waited for.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), RunError> {
    let storage: Arc<Path> = config.storage.clone().into();
    std::fs::create_dir_all(&storage).map_err(|source| RunError::Storage { path: config.storage.clone(), source })?;
    let metrics = Metrics::new();
    let client = cluster::connect(&config.kubernetes, &metrics).await?;
    tracing::info!(cluster = %config.cluster, version = env!("CARGO_PKG_VERSION"), "agent starts");

    let tasks = Tasks::new();
    let readiness = Readiness::new();
    readiness.set("cluster", Err("the first lists are not complete".to_owned()));
    let (fence, membership) =
        replicas::start(&config.replicas, &config.cluster, &client, &tasks, &readiness).map_err(RunError::Uptime)?;
    let account = config.default_service_account.as_deref();
    let cluster = Cluster::behind(&fence, client, metrics.clone()).with_default_account(account);
    let bus = bus(&config, &storage, &tasks, &shutdown).await?;
    if let Some(bootstrap) = config.bootstrap {
        tasks.spawn("bootstrap", WhenItEnds::IsFine, apply_bootstrap(bootstrap, cluster.clone(), shutdown.clone()));
    }
    // Every watch waits for the loop rather than piling up changes.
    let (events, resources) = mpsc::channel(64);
    let lists = Resources {
        cluster: &cluster,
        namespaces: &config.namespaces,
        tasks: &tasks,
        shutdown: &shutdown,
        events,
        readiness: &readiness,
    }
    .start();
    let (moves, moved) = mpsc::unbounded_channel();
    let watches = Watches::new(tasks.clone(), shutdown.clone(), moves);
    // The admin port tells what happens until the last pass has ended.
    let admin_end = Shutdown::new();
    if let Some(address) = config.admin {
        let registry = Arc::new(registry(&metrics, &watches, bus.as_ref().map(|(bus, _)| bus)));
        let admin = admin::serve(address, readiness.clone(), registry, admin_end.clone());
        tasks.spawn("admin", WhenItEnds::StopsProcess, admin);
    }
    let context = Context { cluster, watches, claims: Arc::default(), barrier: Arc::default(), metrics };
    let no_events = bus.is_none().then(|| "no NATS server is configured: the source is polled".to_owned());
    let share = if membership.is_some() { Share::Nothing } else { Share::All };
    let engine = Engine::new(context.clone(), lists, no_events)
        .allowing_cross_namespace(config.allow_cross_namespace_references)
        .with_fetches_per_host(config.fetches_per_host)
        .with_share(share);
    let keyring =
        Keyring { cluster: context.cluster.clone(), tokens: Tokens::default(), plain_http: config.plain_http };
    let parts = Parts {
        keyring,
        engine,
        fetches_per_host: config.fetches_per_host,
        limits: config.limits,
        context,
        cluster_name: config.cluster,
        storage,
        tasks: tasks.clone(),
        shutdown: shutdown.clone(),
        readiness,
        resources,
        moved,
        bus,
        membership,
    };
    tasks.spawn("loop", WhenItEnds::StopsProcess, async move {
        let end = Driver::run(parts).await;
        admin_end.request();
        end
    });
    Ok(tasks.run_until_shutdown(shutdown, DRAIN).await?)
}

fn registry(metrics: &Metrics, watches: &Watches, bus: Option<&Bus>) -> Registry {
    let mut registry = Registry::default();
    let watches = watches.clone();
    let nats = bus.map(|bus| -> Box<dyn Fn() -> (usize, u64) + Send + Sync> { Box::new(bus.backlog()) });
    metrics.register(&mut registry, Kept { watches: Box::new(move || watches.counts()), nats });
    registry
}

async fn bus(
    config: &Config,
    storage: &Path,
    tasks: &Tasks,
    shutdown: &Shutdown,
) -> Result<Option<(Bus, mpsc::Receiver<bus::BusEvent>)>, RunError> {
    let Some(settings) = &config.nats else { return Ok(None) };
    let key = bus::key::load(config.report_key.as_deref(), storage)?;
    let incarnation = bus::incarnation(Timestamp::now());
    let bus = Bus::start(settings, config.cluster.clone(), key, incarnation, tasks, shutdown.clone()).await?;
    Ok(Some(bus))
}

/// Until it is done: at a first installation the agent may be there before the definitions are.
async fn apply_bootstrap(bootstrap: Bootstrap, cluster: Cluster, shutdown: Shutdown) -> Result<(), BoxError> {
    let Bootstrap { namespace, name, source, sync } = bootstrap;
    tokio::select! {
        () = cluster.writable() => {}
        () = shutdown.requested() => return Ok(()),
    }
    loop {
        match cluster.bootstrap(&namespace, &name, source.clone(), sync.clone()).await {
            Ok(()) => {
                tracing::info!(namespace, name, "bootstrap source and Sync are there");
                return Ok(());
            }
            Err(error) => tracing::warn!(error = %chain(&error), "the bootstrap is tried again"),
        }
        tokio::select! {
            () = tokio::time::sleep(BOOTSTRAP_RETRY) => {}
            () = shutdown.requested() => return Ok(()),
        }
    }
}
