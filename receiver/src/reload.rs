//! Keeps what was read from files in step with them while the receiver runs: secrets by hook, certificate and key. Says
//! each change once, in the log and in metrics, never what was in a file. What a change means is [`crate::secrets`]' and
//! [`crate::tls`]'s business.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use towline_daemon::error::chain;
use towline_daemon::shutdown::Shutdown;
use towline_daemon::tasks::{Tasks, WhenItEnds};

use crate::config::{Config, Hook};
use crate::metrics::{HookLabels, PREFIX};
use crate::tls::Tls;

/// Certificates are renewed a month or, the short-lived, two days before their end: within this time the renewal of an
/// ordinary one has failed several times, and there is time to do something.
pub(crate) const EXPIRY_WARNING: SignedDuration = SignedDuration::from_hours(7 * 24);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CertificateLabels {
    file: String,
}

/// What is counted about reloading; clones share the same values.
#[derive(Clone, Default)]
pub struct ReloadMetrics {
    secret_reloads: Family<HookLabels, Counter>,
    secret_reload_failures: Family<HookLabels, Counter>,
    secret_last_reload: Family<HookLabels, Gauge>,
    secret_files_unusable: Family<HookLabels, Gauge>,
    tls_reloads: Counter,
    tls_reload_failures: Counter,
    tls_not_after: Family<CertificateLabels, Gauge>,
}

impl ReloadMetrics {
    /// Registered under `towline_receiver_…`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix(PREFIX);
        registry.register("secret_reloads", "Changes of secret files that were taken", metrics.secret_reloads.clone());
        registry.register(
            "secret_reload_failures",
            "Changes of secret files that could not be used",
            metrics.secret_reload_failures.clone(),
        );
        registry.register_with_unit(
            "secret_last_reload_timestamp",
            "When a secret file was taken last, since 1970",
            Unit::Seconds,
            metrics.secret_last_reload.clone(),
        );
        registry.register(
            "secret_files_unusable",
            "Secret files that cannot be used now; what they held before is in use",
            metrics.secret_files_unusable.clone(),
        );
        registry.register("tls_reloads", "Changes of the certificate that were taken", metrics.tls_reloads.clone());
        registry.register(
            "tls_reload_failures",
            "Changes of certificate or key that could not be used",
            metrics.tls_reload_failures.clone(),
        );
        registry.register_with_unit(
            "tls_certificate_not_after",
            "When the certificate in use ends, since 1970",
            Unit::Seconds,
            metrics.tls_not_after.clone(),
        );
        metrics
    }
}

/// Starts a task for each set of files.
pub fn spawn(tasks: &Tasks, config: &Config, metrics: &ReloadMetrics, shutdown: &Shutdown) {
    let overlap = config.limits().secret_overlap;
    for hook in config.hooks() {
        let looking = follow_secrets(Arc::clone(hook), overlap, metrics.clone());
        let name = format!("secrets {}", hook.path());
        tasks.spawn(name, WhenItEnds::StopsProcess, until_shutdown(shutdown.clone(), looking));
    }
    if let Some(tls) = config.tls() {
        let looking = follow_certificate(tls.clone(), metrics.clone());
        tasks.spawn("certificate", WhenItEnds::StopsProcess, until_shutdown(shutdown.clone(), looking));
    }
}

async fn until_shutdown(shutdown: Shutdown, looking: impl Future<Output = ()>) -> Result<(), Infallible> {
    tokio::select! {
        () = shutdown.requested() => {}
        () = looking => {}
    }
    Ok(())
}

/// Never returns.
async fn follow_secrets(hook: Arc<Hook>, overlap: Duration, metrics: ReloadMetrics) {
    let labels = HookLabels { hook: hook.path().to_owned() };
    let secrets = hook.secrets();
    // There from the beginning, so that an alert has something to compare with.
    metrics.secret_reload_failures.get_or_create(&labels).inc_by(0);
    metrics.secret_files_unusable.get_or_create(&labels).set(0);
    metrics.secret_last_reload.get_or_create(&labels).set(Timestamp::now().as_second());
    let mut watch = secrets.watch();
    let mut unusable = vec![false; secrets.paths().len()];
    loop {
        let looked = watch.look().await;
        if secrets.forget_replaced(Instant::now()) {
            tracing::info!(hook = hook.path(), "replaced secrets are forgotten");
        }
        let Some(looked) = looked else { continue };
        let changed: Vec<bool> = looked.iter().map(|file| file.changed).collect();
        let bad = secrets.take(looked, Instant::now(), overlap);
        for (index, path) in secrets.paths().iter().enumerate().filter(|(index, _)| changed[*index]) {
            let problem = bad.iter().find(|(bad, _)| bad == path).map(|(_, error)| error);
            unusable[index] = problem.is_some();
            let file = path.display();
            match problem {
                Some(error) => {
                    metrics.secret_reload_failures.get_or_create(&labels).inc();
                    let error = chain(error);
                    tracing::warn!(hook = hook.path(), %file, error, "secret file cannot be used, its last secret stays good");
                }
                None => {
                    metrics.secret_reloads.get_or_create(&labels).inc();
                    metrics.secret_last_reload.get_or_create(&labels).set(Timestamp::now().as_second());
                    tracing::info!(hook = hook.path(), %file, "secret reloaded");
                }
            }
        }
        let count = unusable.iter().filter(|bad| **bad).count();
        metrics.secret_files_unusable.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

/// How much longer a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expiry {
    Far,
    Near,
    Past,
}

impl Expiry {
    fn of(not_after: Option<Timestamp>, now: Timestamp) -> Self {
        match not_after.map(|end| end.duration_since(now)) {
            Some(left) if left <= SignedDuration::ZERO => Self::Past,
            Some(left) if left <= EXPIRY_WARNING => Self::Near,
            Some(_) | None => Self::Far,
        }
    }
}

/// Never returns.
async fn follow_certificate(tls: Tls, metrics: ReloadMetrics) {
    let mut watch = tls.watch();
    let mut said = Expiry::Far;
    let labels = CertificateLabels { file: tls.paths().first().map(|p| p.display().to_string()).unwrap_or_default() };
    loop {
        let not_after = tls.not_after();
        if let Some(end) = not_after {
            metrics.tls_not_after.get_or_create(&labels).set(end.as_second());
        }
        let expiry = Expiry::of(not_after, Timestamp::now());
        if expiry != std::mem::replace(&mut said, expiry) {
            let not_after = not_after.map(|end| end.to_string());
            match expiry {
                Expiry::Far => {}
                Expiry::Near => tracing::warn!(not_after, "the certificate ends soon"),
                Expiry::Past => tracing::warn!(not_after, "the certificate has ended: clients refuse it"),
            }
        }
        let Some(looked) = watch.look().await else { continue };
        match tls.take(looked.into_iter().map(|file| file.reading).collect()) {
            Ok(()) => {
                metrics.tls_reloads.inc();
                let not_after = tls.not_after().map(|end| end.to_string());
                tracing::info!(not_after, "certificate reloaded");
            }
            Err(error) => {
                metrics.tls_reload_failures.inc();
                tracing::warn!(error = chain(&error), "certificate and key cannot be used, those before stay in use");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_warned_of_before_its_end() {
        let now = Timestamp::UNIX_EPOCH;
        let of = |hours| Expiry::of(Some(now + SignedDuration::from_hours(hours)), now);
        assert_eq!([of(24 * 8), of(24 * 6), of(0), of(-1)], [Expiry::Far, Expiry::Near, Expiry::Past, Expiry::Past]);
        assert_eq!(Expiry::of(None, now), Expiry::Far);
    }
}
