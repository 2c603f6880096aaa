//! A proxy between one client and the API server: sees every request, and commits faults where a test asks for them.
//!
//! Clients talk plain HTTP to it (their bearer token is handed on), it talks TLS to the server. Knows the shape of requests and
//! of watches; nothing of what the client wants. It runs on a thread of its own, so that it lives as long as its owner.

mod request;
mod serve;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};

use crate::control_plane::ControlPlane;
use crate::failure::{Doing, Failure};
use crate::ports::Port;
use crate::wait::wait_until;

pub use request::Seen;

/// It takes milliseconds.
const READY: Duration = Duration::from_secs(30);

/// What happens to a request instead of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The server does not see it: it is answered with this code and a `Status`, and with `Retry-After` in seconds if there is one.
    Status(u16, Option<u32>),
    /// The server does not see it, and nobody answers while the fault is switched on; then the connection breaks.
    Hang,
    /// The server does not see it while the fault is switched on; then it is as if there had been none.
    Hold,
    /// The server does not see it: the connection breaks.
    Drop,
    /// The server does it, and the connection breaks before its answer.
    LoseAnswer,
    /// A watch is told at once that what it asks for is too old (an `ERROR` event of code 410), and ends.
    Expired,
}

/// How running watches end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchEnd {
    /// In good order, as a server ends them now and then.
    Close,
    /// In the middle: the connection breaks.
    Cut,
    /// With an `ERROR` event of code 410: what comes next is no longer known.
    Expired,
}

type Matches = Box<dyn Fn(&Seen) -> bool + Send + Sync>;

struct Rule {
    matches: Matches,
    fault: Fault,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    /// How many more requests it is for.
    left: AtomicUsize,
    hits: AtomicUsize,
    over: AtomicBool,
    ended: Notify,
}

/// A fault that is switched on, until it is dropped, ended or used up.
#[must_use = "a fault that is dropped is over"]
pub struct Armed(Arc<State>);

impl Armed {
    /// Requests it was committed on.
    pub fn hits(&self) -> usize {
        self.0.hits.load(Ordering::SeqCst)
    }

    /// Waits until it was committed that often.
    pub async fn committed(&self, times: usize, patience: Duration) {
        wait_until(&format!("a fault was committed {times} times"), patience, async || {
            let hits = self.hits();
            if hits >= times { Ok(()) } else { Err(format!("{hits} times")) }
        })
        .await
        .expect("the fault");
    }

    pub fn end(self) {}
}

impl Drop for Armed {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::SeqCst);
        self.0.ended.notify_waiters();
    }
}

struct Shared {
    port: Port,
    upstream: String,
    client: reqwest::Client,
    seen: Mutex<Vec<Seen>>,
    rules: Mutex<Vec<Rule>>,
    watches: AtomicUsize,
    /// Counts the orders to end watches.
    ends: watch::Sender<(u64, WatchEnd)>,
}

pub struct ApiProxy {
    shared: Arc<Shared>,
    kubeconfig: PathBuf,
    _stop: watch::Sender<()>,
}

impl ApiProxy {
    /// A proxy in front of a control plane's API server, that lets everything through.
    pub async fn to(plane: &ControlPlane) -> Result<Self, Failure> {
        let doing = || "start a proxy to the API server".to_owned();
        let authority = std::fs::read(plane.authority()).doing(doing)?;
        let authority = reqwest::Certificate::from_pem(&authority).doing(doing)?;
        let client = reqwest::Client::builder().tls_certs_only([authority]).http1_only().build().doing(doing)?;
        let port = Port::reserve()?;
        let kubeconfig = plane.kubeconfig_through(port.address())?;
        let shared = Arc::new(Shared {
            upstream: plane.url(),
            client,
            seen: Mutex::default(),
            rules: Mutex::default(),
            watches: AtomicUsize::new(0),
            ends: watch::Sender::new((0, WatchEnd::Close)),
            port,
        });
        let (stop, stopped) = watch::channel(());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().doing(doing)?;
        let serving = Arc::clone(&shared);
        thread::Builder::new()
            .name("api-proxy".to_owned())
            .spawn(move || runtime.block_on(serve::serve(serving, stopped)))
            .doing(doing)?;
        let address = shared.port.address();
        wait_until("the API proxy is open", READY, async || {
            TcpStream::connect(address).await.map(drop).map_err(|error| error.to_string())
        })
        .await?;
        Ok(Self { shared, kubeconfig, _stop: stop })
    }

