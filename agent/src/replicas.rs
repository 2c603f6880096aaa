//! This replica among the others: holds its Lease, watches theirs, and says what falls to it.
//!
//! Knows when to renew and whom to tell: the fence (until when anything may be written), the engine (which sources and Syncs),
//! and readiness (why nothing). Who is alive and whose something is stands in `plan::members`.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use jiff::Timestamp;
use tokio::sync::{oneshot, watch};
use towline_daemon::BoxError;
use towline_daemon::admin::Readiness;
use towline_daemon::error::chain;
use towline_daemon::tasks::{Tasks, WhenItEnds};
use towline_plan::members::{Members, Share, Uptime, renew_every, retry_every};
use towline_proto::ClusterName;

use crate::cluster::{Client, Exactly, Fence, LeaseEvent, LeaseSettings, Leases, Place, Seen, WatchError, uptime};
use crate::config::Replicas;

/// What readiness calls it.
const PART: &str = "replicas";
/// Between two looks at what is due, at most: timers stop while the machine is suspended.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A watch that shows nothing for this long is begun anew, however short the Lease is: its first list takes a while, too.
const SILENCE_MIN: Duration = Duration::from_secs(10);

/// The loop's end of it.
pub struct Membership {
    /// What this replica is to take care of.
    pub shares: watch::Receiver<Share>,
    /// To be sent when the loop knows enough to take something over: before that it would only hold it.
    pub ready: Option<oneshot::Sender<()>>,
    /// To be sent when nothing is written any more: the Lease is released. Dropped: it runs out.
    pub leave: oneshot::Sender<()>,
}

/// One replica.
struct Replica {
    leases: Leases,
    fence: Fence,
    readiness: Readiness,
    members: Members,
    shares: watch::Sender<Share>,
    /// What the watch showed last of each Lease but the own.
    seen: BTreeMap<String, Exactly>,
    /// Renewals the watch has not shown yet: what they say, and when they were sent.
    sent: BTreeMap<Timestamp, Uptime>,
    renew_at: Uptime,
    /// The watch is asked no sooner: it failed.
    watch_at: Uptime,
    /// When it was begun, or showed a renewal of this replica last.
    echoed_at: Uptime,
    begin: Option<oneshot::Receiver<()>>,
    end: Option<oneshot::Receiver<()>>,
}

/// In a cluster there may be other replicas, elsewhere only where the configuration says so: then everything is this process's,
/// and the fence is open.
///
/// # Errors
/// The machine's clock cannot be read, so nothing could be known of a Lease.
pub fn start(
    settings: &Replicas,
    cluster: &ClusterName,
    client: &Client,
    tasks: &Tasks,
    readiness: &Readiness,
) -> Result<(Fence, Option<Membership>), std::io::Error> {
    let place = Place::here();
    let Some(namespace) = settings.namespace.clone().or(place.namespace.clone()) else {
        return Ok((Fence::open(), None));
    };
    uptime()?;
    let (name, lease, cluster) = (place.unique_name(), settings.lease, cluster.clone());
    let leases = Leases::new(client.clone(), LeaseSettings { namespace, name, pod: place.pod, lease, cluster });
    let fence = Fence::closed();
    let (replica, membership) = Replica::new(leases, fence.clone(), readiness.clone());
    tasks.spawn("replicas", WhenItEnds::StopsProcess, replica.run());
    Ok((fence, Some(membership)))
}

enum Happened {
    Watched(Option<Result<LeaseEvent, WatchError>>),
    Renewed { sent: Uptime, ok: bool },
    Due,
    Leave(bool),
}

