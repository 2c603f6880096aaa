//! What the agent listens to, and what it makes of what it hears: the deciding half of the listener.
//!
//! Knows interests, requests, news and the state of the connection. Must not do IO nor read a clock: it is told what happened
//! and when, and answers with the steps to take.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use towline_daemon::error::chain;
use towline_proto::{ClusterName, CommitEvent, RefName, RepositoryToken, Subject, subject};

use super::client::LastEventError;
use super::news::News;
use super::refusal::{self, Refusal};
use super::requests::{Request, Requests};
use super::wanted::{Answer, Answered, Refused, Step, Wanted};
use super::{BusEvent, Interest};

/// Texts of denials remembered. Whoever has so many is served by the first of them.
const DENIALS_MAX: usize = 256;

/// Attempts go on, and each is refused with the same words. Once in a while is enough to be noticed.
const DENIAL_REPEAT: Duration = Duration::from_secs(5 * 60);

pub(super) enum Happened {
    Connected,
    Disconnected,
    /// A connection attempt failed, or the client gave up on something.
    Trouble(String),
    /// The server told an error.
    ServerError(String),
    /// A subscription lost messages.
    Missed,
    Message {
        subject: String,
        payload: Bytes,
    },
    Interests(BTreeSet<Interest>),
    LastEvent {
        subject: String,
        ticket: u64,
        answer: Result<Option<Bytes>, LastEventError>,
    },
    NotSubscribed {
        subject: String,
        reason: String,
    },
    /// Reports cannot be published.
    ReportsRefused(String),
    /// It is time.
    Due,
}

pub(super) struct Attention {
    reconcile_filters: [String; 2],
    wanted: Wanted,
    requests: Requests,
    news: News,
    connected: bool,
    last_trouble: Option<String>,
    denied: HashMap<String, Instant>,
}

impl Attention {
    pub(super) fn new(cluster: &ClusterName) -> Self {
        Self {
            reconcile_filters: subject::reconcile_filters(cluster),
            wanted: Wanted::default(),
            requests: Requests::default(),
            news: News::new(),
            connected: false,
            last_trouble: None,
            denied: HashMap::new(),
        }
    }

    pub(super) fn handle(&mut self, happened: Happened, now: Instant) -> Vec<Step> {
        let mut steps = match happened {
            Happened::Connected => self.connected(now),
            Happened::Interests(interests) => self.interests(interests, now),
            Happened::ServerError(text) => self.server_error(&text, now),
            other => {
                self.note(other, now);
                Vec::new()
            }
        };
        for request in self.requests.due(now) {
            self.news.put(request.into());
        }
        steps.extend(self.wanted.steps(now));
        steps
    }

