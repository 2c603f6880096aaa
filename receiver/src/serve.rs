//! The order of work for one request, and nothing before its turn: route, method, content type and declared length, then
//! the bounded body, then judge (verify, parse, identify), then publish, then the answer.
//!
//! From the last byte of the body on, the work belongs to the receiver and not to the client's connection: who hangs up
//! does not lose the event.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use hyper::body::Body;
use jiff::Timestamp;
use prometheus_client::registry::{Registry, Unit};
use tokio_util::task::TaskTracker;
use towline_daemon::shutdown::Shutdown;

use crate::admit::Admission;
use crate::answer::Answer;
use crate::body::{self, Budget, Held};
use crate::config::Config;
use crate::deliver::{Deliverer, Place, judge_with_newest_secrets};
use crate::forwarded::{self, Proxies};
use crate::judge::{Delivery, Judged, Judgement};
use crate::limits::Limits;
use crate::metrics::{FailureLabels, LimitLabels, Metrics, ReadAtScrape};
use crate::publish::Publisher;
use crate::record::Record;
use crate::refusals::Refusals;
use crate::route::{self, Routes};
use crate::verify;

/// What every request needs; one for the process.
pub struct Server {
    routes: Routes,
    proxies: Proxies,
    limits: Limits,
    budget: Budget,
    admission: Arc<Admission>,
    refusals: Mutex<Refusals>,
    deliverer: Deliverer,
    metrics: Metrics,
    shutdown: Shutdown,
    /// Deliveries whose body is complete.
    deliveries: TaskTracker,
    /// It was said once that a proxy seems to be missing in the configuration.
    told_of_proxy: AtomicBool,
}

impl Server {
    pub fn new(config: &Config, publisher: Publisher, metrics: Metrics, shutdown: Shutdown) -> Self {
        let limits = config.limits();
        Self {
            routes: Routes::new(config.hooks()),
            proxies: config.proxies().clone(),
            limits,
            budget: Budget::new(&limits),
            admission: Arc::new(Admission::new(&limits.rates, config.senders().clone())),
            refusals: Mutex::default(),
            deliverer: Deliverer::new(config.hooks(), limits, publisher, metrics.clone(), shutdown.clone()),
            metrics,
            shutdown,
            deliveries: TaskTracker::new(),
            told_of_proxy: AtomicBool::new(false),
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    pub(crate) fn proxies(&self) -> &Proxies {
        &self.proxies
    }

    pub(crate) fn admission(&self) -> Arc<Admission> {
        Arc::clone(&self.admission)
    }

    /// Whether this peer does not connect too often. Proxies do it for others, whose requests are counted.
    pub(crate) fn may_connect(&self, peer: IpAddr) -> bool {
        self.proxies.contain(peer) || self.admission.connects(peer, Instant::now()).is_ok()
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Adds to the metrics what is kept here and not counted.
    pub fn register(self: &Arc<Self>, registry: &mut Registry) {
        let budget = self.budget.clone();
        ReadAtScrape {
            name: "bodies_held",
            help: "Memory that bodies take of the budget they share",
            unit: Some(Unit::Bytes),
            read: move || budget.used_bytes(),
        }
        .register(registry);
        let admission = Arc::clone(&self.admission);
        ReadAtScrape {
            name: "addresses_remembered",
            help: "Addresses whose recent requests or failures are remembered",
            unit: None,
            read: move || admission.addresses() as u64,
        }
        .register(registry);
        let server = Arc::clone(self);
        ReadAtScrape {
            name: "refs_waiting",
            help: "Refs whose newest event waits for its hook's rate",
            unit: None,
            read: move || server.deliverer.waiting() as u64,
        }
        .register(registry);
    }

    /// Returns when no delivery is in work any more.
    pub async fn drained(&self) {
        self.deliveries.close();
        self.deliveries.wait().await;
        self.summarise();
    }

    /// One request, from this peer, to one answer.
    pub async fn handle<B>(
        self: Arc<Self>,
        request: Request<B>,
        peer: IpAddr,
    ) -> Result<Response<Full<Bytes>>, Infallible>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let client = self.client(request.headers(), peer);
        let mut record = Record::start(fastrand::u64(1..), client);
        let request_id = record.request().to_owned();
        let answer = match self.receive(request, client, &mut record).await {
            Ok((delivery, held, place)) => {
                let server = Arc::clone(&self);
                // Dropping the handle, as a hang-up does, leaves the task running; it is awaited in `drained`.
                let work = self.deliveries.spawn(async move {
                    let answer = server.deliver(delivery, held, record).await;
                    drop(place);
                    answer
                });
                work.await.unwrap_or_else(|_panicked| {
                    tracing::error!(request = request_id, outcome = "not_published", "the delivery's task panicked");
                    Answer::NotPublished
                })
            }
            Err(answer) => {
                self.finish(record, &answer);
                answer
            }
        };
        Ok(answer.into_response(&request_id))
    }

    /// Whose request it is: whom log lines name and limits are kept for.
    fn client(&self, headers: &HeaderMap, peer: IpAddr) -> IpAddr {
        let client = forwarded::client(peer, headers, &self.proxies);
        if client.disbelieved && !self.told_of_proxy.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                peer = %client.address,
                "a request says that it was forwarded, by a peer that is not in `proxies`: all who come through it count \
                 as one client. If it is your proxy, add its network to `proxies` in the configuration"
            );
        }
        client.address
    }