impl Replica {
    /// One that has taken no Lease yet, and what the loop needs of it.
    #[must_use]
    fn new(leases: Leases, fence: Fence, readiness: Readiness) -> (Self, Membership) {
        let (shares, receiver) = watch::channel(Share::Nothing);
        let settings = leases.settings();
        let members = Members::new(settings.name.clone(), settings.pod.clone(), settings.lease);
        let (ready, begin) = oneshot::channel();
        let (leave, end) = oneshot::channel();
        let (seen, sent) = (BTreeMap::new(), BTreeMap::new());
        let start = Duration::ZERO;
        let (renew_at, watch_at, echoed_at) = (start, start, start);
        let replica = Self {
            leases,
            fence,
            readiness,
            members,
            shares,
            seen,
            sent,
            renew_at,
            watch_at,
            echoed_at,
            begin: Some(begin),
            end: Some(end),
        };
        (replica, Membership { shares: receiver, ready: Some(ready), leave })
    }

    /// Runs until the loop has ended, and releases the Lease then.
    ///
    /// # Errors
    /// The machine's clock cannot be read.
    async fn run(mut self) -> Result<(), BoxError> {
        self.tell(uptime()?);
        let (Some(begin), Some(mut end)) = (self.begin.take(), self.end.take()) else { return Ok(()) };
        if begin.await.is_err() {
            return Ok(());
        }
        tracing::info!(lease = self.leases.settings().name, "this replica takes a Lease");
        let mut events = self.leases.watch();
        self.echoed_at = uptime()?;
        let mut renewal: Option<BoxFuture<'static, Happened>> = None;
        loop {
            let now = uptime()?;
            if renewal.is_none() && self.renew_at <= now {
                renewal = Some(self.renew(now));
            }
            let wait = self.wait(now, renewal.is_some());
            let happened = tokio::select! {
                left = &mut end => Happened::Leave(left.is_ok()),
                event = events.next(), if self.watch_at <= now => Happened::Watched(event),
                done = under_way(&mut renewal) => done,
                () = tokio::time::sleep(wait) => Happened::Due,
            };
            let now = uptime()?;
            match happened {
                Happened::Leave(ended) => return self.leave(ended).await,
                Happened::Watched(event) => self.watched(event, now, &mut events),
                Happened::Renewed { sent, ok } => {
                    renewal = None;
                    let lease = self.leases.settings().lease;
                    self.renew_at = sent + if ok { renew_every(lease) } else { retry_every(lease) };
                }
                Happened::Due => {}
            }
            self.tell(now);
            if self.is_watch_silent(now) {
                events = self.leases.watch();
            }
        }
    }

