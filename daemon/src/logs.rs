//! Where log lines go and what they look like: stderr, human on a terminal, one JSON object per line otherwise.
//! The filter comes from `TOWLINE_LOG` (the syntax of `tracing_subscriber::EnvFilter`), `info` when it is not set.

use std::io::IsTerminal;

use tracing::{Level, Metadata};
use tracing_subscriber::filter::{EnvFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// The environment variable that holds the filter.
pub const FILTER_VARIABLE: &str = "TOWLINE_LOG";

/// The NATS client announces at `info` what its owner announces with more context.
const DEFAULT_FILTER: &str = "info,async_nats=warn";

/// Clients that log the words of servers, which may quote a Secret, below the level of errors. Whoever calls them tells these
/// words with what is secret taken out; no filter brings them back as they came.
const ECHOES: &[&str] = &["kube_client"];

/// Whether a line is none of those.
fn is_ours_to_tell(line: &Metadata<'_>) -> bool {
    let is_of = |client: &&str| line.target().split("::").next() == Some(client);
    *line.level() <= Level::ERROR || !ECHOES.iter().any(is_of)
}

/// Starts logging for this process, and sends panics to the log. Later calls change nothing.
pub fn init() {
    let wanted = std::env::var(FILTER_VARIABLE).ok().filter(|text| !text.trim().is_empty());
    let parsed = wanted.as_deref().map(EnvFilter::try_new);
    let mistake = match &parsed {
        Some(Err(error)) => Some(error.to_string()),
        Some(Ok(_)) | None => None,
    };
    let filter = parsed.and_then(Result::ok).unwrap_or_else(|| EnvFilter::new(DEFAULT_FILTER));

    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = if std::io::stderr().is_terminal() {
        lines.finish().with(filter_fn(is_ours_to_tell)).try_init().is_ok()
    } else {
        let lines = lines.with_ansi(false).json().with_current_span(true).with_span_list(false);
        lines.finish().with(filter_fn(is_ours_to_tell)).try_init().is_ok()
    };
    if !started {
        return;
    }
    log_panics();
    if let Some(mistake) = mistake {
        tracing::warn!(variable = FILTER_VARIABLE, error = %mistake, "ignored an unreadable log filter");
    }
}

/// A panic is a log line like any other, with its place.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(place, panic = message, "panicked");
    }));
}
