//! HTTP, as gix needs it: requests whose every wait ends in time.
//!
//! Knows HTTP, TLS and redirects. Must not know Git's protocol beyond its content types. It exists because gix's own HTTP client
//! has no overall deadline, cannot be interrupted while a server says nothing, and tells neither `Retry-After` nor, in a type, the
//! status.
//!
//! All IO runs on a small runtime of its own, driven only from inside [`Wire::wait`]: there is no thread to outlive a fetch, and
//! dropping the wire closes its connections at once.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{StatusCode, Url};
use tokio::runtime::Runtime;

use super::halt::{Halt, LOOK_EVERY, Stop};
use super::rest::rest;
use crate::access::{Access, Client, Refused};

/// Why a request brought no answer, or none that Git can use.
#[derive(Debug, Clone)]
pub(super) enum Failure {
    Stopped(Stop),
    Unreachable {
        cause: String,
    },
    Tls {
        cause: String,
    },
    Status {
        status: u16,
        retry_after: Option<Duration>,
    },
    Redirect {
        to: String,
    },
    /// A login would go over the wire in the clear.
    PlainHttp,
    NotGit {
        content_type: String,
    },
    TooLarge {
        bytes_max: u64,
        /// The pack, not the list of refs.
        pack: bool,
    },
    Broken {
        cause: String,
    },
}

/// What conversations cost, for the metrics.
#[derive(Default)]
pub(super) struct Traffic {
    requests: AtomicU64,
    received_bytes: AtomicU64,
}

impl Traffic {
    pub(super) fn sum(&self) -> (u64, u64) {
        (self.requests.load(Ordering::Relaxed), self.received_bytes.load(Ordering::Relaxed))
    }
}

/// One conversation's connection. Clones share it.
#[derive(Clone)]
pub(super) struct Wire(Rc<Shared>);

struct Shared {
    client: Client,
    /// Taken out when it is dropped.
    runtime: Option<Runtime>,
    halt: Halt,
    received: Cell<u64>,
    traffic: Arc<Traffic>,
    /// So much may come, after what had come before it.
    receive_max: Cell<(u64, u64)>,
    /// The first one: gix wraps and rewords what it is given, and later errors follow from it.
    failure: RefCell<Option<Failure>>,
}

