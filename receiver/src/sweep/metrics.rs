//! What sweeps count: how they end, what was asked for, and what is seen to have failed. Labels come from configuration
//! or from a short list, never from an answer.

use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::decide::Decision;
use super::settings::Sweep;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SweepLabels {
    hook: String,
    scope: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    hook: String,
    scope: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    hook: String,
    scope: String,
    state: &'static str,
}

/// How asking for one redelivery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Asked,
    Refused,
    Failed,
}

/// Clones share the same values.
#[derive(Clone)]
pub(crate) struct Metrics {
    sweeps: Family<OutcomeLabels, Counter>,
    redeliveries: Family<OutcomeLabels, Counter>,
    last_success: Family<SweepLabels, Gauge>,
    failed_deliveries: Family<StateLabels, Gauge>,
}

impl Metrics {
    /// Registered under `towline_receiver_sweep…`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            sweeps: Family::default(),
            redeliveries: Family::default(),
            last_success: Family::default(),
            failed_deliveries: Family::default(),
        };
        let registry = registry.sub_registry_with_prefix(crate::metrics::PREFIX);
        registry.register("sweeps", "Looks for missed deliveries, by outcome", metrics.sweeps.clone());
        registry.register(
            "sweep_redeliveries",
            "Redeliveries that the Git host was asked for, by outcome",
            metrics.redeliveries.clone(),
        );
        registry.register_with_unit(
            "sweep_last_success_timestamp",
            "When the last successful look for missed deliveries ended",
            Unit::Seconds,
            metrics.last_success.clone(),
        );
        registry.register(
            "sweep_failed_deliveries",
            "Failed deliveries that the last look saw, by what becomes of them",
            metrics.failed_deliveries.clone(),
        );
        metrics
    }

    /// Shows the counters that an alert may be about before there is anything to count.
    pub(super) fn appear(&self, sweep: &Sweep) {
        drop(self.sweeps.get_or_create(&outcome(sweep, "ok")));
        drop(self.redeliveries.get_or_create(&outcome(sweep, Outcome::Asked.label())));
    }

    pub(super) fn succeeded(&self, sweep: &Sweep, at: Timestamp) {
        self.sweeps.get_or_create(&outcome(sweep, "ok")).inc();
        let labels = SweepLabels { hook: sweep.hook().to_owned(), scope: sweep.scope().to_string() };
        self.last_success.get_or_create(&labels).set(at.as_second());
    }

    pub(super) fn failed(&self, sweep: &Sweep, reason: &'static str) {
        self.sweeps.get_or_create(&outcome(sweep, reason)).inc();
    }

    pub(super) fn asked(&self, sweep: &Sweep, of: Outcome) {
        self.redeliveries.get_or_create(&outcome(sweep, of.label())).inc();
    }

    pub(super) fn saw(&self, sweep: &Sweep, decision: &Decision) {
        let states = [
            ("due", decision.ask.len() + decision.postponed),
            ("waiting", decision.waiting),
            ("refused", decision.refused),
            ("exhausted", decision.exhausted),
        ];
        for (state, count) in states {
            let labels = StateLabels { hook: sweep.hook().to_owned(), scope: sweep.scope().to_string(), state };
            self.failed_deliveries.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

fn outcome(sweep: &Sweep, outcome: &'static str) -> OutcomeLabels {
    OutcomeLabels { hook: sweep.hook().to_owned(), scope: sweep.scope().to_string(), outcome }
}

impl Outcome {
    fn label(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}