    fn admit(&self, record: &mut Record) -> Result<(), Answer> {
        self.admission.admit(record.client(), Instant::now()).map_err(|turned| {
            self.metrics.rate_limited.get_or_create(&LimitLabels { limit: turned.limit.name() }).inc();
            record.set_reason(turned);
            Answer::RateLimited { wait: turned.wait }
        })
    }

    fn finish(&self, record: Record, answer: &Answer) {
        let client = record.client();
        record.finish(answer, &self.metrics, &self.refusals, || self.admission.knows(client));
    }

    /// Tells now and then of the refusals that had no line of their own, until shutdown.
    pub async fn tell_of_refusals(self: Arc<Self>) -> Result<(), Infallible> {
        let interval = self.limits.rates.refusals_log_interval;
        while !self.shutdown.is_requested() {
            tokio::select! {
                () = self.shutdown.requested() => {
                    self.deliverer.give_up_at();
                }
                () = tokio::time::sleep(interval) => self.summarise(),
            }
        }
        Ok(())
    }

    fn summarise(&self) {
        let summary = self.refusals.lock().unwrap_or_else(PoisonError::into_inner).take();
        summary.log(self.limits.rates.refusals_log_interval.as_secs());
    }

    /// Everything up to the last byte of the body.
    async fn receive<B>(
        &self,
        request: Request<B>,
        client: IpAddr,
        record: &mut Record,
    ) -> Result<(Delivery, Held, Place), Answer>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        let found = self.routes.find(path);
        if let Ok(hook) = &found {
            record.set_hook(hook);
        }
        // Also whoever asks for what is not there.
        self.admit(record)?;
        let hook = found.inspect_err(|_| record.set_unknown_path(path))?;
        record.set_names(verify::names(hook.provider(), &head.headers));
        record.set_trace(&head.headers);
        let length = route::check(&head.method, &head.headers, hook.provider(), self.limits.body_bytes_max)?;
        if self.shutdown.is_requested() {
            return Err(Answer::Draining);
        }
        let share = self.budget.share(client, self.admission.knows(client));
        let held = body::read(body, length, &self.limits, share).await?;
        record.set_body_bytes(held.bytes.len());
        let place = self.deliverer.take_place()?;
        Ok((Delivery { hook, headers: head.headers, received_at: Timestamp::now() }, held, place))
    }

    /// Everything after the last byte of the body.
    async fn deliver(&self, delivery: Delivery, held: Held, mut record: Record) -> Answer {
        let (bytes, share) = held.into_parts();
        let hook = Arc::clone(&delivery.hook);
        let Judged { judgement, names } = judge_with_newest_secrets(delivery, bytes).await;
        // The body is gone; what is left is small.
        drop(share);
        if let Some(names) = names {
            record.set_names(names);
        }
        let client = record.client();
        if judgement.is_verified() {
            self.admission.verified(client);
            record.begin_trace();
        }
        let answer = match judgement {
            Judgement::Refuse(refusal) => {
                self.admission.failed(client, Instant::now());
                let labels = FailureLabels { hook: hook.path().to_owned(), reason: refusal.kind() };
                self.metrics.authentication_failures.get_or_create(&labels).inc();
                record.set_refusal(&refusal);
                Answer::Refused
            }
            Judgement::Publish(events) => self.deliverer.publish(&hook, events, &mut record).await,
            Judgement::Answer { answer, reason } => {
                record.set_reason(reason);
                answer
            }
        };
        self.finish(record, &answer);
        answer
    }
}
