//! The listening task: does what `attention` decides, and tells the rest of the agent the news.
//!
//! Knows the subscriptions, the questions under way and who is told. Must not decide anything.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Instant;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, watch};
use towline_daemon::error::chain;
use towline_daemon::nats::Event;
use towline_daemon::shutdown::Shutdown;

use super::attention::{Attention, Happened};
use super::client::{self, LastEventError, Subscriptions};
use super::link::Link;
use super::wanted::Step;
use super::{BusEvent, Interest};

/// The answer to a question, with the subject and the ticket it was asked under.
type Question = BoxFuture<'static, (String, u64, Result<Option<Bytes>, LastEventError>)>;

pub(super) struct Listener {
    pub(super) link: Link,
    pub(super) interests: watch::Receiver<BTreeSet<Interest>>,
    pub(super) complaints: mpsc::Receiver<String>,
    pub(super) news: mpsc::Sender<BusEvent>,
    pub(super) shutdown: Shutdown,
    pub(super) attention: Attention,
    pub(super) subscriptions: Subscriptions,
    pub(super) questions: FuturesUnordered<Question>,
}

/// What the loop goes on with.
enum Woke<'a> {
    Happened(Happened),
    Room(mpsc::Permit<'a, BusEvent>),
    Over,
}

impl Listener {
    pub(super) async fn run(mut self) -> Result<(), Infallible> {
        let news = self.news.clone();
        loop {
            let now = Instant::now();
            let steps = match self.wake(&news, now).await {
                Woke::Over => return Ok(()),
                Woke::Room(permit) => {
                    if let Some(event) = self.attention.take_news() {
                        permit.send(event);
                    }
                    continue;
                }
                Woke::Happened(happened) => self.attention.handle(happened, Instant::now()),
            };
            for step in steps {
                self.take(step).await;
            }
        }
    }

    async fn wake<'a>(&mut self, news: &'a mpsc::Sender<BusEvent>, now: Instant) -> Woke<'a> {
        let deadline = self.attention.deadline(now);
        let due = super::until(deadline);
        // In this order: what the connection says comes before the answers that it puts in another light.
        tokio::select! {
            biased;
            () = self.shutdown.requested() => Woke::Over,
            event = self.link.next() => Woke::Happened(event.into()),
            permit = news.reserve(), if self.attention.has_news() => permit.map_or(Woke::Over, Woke::Room),
            Ok(()) = self.interests.changed() => {
                Woke::Happened(Happened::Interests(self.interests.borrow_and_update().clone()))
            }
            Some((subject, ticket, answer)) = self.questions.next(), if !self.questions.is_empty() => {
                Woke::Happened(Happened::LastEvent { subject, ticket, answer })
            }
            Some(message) = self.subscriptions.next(), if !self.subscriptions.is_empty() => {
                Woke::Happened(Happened::Message { subject: message.subject.to_string(), payload: message.payload })
            }
            Some(what) = self.complaints.recv() => Woke::Happened(Happened::ReportsRefused(what)),
            () = due => Woke::Happened(Happened::Due),
        }
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Subscribe { subject } => {
                if let Err(error) = self.subscriptions.subscribe(&self.link.client, &subject).await {
                    let reason = format!("failed to {}", chain(&error));
                    // What it leads to has a time of its own, and is taken from there.
                    self.attention.handle(Happened::NotSubscribed { subject, reason }, Instant::now());
                }
            }
            Step::Unsubscribe { subject } => self.subscriptions.unsubscribe(&subject),
            Step::Ask { subject, ticket } => {
                let client = self.link.client.clone();
                self.questions.push(Box::pin(async move {
                    let answer = client::last_event(&client, &subject).await;
                    (subject, ticket, answer)
                }));
            }
        }
    }
}

impl From<Event> for Happened {
    fn from(event: Event) -> Self {
        match event {
            Event::Connected => Self::Connected,
            Event::Disconnected => Self::Disconnected,
            Event::ServerError(text) => Self::ServerError(text),
            Event::ClientError(text) => Self::Trouble(text),
            Event::SlowConsumer => Self::Missed,
        }
    }
}