    /// When to call [`Attention::handle`] again if nothing happens.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        self.wanted.deadline(now).into_iter().chain(self.requests.deadline()).min()
    }

    pub(super) fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    pub(super) fn take_news(&mut self) -> Option<BusEvent> {
        self.news.take()
    }

    fn connected(&mut self, now: Instant) -> Vec<Step> {
        tracing::info!("connected to NATS");
        (self.connected, self.last_trouble) = (true, None);
        self.denied.clear();
        self.news.put(BusEvent::Connected);
        self.wanted.connected(now);
        self.reconcile_filters.iter().map(|filter| Step::Subscribe { subject: filter.clone() }).collect()
    }

    fn interests(&mut self, interests: BTreeSet<Interest>, now: Instant) -> Vec<Step> {
        let gone = self.wanted.replace(interests, now);
        let unsubscribe = |(subject, interest)| {
            self.news.forget(&interest);
            Step::Unsubscribe { subject }
        };
        gone.into_iter().map(unsubscribe).collect()
    }

    fn server_error(&mut self, text: &str, now: Instant) -> Vec<Step> {
        match refusal::read(text) {
            Refusal::Subscription { subject } => {
                match self.wanted.subscription_refused(&subject, now) {
                    Some(refused) => self.unsubscribable(refused, text.to_owned()),
                    None => self.denied(text.to_owned(), now),
                }
                // The client would send it again with every connection; it is subscribed to anew when it is tried again.
                return vec![Step::Unsubscribe { subject }];
            }
            Refusal::Publish { subject } => {
                if let Some(answered) = self.wanted.question_refused(&subject, now) {
                    // The subscription stands; what was missed before it cannot be had.
                    let reason = format!("the last event cannot be asked for: {text}");
                    self.news.put(BusEvent::Unsubscribable { interest: answered.interest, reason });
                }
                self.denied(text.to_owned(), now);
            }
            Refusal::Other => self.denied(text.to_owned(), now),
        }
        Vec::new()
    }

    /// What needs no step of its own.
    fn note(&mut self, happened: Happened, now: Instant) {
        match happened {
            Happened::Disconnected => {
                self.connected = false;
                self.wanted.disconnected();
                self.disconnected("the connection was lost".to_owned());
            }
            Happened::Trouble(text) if self.connected => {
                tracing::debug!(error = text, "the NATS client reports an error")
            }
            Happened::Trouble(text) => self.disconnected(text),
            Happened::Missed => self.wanted.ask_all_again(now),
            Happened::Message { subject, payload } => self.message(&subject, &payload, now),
            Happened::LastEvent { subject, ticket, answer } => self.last_event(&subject, ticket, answer, now),
            Happened::NotSubscribed { subject, reason } => match self.wanted.subscription_refused(&subject, now) {
                Some(refused) => self.unsubscribable(refused, reason),
                None => self.denied(reason, now),
            },
            Happened::ReportsRefused(what) => self.denied(what, now),
            Happened::Due | Happened::Connected | Happened::Interests(_) | Happened::ServerError(_) => {}
        }
    }

    fn message(&mut self, subject: &str, payload: &[u8], now: Instant) {
        let request = match Subject::parse(subject) {
            Ok(Subject::Commit { repository, reference }) => {
                let heard = self.wanted.heard(subject, Sha256::digest(payload).into());
                if heard.is_some_and(|interest| interest.covers(&reference)) {
                    self.news.put(woken(repository, reference, payload));
                }
                return;
            }
            Ok(Subject::ReconcileCluster { .. }) => Request::All,
            Ok(Subject::ReconcileSync { namespace, name, .. }) => Request::Sync { namespace, name },
            Ok(Subject::Status { .. } | Subject::Event { .. } | Subject::Heartbeat { .. }) | Err(_) => {
                tracing::debug!(subject, "a message on a subject that means nothing here");
                return;
            }
        };
        if let Some(request) = self.requests.ask(request, now) {
            self.news.put(request.into());
        }
    }

    fn last_event(&mut self, subject: &str, ticket: u64, answer: Result<Option<Bytes>, LastEventError>, now: Instant) {
        let outcome = match &answer {
            Ok(None) => Answer::Nothing,
            Ok(Some(payload)) => Answer::Found(Sha256::digest(payload).into()),
            Err(error) => Answer::Failed { heard: error.is_an_answer() },
        };
        let Some(answered) = self.wanted.answered(subject, ticket, outcome, now) else { return };
        self.granted(&answered);
        match answer {
            Ok(Some(payload)) if answered.wake => {
                let Interest { repository, reference, .. } = answered.interest;
                self.news.put_older(woken(repository.token(), reference, &payload));
            }
            Ok(None) if answered.wake => {
                let (repository, reference) = (answered.interest.repository.token(), answered.interest.reference);
                self.news.put_older(BusEvent::Woken { repository, reference, event: None, undecodable: None });
            }
            Ok(_) => {}
            Err(error) => self.denied(format!("failed to {}", chain(&error)), now),
        }
    }

    fn granted(&mut self, answered: &Answered) {
        if answered.granted {
            tracing::debug!(interest = %answered.interest, "listening for commit events");
            self.news.put(BusEvent::Subscribed { interest: answered.interest.clone() });
        }
    }

    fn unsubscribable(&mut self, refused: Refused, reason: String) {
        if !refused.again {
            tracing::warn!(interest = %refused.interest, reason, "commit events cannot arrive: the poll is what is left");
            self.news.put(BusEvent::Unsubscribable { interest: refused.interest, reason });
        }
    }

    fn denied(&mut self, what: String, now: Instant) {
        self.denied.retain(|_, told| now.saturating_duration_since(*told) < DENIAL_REPEAT);
        if self.denied.len() < DENIALS_MAX && !self.denied.contains_key(&what) {
            tracing::warn!(what, "NATS refuses something");
            self.denied.insert(what.clone(), now);
            self.news.put(BusEvent::Denied { what });
        }
    }

    fn disconnected(&mut self, reason: String) {
        if self.last_trouble.as_ref() != Some(&reason) {
            tracing::warn!(reason, "not connected to NATS: sources are polled, reports wait");
            self.last_trouble = Some(reason.clone());
            self.news.put(BusEvent::Disconnected { reason });
        }
    }
}

impl From<Request> for BusEvent {
    fn from(request: Request) -> Self {
        match request {
            Request::All => Self::ReconcileAll,
            Request::Sync { namespace, name } => Self::Reconcile { namespace, name },
        }
    }
}

