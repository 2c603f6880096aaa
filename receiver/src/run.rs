//! The composition root: puts the parts together, starts them as owned tasks, and waits for the end.

use std::convert::Infallible;
use std::sync::Arc;

use prometheus_client::registry::Registry;
use tokio::sync::oneshot;
use towline_daemon::admin::{self, Readiness};
use towline_daemon::shutdown::Shutdown;
use towline_daemon::tasks::{TaskFailure, Tasks, WhenItEnds};

use crate::config::Config;
use crate::listener::{self, ListenError};
use crate::metrics::Metrics;
use crate::publish::{ConnectError, Publisher};
use crate::reload::{self, ReloadMetrics};
use crate::serve::Server;
use crate::sweep::{self, Sweeper};

/// Why a receiver ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Task(#[from] TaskFailure),
}

/// Runs until shutdown is requested and everything accepted is answered, or until a part fails.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), RunError> {
    let limits = config.limits();
    for hook in config.hooks() {
        let (path, host, secrets) = (hook.path(), hook.host(), hook.secrets().paths().len());
        tracing::info!(hook = path, provider = hook.provider().name(), host, secrets, "hook");
    }
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let sweep_metrics = sweep::Metrics::register(&mut registry);
    let reload_metrics = ReloadMetrics::register(&mut registry);
    let readiness = Readiness::new();
    let in_flight_max = limits.rates.deliveries_in_flight_max;
    let publisher = Publisher::connect(config.nats(), readiness.clone(), limits.publish_timeout, in_flight_max).await?;
    let listener = listener::bind(config.listen()).await?;

    let server = Arc::new(Server::new(&config, publisher.clone(), metrics, shutdown.clone()));
    server.register(&mut registry);
    let (tasks, admin_end) = (Tasks::new(), Shutdown::new());
    reload::spawn(&tasks, &config, &reload_metrics, &shutdown);
    if let Some(address) = config.admin() {
        let admin = admin::serve(address, readiness.clone(), Arc::new(registry), admin_end.clone());
        tasks.spawn("admin", WhenItEnds::StopsProcess, admin);
    }
    let (runs, ended) = oneshot::channel();
    tasks.spawn(
        "drain",
        WhenItEnds::StopsProcess,
        tell_of_drain(shutdown.clone(), readiness.clone(), ended, admin_end),
    );
    tasks.spawn("stream-check", WhenItEnds::StopsProcess, publisher.watch_stream(shutdown.clone()));
    for (index, settings) in config.sweeps().iter().enumerate() {
        let sweeper = Sweeper::new(settings.clone(), readiness.clone(), sweep_metrics.clone());
        tasks.spawn(format!("sweep-{index}"), WhenItEnds::IsFine, sweeper.run(shutdown.clone()));
    }
    tasks.spawn("refusals", WhenItEnds::StopsProcess, Arc::clone(&server).tell_of_refusals());
    let tls = config.tls().cloned();
    let public = listener::run(listener, tls, server, shutdown.clone());
    tasks.spawn("public", WhenItEnds::StopsProcess, async move {
        // Dropped with the task, however it ends.
        let _runs = runs;
        public.await
    });
    tasks.run_until_shutdown(shutdown, limits.drain_timeout).await?;
    Ok(())
}

/// While the public port drains, the admin port says so, and goes on telling what happens.
async fn tell_of_drain(
    shutdown: Shutdown,
    readiness: Readiness,
    ended: oneshot::Receiver<Infallible>,
    admin_end: Shutdown,
) -> Result<(), Infallible> {
    shutdown.requested().await;
    readiness.set("shutdown", Err("draining".to_owned()));
    let _dropped = ended.await;
    admin_end.request();
    Ok(())
}