    /// The administrator's, through the proxy.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Commits a fault on every request that matches, for as long as the answer is kept. Of several faults that match a
    /// request the oldest counts.
    pub fn while_on(&self, fault: Fault, matches: impl Fn(&Seen) -> bool + Send + Sync + 'static) -> Armed {
        self.times(usize::MAX, fault, matches)
    }

    /// Commits a fault on the next so many requests that match.
    pub fn times(&self, times: usize, fault: Fault, matches: impl Fn(&Seen) -> bool + Send + Sync + 'static) -> Armed {
        let (left, hits, over) = (AtomicUsize::new(times), AtomicUsize::new(0), AtomicBool::new(false));
        let state = Arc::new(State { left, hits, over, ended: Notify::new() });
        let rule = Rule { matches: Box::new(matches), fault, state: Arc::clone(&state) };
        locked(&self.shared.rules).push(rule);
        Armed(state)
    }

    /// Ends all watches that run now.
    pub fn end_watches(&self, how: WatchEnd) {
        self.shared.ends.send_modify(|(count, end)| (*count, *end) = (*count + 1, how));
    }

    /// Watches that run now.
    pub fn watches(&self) -> usize {
        self.shared.watches.load(Ordering::SeqCst)
    }

    /// All requests so far, in the order in which they came.
    pub fn seen(&self) -> Vec<Seen> {
        locked(&self.shared.seen).clone()
    }

    /// A place in the log: what [`ApiProxy::since`] counts from.
    pub fn mark(&self) -> usize {
        locked(&self.shared.seen).len()
    }

    /// The requests since a mark that are so.
    pub fn since(&self, mark: usize, is: impl Fn(&Seen) -> bool) -> Vec<Seen> {
        locked(&self.shared.seen).iter().skip(mark).filter(|seen| is(seen)).cloned().collect()
    }

    /// Waits until for so long no request came that counts, and fails with those that came instead.
    pub async fn quiet(
        &self,
        quiet: Duration,
        patience: Duration,
        counts: impl Fn(&Seen) -> bool,
    ) -> Result<(), Failure> {
        let begin = Instant::now();
        wait_until(&format!("no request comes for {} s", quiet.as_secs()), patience, async || {
            let seen = self.since(0, &counts);
            let last = seen.last().map_or(begin, |seen| seen.at.max(begin));
            if last.elapsed() >= quiet {
                return Ok(());
            }
            let last: Vec<String> = seen.iter().rev().take(10).rev().map(ToString::to_string).collect();
            Err(format!("{} requests, the last of them:\n{}", seen.len(), last.join("\n")))
        })
        .await
    }
}

impl Shared {
    /// The fault to commit on a request, used up by one.
    fn fault(&self, seen: &Seen) -> Option<(Fault, Arc<State>)> {
        let mut rules = locked(&self.rules);
        rules.retain(|rule| !rule.state.over.load(Ordering::SeqCst) && rule.state.left.load(Ordering::SeqCst) > 0);
        let rule = rules.iter().find(|rule| (rule.matches)(seen))?;
        rule.state.left.fetch_sub(1, Ordering::SeqCst);
        rule.state.hits.fetch_add(1, Ordering::SeqCst);
        Some((rule.fault, Arc::clone(&rule.state)))
    }
}

/// A test that panicked inside a matcher leaves the rest usable.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
