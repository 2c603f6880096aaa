//! Requests to the API server: how many, how answered, how long.
//!
//! Knows verbs and status codes. Must not know what is asked.

use std::time::Instant;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::{Durations, Labels, Metrics};

/// From an API server that is idle to our patience with it (35 s).
const REQUEST_BUCKETS_SECONDS: [f64; 10] = [0.002, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 35.0];

pub(super) struct Requests {
    requests: Family<Labels<2>, Counter>,
    duration: Durations<1>,
    pub(super) watch_failures: Counter,
}

impl Requests {
    pub(super) fn new() -> Self {
        Self {
            requests: Family::default(),
            duration: Family::new_with_constructor(|| Histogram::new(REQUEST_BUCKETS_SECONDS)),
            watch_failures: Counter::default(),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Requests to the API server by verb and status code; `none`: no answer";
        registry.register("api_requests", help, self.requests.clone());
        let help = "Time from a request to the API server to the head of its answer";
        registry.register_with_unit("api_request_duration", help, Unit::Seconds, self.duration.clone());
        registry.register("watch_failures", "Watches that broke off and were begun again", self.watch_failures.clone());
    }
}

/// A request under way.
pub struct Asked {
    metrics: Metrics,
    verb: &'static str,
    since: Instant,
    is_over: bool,
}

impl Asked {
    pub(super) fn new(metrics: Metrics, verb: &'static str) -> Self {
        Self { metrics, verb, since: Instant::now(), is_over: false }
    }

    /// The head of an answer came.
    pub fn answered(mut self, code: u16) {
        self.is_over = true;
        self.count(code_word(code));
        let duration = self.metrics.0.api.duration.get_or_create_owned(&[("verb", self.verb)]);
        duration.observe(self.since.elapsed().as_secs_f64());
    }

    fn count(&self, code: &'static str) {
        self.metrics.0.api.requests.get_or_create(&[("verb", self.verb), ("code", code)]).inc();
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if !self.is_over {
            self.count("none");
        }
    }
}

/// The codes an API server answers with by name; of others only the class.
fn code_word(code: u16) -> &'static str {
    match code {
        200 => "200",
        201 => "201",
        400 => "400",
        401 => "401",
        403 => "403",
        404 => "404",
        409 => "409",
        410 => "410",
        413 => "413",
        422 => "422",
        429 => "429",
        500 => "500",
        502 => "502",
        503 => "503",
        504 => "504",
        _ => match code / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        },
    }
}
