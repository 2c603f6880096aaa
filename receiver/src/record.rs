//! What is known about one request, filled in as it goes through, and the one log line and the counts it ends with.
//! Holds names and ids only: no secret, no signature, no body can get in here.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use http::HeaderMap;
use towline_proto::{CommitEvent, bounds};

use crate::answer::Answer;
use crate::config::Hook;
use crate::forwarded;
use crate::metrics::{ClassLabels, DeliveryLabels, Metrics, event_label};
use crate::refusals::{Alike, Refusals};
use crate::trace::TraceContext;
use crate::verify::{Names, Refusal};

/// Of a path that no hook has, in a log line: the paths people choose are a fifth of it.
const PATH_BYTES_MAX: usize = 128;

/// One request on its way. Every text in it is sanitised where it is read.
#[derive(Debug)]
pub(crate) struct Record {
    id: u64,
    request: String,
    trace: Option<TraceContext>,
    /// The trace is one that a verified delivery began or came with.
    has_begun: bool,
    client: IpAddr,
    started: Instant,
    hook: String,
    provider: &'static str,
    event: String,
    delivery: String,
    repository: String,
    reference: String,
    after: String,
    /// Why, where the outcome alone does not say it.
    reason: String,
    /// The kind of a refusal.
    refusal: &'static str,
    sequence: Option<u64>,
    body_bytes: u64,
}

impl Record {
    pub(crate) fn start(id: u64, client: IpAddr) -> Self {
        Self {
            id,
            request: format!("{id:016x}"),
            trace: None,
            has_begun: false,
            client,
            started: Instant::now(),
            hook: String::new(),
            provider: "",
            event: String::new(),
            delivery: String::new(),
            repository: String::new(),
            reference: String::new(),
            after: String::new(),
            reason: String::new(),
            refusal: "",
            sequence: None,
            body_bytes: 0,
        }
    }

    /// The request's id, as its client is told.
    pub(crate) fn request(&self) -> &str {
        &self.request
    }

    pub(crate) fn set_hook(&mut self, hook: &Hook) {
        self.hook = hook.path().to_owned();
        self.provider = hook.provider().name();
    }

    pub(crate) fn set_names(&mut self, names: Names) {
        (self.event, self.delivery) = (names.event, names.delivery);
    }

    pub(crate) fn set_trace(&mut self, headers: &HeaderMap) {
        self.trace = TraceContext::from_headers(headers);
    }

    /// From here on it is known who sent the trace context, if there is one; there always is one afterwards.
    pub(crate) fn begin_trace(&mut self) {
        self.has_begun = true;
        self.trace();
    }

    pub(crate) fn trace(&mut self) -> &TraceContext {
        self.trace.get_or_insert_with(|| TraceContext::start(self.id, fastrand::u64(..)))
    }

    pub(crate) fn set_body_bytes(&mut self, bytes: usize) {
        self.body_bytes = bytes as u64;
    }

    pub(crate) fn set_commit(&mut self, event: &CommitEvent) {
        self.repository = event.repository.to_string();
        self.reference = event.reference.to_string();
        self.after = event.after.as_ref().map(ToString::to_string).unwrap_or_default();
    }

    pub(crate) fn set_sequence(&mut self, sequence: u64) {
        self.sequence = Some(sequence);
    }

    pub(crate) fn set_refusal(&mut self, refusal: &Refusal) {
        self.refusal = refusal.kind();
        self.set_reason(refusal);
    }

    pub(crate) fn client(&self) -> IpAddr {
        self.client
    }

    pub(crate) fn set_reason(&mut self, reason: impl std::fmt::Display) {
        self.reason = reason.to_string();
    }

    /// A path that is no hook's. The commonest mistake in setting one up, so the line shows what was asked for.
    pub(crate) fn set_unknown_path(&mut self, path: &str) {
        self.reason = format!("no hook has the path {}", bounds::identifier(path, PATH_BYTES_MAX));
    }

    /// Counts and logs. Whether something verified came from the client's address before decides whose lines are taken; only
    /// of a refusal it is asked.
    pub(crate) fn finish(
        self,
        answer: &Answer,
        metrics: &Metrics,
        refusals: &Mutex<Refusals>,
        is_known: impl FnOnce() -> bool,
    ) {
        let (outcome, status) = (answer.outcome(), answer.status().as_u16());
        let duration = self.started.elapsed();
        let labels = DeliveryLabels {
            hook: self.hook.clone(),
            provider: self.provider,
            event: event_label(&self.event),
            outcome,
        };
        metrics.deliveries.get_or_create(&labels).inc();
        let class = ClassLabels { class: answer.class() };
        metrics.delivery_duration.get_or_create(&class).observe(duration.as_secs_f64());
        metrics.body_bytes.inc_by(self.body_bytes);
        let trace_id = self.trace.as_ref().filter(|_| self.has_begun).map(TraceContext::trace_id);
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    request = self.request,
                    client = %self.client,
                    hook = self.hook,
                    provider = self.provider,
                    event = self.event,
                    delivery = self.delivery,
                    repository = self.repository,
                    reference = self.reference,
                    after = self.after,
                    trace_id,
                    outcome,
                    status,
                    reason = self.reason,
                    sequence = self.sequence,
                    body_bytes = self.body_bytes,
                    duration_ms = duration.as_secs_f64() * 1000.0,
                    "delivery"
                )
            };
        }
        if let Some(alike) = self.alike(answer) {
            let is_known = is_known();
            let mut refusals = refusals.lock().unwrap_or_else(PoisonError::into_inner);
            let has_a_line = refusals.note(alike, is_known);
            drop(refusals);
            if !has_a_line {
                metrics.log_lines_left_out.inc();
                return line!(debug);
            }
        }
        match answer {
            Answer::Accepted { .. } | Answer::Coalesced | Answer::Ignored { .. } | Answer::Draining => line!(info),
            Answer::NoSuchHook
            | Answer::MethodNotAllowed
            | Answer::Unreadable { .. }
            | Answer::Refused
            | Answer::UnsupportedType
            | Answer::LengthRequired
            | Answer::BodyTooLarge
            | Answer::BodyTimeout
            | Answer::BodyIncomplete
            | Answer::Busy
            | Answer::RateLimited { .. }
            | Answer::HookBusy { .. }
            | Answer::NotPublished => line!(warn),
        }
    }

    /// Of what anybody can cause, and cause often; verified deliveries have their line.
    fn alike(&self, answer: &Answer) -> Option<Alike> {
        let reason = match answer {
            Answer::Refused => self.refusal,
            Answer::NoSuchHook
            | Answer::MethodNotAllowed
            | Answer::UnsupportedType
            | Answer::LengthRequired
            | Answer::BodyTooLarge
            | Answer::BodyTimeout
            | Answer::BodyIncomplete
            | Answer::Busy
            | Answer::RateLimited { .. }
            | Answer::Draining => answer.outcome(),
            Answer::Accepted { .. }
            | Answer::Coalesced
            | Answer::HookBusy { .. }
            | Answer::Ignored { .. }
            | Answer::Unreadable { .. }
            | Answer::NotPublished => return None,
        };
        Some(Alike { hook: self.hook.clone(), client: forwarded::subscriber(self.client), reason })
    }
}