    /// Renews, and clears away what nobody renews any more.
    fn renew(&mut self, sent: Uptime) -> BoxFuture<'static, Happened> {
        // Whole microseconds, as the API has them, and another one at each renewal.
        let now = Timestamp::from_microsecond(Timestamp::now().as_microsecond()).unwrap_or_default();
        let last = self.sent.last_key_value().map(|(last, _)| *last);
        let now = last.filter(|last| *last >= now).map_or(now, |last| last + Duration::from_micros(1));
        // What was sent longer ago holds nothing any more.
        let lease = self.leases.settings().lease;
        self.sent.retain(|_, earlier| *earlier + lease > sent);
        self.sent.insert(now, sent);
        let abandoned = self.members.abandoned(sent).into_iter();
        let abandoned: Vec<_> = abandoned.filter_map(|name| self.seen.get_key_value(&name)).map(owned).collect();
        // One at a time, and another one each time: together they could take longer than the Lease lasts.
        let turn = usize::try_from(now.as_second()).unwrap_or_default() % abandoned.len().max(1);
        let abandoned = abandoned.into_iter().nth(turn);
        let leases = self.leases.clone();
        Box::pin(async move {
            let renewed = leases.renew(now).await;
            let ok = renewed.is_ok();
            if let Err(error) = renewed {
                tracing::warn!(error = %chain(&error), "failed to renew this replica's Lease; it is tried again");
            }
            if let Some((name, seen)) = abandoned.filter(|_| ok) {
                match leases.clear(&name, &seen).await {
                    Ok(()) => tracing::info!(lease = name, "cleared away the Lease of a replica that is gone"),
                    Err(error) => tracing::warn!(error = %chain(&error), "a Lease nobody renews stays for now"),
                }
            }
            Happened::Renewed { sent, ok }
        })
    }

    fn watched(
        &mut self,
        event: Option<Result<LeaseEvent, WatchError>>,
        now: Uptime,
        events: &mut BoxStream<'static, Result<LeaseEvent, WatchError>>,
    ) {
        match event {
            Some(Ok(LeaseEvent::Listed(all))) => {
                self.members.listed(&all.iter().map(|seen| seen.sighting.name.clone()).collect());
                self.seen.clear();
                // The own one last: by then everything that was written before it has to be known.
                let (own, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|seen| self.is_own(seen));
                others.into_iter().chain(own).for_each(|seen| self.saw(seen, now));
            }
            Some(Ok(LeaseEvent::Changed(seen))) => self.saw(*seen, now),
            Some(Ok(LeaseEvent::Gone(name))) => {
                self.seen.remove(&name);
                self.members.gone(&name);
                if name == self.leases.settings().name {
                    self.renew_at = now;
                }
            }
            Some(Err(error)) => {
                tracing::warn!(error = %error, "the watch of Leases failed; it is tried again");
                self.watch_at = now + retry_every(self.leases.settings().lease);
            }
            None => {
                *events = self.leases.watch();
                self.watch_at = now + retry_every(self.leases.settings().lease);
            }
        }
    }

    /// Whether the watch has to be begun anew: its connection may be dead without having said so.
    fn is_watch_silent(&mut self, now: Uptime) -> bool {
        let is_silent = self.echoed_at + self.leases.settings().lease.max(SILENCE_MIN) <= now;
        if is_silent {
            tracing::warn!("the watch of Leases shows nothing; it is begun anew");
            self.echoed_at = now;
        }
        is_silent
    }

    fn is_own(&self, seen: &Seen) -> bool {
        seen.sighting.name == self.leases.settings().name
    }

    fn saw(&mut self, seen: Seen, now: Uptime) {
        if !self.is_own(&seen) {
            self.seen.insert(seen.sighting.name.clone(), seen.exactly);
            self.members.seen(seen.sighting, now);
            return;
        }
        let sent = seen.renewed.and_then(|renewed| Some((renewed, *self.sent.get(&renewed)?)));
        if let Some((renewed, sent)) = sent {
            self.sent.retain(|other, _| *other >= renewed);
            self.echoed_at = now;
            self.members.renewed(sent, now);
        }
    }

    /// Tells everybody what follows.
    fn tell(&self, now: Uptime) {
        // In this order: nothing is taken over before it can be written, and nothing is written for what is given up.
        self.fence.until(self.members.deadline(now));
        let share = self.members.share(now);
        if *self.shares.borrow() != share {
            match &share {
                Share::Part { members, .. } => tracing::info!(?members, "sources and Syncs are divided"),
                Share::Nothing | Share::All => tracing::warn!("this replica takes care of nothing, and writes nothing"),
            }
            self.shares.send_replace(share);
        }
        self.readiness.set(PART, self.members.problem(now).map_or(Ok(()), Err));
    }

    fn wait(&self, now: Uptime, renewing: bool) -> Duration {
        let renew = (!renewing).then_some(self.renew_at);
        let watch = (self.watch_at > now).then_some(self.watch_at);
        let next = [renew, watch, self.members.next(now)].into_iter().flatten().min();
        next.map_or(LOOK_EVERY, |next| next.saturating_sub(now)).min(LOOK_EVERY)
    }

    async fn leave(self, ended: bool) -> Result<(), BoxError> {
        self.fence.until(None);
        if ended && let Err(error) = self.leases.release().await {
            tracing::warn!(error = %chain(&error), "failed to release this replica's Lease; it runs out");
        }
        Ok(())
    }
}

fn owned((name, seen): (&String, &Exactly)) -> (String, Exactly) {
    (name.clone(), seen.clone())
}

async fn under_way(renewal: &mut Option<BoxFuture<'static, Happened>>) -> Happened {
    match renewal {
        Some(renewal) => renewal.await,
        None => std::future::pending().await,
    }
}
