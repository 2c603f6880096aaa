//! Values that are read when somebody asks for them. Knows the text format's encoder; nothing of what is counted.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

/// Where the values of one scrape are written.
pub(super) struct Rows<'a>(DescriptorEncoder<'a>);

impl Rows<'_> {
    /// One gauge with all its series.
    pub(super) fn gauge<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        series: impl IntoIterator<Item = (L, f64)>,
    ) -> fmt::Result {
        self.family(name, help, unit, MetricType::Gauge, series.into_iter().map(|(l, v)| (l, ConstGauge::new(v))))
    }

    /// One counter with all its series.
    pub(super) fn counter<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        self.family(name, help, None, MetricType::Counter, series.into_iter().map(|(l, v)| (l, ConstCounter::new(v))))
    }

    fn family<L: EncodeLabelSet, M: EncodeMetric>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        kind: MetricType,
        series: impl Iterator<Item = (L, M)>,
    ) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, unit, kind)?;
        for (labels, value) in series {
            value.encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// Calls `write` at each scrape.
pub(super) fn register(registry: &mut Registry, write: impl Fn(&mut Rows<'_>) -> fmt::Result + Send + Sync + 'static) {
    registry.register_collector(Box::new(AtScrape(write)));
}

struct AtScrape<F>(F);

impl<F: Fn(&mut Rows<'_>) -> fmt::Result + Send + Sync + 'static> Collector for AtScrape<F> {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        (self.0)(&mut Rows(encoder))
    }
}

impl<F> fmt::Debug for AtScrape<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AtScrape")
    }
}