/// An event that cannot be read, or that speaks of another ref than its subject, still wakes: it says no more than that.
fn woken(repository: RepositoryToken, reference: RefName, payload: &[u8]) -> BusEvent {
    let (event, undecodable) = match CommitEvent::decode(payload) {
        Ok(event) if event.repository.token() == repository && event.reference == reference => (Some(event), None),
        Ok(_) => (None, Some("the event names another ref than its subject".to_owned())),
        Err(error) => (None, Some(format!("failed to {}", chain(&error)))),
    };
    BusEvent::Woken { repository, reference, event, undecodable }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use towline_proto::RepositoryId;

    use super::*;

    fn interest() -> Interest {
        Interest {
            repository: RepositoryId::parse("github.com/org/fleet").unwrap(),
            reference: RefName::parse("refs/heads/main").unwrap(),
            below: false,
        }
    }

    fn subject_of(interest: &Interest) -> String {
        subject::commit(&interest.repository, &interest.reference)
    }

    fn event(branch: &str) -> CommitEvent {
        CommitEvent {
            version: CommitEvent::VERSION,
            repository: interest().repository,
            reference: RefName::parse(branch).unwrap(),
            before: None,
            after: None,
            provider: "github".to_owned(),
            hook: "/hooks/github".to_owned(),
            delivery: "d".to_owned(),
            received_at: Timestamp::UNIX_EPOCH,
            traceparent: None,
        }
    }

    fn attention(now: Instant) -> Attention {
        let mut attention = Attention::new(&ClusterName::parse("prod").unwrap());
        assert!(attention.handle(Happened::Interests(BTreeSet::from([interest()])), now).is_empty());
        let steps = attention.handle(Happened::Connected, now);
        assert_eq!(steps.len(), 4, "two filters, one ref, one question: {steps:?}");
        assert_eq!(attention.take_news(), Some(BusEvent::Connected));
        attention
    }

    fn message(subject: String, payload: Vec<u8>) -> Happened {
        Happened::Message { subject, payload: payload.into() }
    }

    #[test]
    fn every_message_on_a_ref_wakes_whatever_it_says() {
        let now = Instant::now();
        let mut attention = attention(now);
        let subject = || subject_of(&interest());
        let payloads =
            [event("refs/heads/main").encode(), event("refs/heads/other").encode(), b"{".to_vec(), Vec::new()];
        let readable = payloads.map(|payload| {
            attention.handle(message(subject(), payload), now);
            let Some(BusEvent::Woken { event, undecodable, .. }) = attention.take_news() else { panic!("not woken") };
            assert_eq!(event.is_none(), undecodable.is_some());
            event.is_some()
        });
        assert_eq!(readable, [true, false, false, false]);
    }

    #[test]
    fn requests_come_from_their_subjects_alone() {
        let now = Instant::now();
        let mut attention = attention(now);
        let cluster = ClusterName::parse("prod").unwrap();
        attention.handle(message(subject::reconcile_cluster(&cluster), Vec::new()), now);
        attention.handle(message(subject::reconcile_sync(&cluster, "apps", "web"), b"x".to_vec()), now);
        attention.handle(message("towline.reconcile.prod.!.x".to_owned(), Vec::new()), now);
        attention.handle(message("towline.heartbeat.prod".to_owned(), Vec::new()), now);
        let told: Vec<BusEvent> = std::iter::from_fn(|| attention.take_news()).collect();
        let sync = BusEvent::Reconcile { namespace: "apps".to_owned(), name: "web".to_owned() };
        assert_eq!(told, [BusEvent::ReconcileAll, sync]);
        assert!(attention.deadline(now).is_some());
    }

    #[test]
    fn a_refused_subscription_is_told_once_and_dropped() {
        let now = Instant::now();
        let mut attention = attention(now);
        let subject = subject_of(&interest());
        let text = format!("nats: Permissions Violation for Subscription to \"{subject}\"");
        let steps = attention.handle(Happened::ServerError(text.clone()), now);
        assert_eq!(steps, [Step::Unsubscribe { subject }]);
        assert!(matches!(attention.take_news(), Some(BusEvent::Unsubscribable { .. })));
        attention.handle(Happened::ServerError(text), now);
        assert!(!attention.has_news());
    }

    #[test]
    fn a_failing_question_is_told_now_and_then() {
        let (mut now, mut told) = (Instant::now(), Vec::new());
        let mut attention = attention(now);
        let mut steps = vec![Step::Ask { subject: subject_of(&interest()), ticket: 1 }];
        let start = now;
        while now < start + 2 * DENIAL_REPEAT {
            if let Some(Step::Ask { subject, ticket }) = steps.pop() {
                let answer = Err(LastEventError::NoResponders);
                steps = attention.handle(Happened::LastEvent { subject, ticket, answer }, now);
            }
            told.extend(std::iter::from_fn(|| attention.take_news()));
            now = attention.deadline(now).expect("it is tried again");
            steps.extend(attention.handle(Happened::Due, now));
        }
        let denials = told.iter().filter(|event| matches!(event, BusEvent::Denied { .. })).count();
        assert!((2..=3).contains(&denials), "{told:?}");
        assert!(matches!(told.first(), Some(BusEvent::Subscribed { .. })), "an answer proves the subscription");
    }

    #[test]
    fn a_reason_for_being_disconnected_is_told_once() {
        let now = Instant::now();
        let mut attention = attention(now);
        attention.handle(Happened::Trouble("flush".to_owned()), now);
        assert!(!attention.has_news(), "connected after all");
        attention.handle(Happened::Disconnected, now);
        attention.handle(Happened::Trouble("IO error".to_owned()), now);
        attention.handle(Happened::Trouble("IO error".to_owned()), now);
        assert_eq!(attention.take_news(), Some(BusEvent::Disconnected { reason: "IO error".to_owned() }));
        assert!(!attention.has_news());
    }
}