impl Wire {
    pub(super) fn new(access: &Access, halt: Halt, receive_max: u64, traffic: Arc<Traffic>) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::Broken { cause: error.to_string() })?;
        let client = Client::new(access).map_err(|error| Failure::Tls { cause: causes(&error).0 })?;
        Ok(Self(Rc::new(Shared {
            client,
            runtime: Some(runtime),
            halt,
            received: Cell::new(0),
            traffic,
            receive_max: Cell::new((0, receive_max)),
            failure: RefCell::new(None),
        })))
    }

    pub(super) fn received_bytes(&self) -> u64 {
        self.0.received.get()
    }

    /// The pack comes next: so much of it.
    pub(super) fn allow_pack(&self, receive_max: u64) {
        self.0.receive_max.set((self.received_bytes().max(1), receive_max));
    }

    pub(super) fn failure(&self) -> Option<Failure> {
        self.0.failure.borrow().clone()
    }

    /// Remembers why, and says it in the form gix passes on.
    pub(super) fn fail(&self, failure: Failure) -> io::Error {
        let text = format!("{failure:?}");
        self.0.failure.borrow_mut().get_or_insert(failure);
        io::Error::other(text)
    }

    /// The answer's head. Statuses other than success are failures.
    pub(super) fn request(
        &self,
        url: &str,
        headers: HeaderMap,
        body: Option<Vec<u8>>,
    ) -> Result<reqwest::Response, Failure> {
        let request = self.0.client.request(url, body).map_err(|refused| match refused {
            Refused::PlainHttp => Failure::PlainHttp,
            Refused::Url => Failure::Broken { cause: refused.to_string() },
        })?;
        self.0.traffic.requests.fetch_add(1, Ordering::Relaxed);
        let response = self.wait(request.headers(headers).send())?.map_err(Failure::of)?;
        let status = response.status();
        if status.is_success() || status.is_redirection() {
            return Ok(response);
        }
        Err(Failure::Status { status: status.as_u16(), retry_after: rest(response.headers(), jiff::Timestamp::now()) })
    }

    /// The next piece of a body, `None` at its end.
    pub(super) fn chunk(&self, response: &mut reqwest::Response) -> Result<Option<bytes::Bytes>, Failure> {
        let chunk = self.wait(response.chunk())?.map_err(Failure::of)?;
        let bytes = chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        self.0.traffic.received_bytes.fetch_add(bytes, Ordering::Relaxed);
        let received = self.received_bytes() + bytes;
        self.0.received.set(received);
        let (before, bytes_max) = self.0.receive_max.get();
        if received.saturating_sub(before) > bytes_max {
            return Err(Failure::TooLarge { bytes_max, pack: before > 0 });
        }
        Ok(chunk)
    }

    fn wait<T>(&self, future: impl Future<Output = T>) -> Result<T, Failure> {
        let halt = &self.0.halt;
        let runtime = self.0.runtime.as_ref().ok_or_else(|| Failure::Broken { cause: "no runtime".to_owned() })?;
        runtime.block_on(async {
            let mut future = std::pin::pin!(future);
            let mut look = tokio::time::interval(LOOK_EVERY);
            loop {
                tokio::select! {
                    // First, so that a server which sends a byte now and then does not keep winning.
                    biased;
                    () = tokio::time::sleep_until(halt.deadline.into()) => return Err(Failure::Stopped(Stop::Deadline)),
                    _ = look.tick() => if let Some(stop) = halt.reached() { return Err(Failure::Stopped(stop)) },
                    outcome = &mut future => return Ok(outcome),
                }
            }
        })
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Without waiting: a DNS query cannot be cancelled.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Failure {
    fn of(error: reqwest::Error) -> Self {
        let (connecting, error) = (error.is_connect() || error.is_timeout(), error.without_url());
        let (cause, tls) = causes(&error);
        match (tls, connecting) {
            (true, _) => Self::Tls { cause },
            (false, true) => Self::Unreachable { cause },
            (false, false) => Self::Broken { cause },
        }
    }
}

/// The chain on one line, and whether TLS is at its end. An `io::Error` hides the error it carries from `source`.
fn causes(error: &(dyn Error + 'static)) -> (String, bool) {
    let mut parts: Vec<String> = Vec::new();
    let mut tls = false;
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if parts.last().is_none_or(|last| !last.contains(&text)) {
            parts.push(text);
        }
        tls |= error.is::<rustls::Error>();
        let carried = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = carried.map(|carried| carried as &(dyn Error + 'static)).or_else(|| error.source());
    }
    (parts.join(": "), tls)
}

/// Where a redirect leads, if it may be followed: to the same host, and never from HTTPS to HTTP or to another port, because
/// whoever answers there gets the credentials. HTTP may lead to HTTPS.
pub(super) fn redirect(response: &reqwest::Response) -> Result<Option<Url>, Failure> {
    if !response.status().is_redirection() || response.status() == StatusCode::NOT_MODIFIED {
        return Ok(None);
    }
    let from = response.url();
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let to = from.join(location).map_err(|_| Failure::Redirect { to: "nowhere".to_owned() })?;
    let same_port = from.scheme() == to.scheme() && from.port_or_known_default() == to.port_or_known_default();
    let upgrade = from.scheme() == "http" && to.scheme() == "https" && from.port().is_none() && to.port().is_none();
    if from.host_str() == to.host_str() && (same_port || upgrade) {
        return Ok(Some(to));
    }
    Err(Failure::Redirect { to: to.origin().ascii_serialization() })
}
