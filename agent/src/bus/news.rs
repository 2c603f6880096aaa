//! What waits to be told to the rest of the agent.
//!
//! Knows which news replaces which: of each ref, each subscription, each request and of the connection only the newest is
//! worth telling. Must not know where it came from. Bounded by the refs that are listened to, the requests that pass the
//! limit, and [`DENIALS_MAX`]: a slow reader loses nothing but what is out of date.

use towline_proto::{RefName, RepositoryToken};

use super::coalesce::Coalesce;
use super::{BusEvent, Interest};

/// Different denials that wait. Whoever has so many is served by the first of them.
const DENIALS_MAX: usize = 64;

/// What a piece of news is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Topic {
    Connection,
    Subscription(Interest),
    Ref(RepositoryToken, RefName),
    Request(Option<(String, String)>),
    Denial(String),
}

pub(super) struct News {
    waiting: Coalesce<Topic, BusEvent>,
    denials: usize,
}

impl News {
    pub(super) fn new() -> Self {
        Self { waiting: Coalesce::new(), denials: 0 }
    }

    pub(super) fn put(&mut self, event: BusEvent) {
        let topic = topic(&event);
        if matches!(topic, Topic::Denial(_)) {
            if self.denials >= DENIALS_MAX || self.waiting.contains(&topic) {
                return;
            }
            self.denials += 1;
        }
        self.waiting.put(topic, event);
    }

    /// For what was asked for: what came by itself in the meantime is newer.
    pub(super) fn put_older(&mut self, event: BusEvent) {
        if !self.waiting.contains(&topic(&event)) {
            self.put(event);
        }
    }

    pub(super) fn take(&mut self) -> Option<BusEvent> {
        let (topic, event) = self.waiting.take_first()?;
        if matches!(topic, Topic::Denial(_)) {
            self.denials -= 1;
        }
        Some(event)
    }

    /// Nobody wants to know about it any more.
    pub(super) fn forget(&mut self, interest: &Interest) {
        self.waiting.remove(&Topic::Subscription(interest.clone()));
        self.waiting.remove(&Topic::Ref(interest.repository.token(), interest.reference.clone()));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

fn topic(event: &BusEvent) -> Topic {
    match event {
        BusEvent::Woken { repository, reference, .. } => Topic::Ref(repository.clone(), reference.clone()),
        BusEvent::ReconcileAll => Topic::Request(None),
        BusEvent::Reconcile { namespace, name } => Topic::Request(Some((namespace.clone(), name.clone()))),
        BusEvent::Connected | BusEvent::Disconnected { .. } => Topic::Connection,
        BusEvent::Denied { what } => Topic::Denial(what.clone()),
        BusEvent::Subscribed { interest } | BusEvent::Unsubscribable { interest, .. } => {
            Topic::Subscription(interest.clone())
        }
    }
}

#[cfg(test)]
mod tests {
    use towline_proto::RepositoryId;

    use super::*;

    fn interest() -> Interest {
        Interest {
            repository: RepositoryId::parse("github.com/org/fleet").unwrap(),
            reference: RefName::parse("refs/heads/main").unwrap(),
            below: false,
        }
    }

    fn woken(undecodable: &str) -> BusEvent {
        let Interest { repository, reference, .. } = interest();
        let undecodable = Some(undecodable.to_owned());
        BusEvent::Woken { repository: repository.token(), reference, event: None, undecodable }
    }

    #[test]
    fn only_the_newest_of_each_is_told() {
        let mut news = News::new();
        news.put(BusEvent::Connected);
        news.put(woken("one"));
        news.put(BusEvent::Disconnected { reason: "gone".to_owned() });
        news.put(woken("two"));
        news.put_older(woken("zero"));
        news.put(BusEvent::Subscribed { interest: interest() });
        news.put(BusEvent::Unsubscribable { interest: interest(), reason: "no".to_owned() });
        assert_eq!(news.take(), Some(BusEvent::Disconnected { reason: "gone".to_owned() }));
        assert_eq!(news.take(), Some(woken("two")));
        assert!(matches!(news.take(), Some(BusEvent::Unsubscribable { .. })));
        assert!(news.take().is_none());
    }

    #[test]
    fn denials_are_bounded_and_what_is_given_up_is_forgotten() {
        let mut news = News::new();
        (0..2 * DENIALS_MAX).for_each(|number| news.put(BusEvent::Denied { what: number.to_string() }));
        news.put(woken("one"));
        news.forget(&interest());
        let told = std::iter::from_fn(|| news.take()).count();
        assert_eq!((told, news.denials), (DENIALS_MAX, 0));
    }
}
