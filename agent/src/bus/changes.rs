//! The change events that wait to be published, in order and within bounds.
//!
//! Knows how much may wait, and counts what had to go: a gap is announced, never hidden. Must not know NATS.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use towline_proto::{ChangeEvent, ClusterName, EventKind};

use super::seal::Sealed;

/// An hour without NATS at a change a second is 3,600.
const CHANGES_MAX: usize = 4096;

/// 4,096 changes of 2 KiB, the common size, twice. A change at its own bound has 100 KiB.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// Once there is room again means: half of it. An announcement must not be what fills the queue up.
const ANNOUNCE_BELOW: usize = CHANGES_MAX / 2;

/// Where announcements are refused like everything else, one is lost per minute and not per round trip.
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(60);

/// A report on its way.
pub(super) struct Waiting<P> {
    pub(super) report: P,
    /// Once it was sent: repeated as it was.
    pub(super) sealed: Option<Sealed>,
    pub(super) refusals: u32,
    /// What an announcement stands for: lost again if it is.
    gap: Option<Gap>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Gap {
    reports: u64,
    from: Timestamp,
    to: Timestamp,
}

#[derive(Default)]
pub(super) struct Changes {
    waiting: VecDeque<Waiting<ChangeEvent>>,
    bytes: usize,
    gap: Option<Gap>,
    /// Reports lost so far; lost announcements of lost ones do not count again.
    lost: u64,
    announce_from: Option<Instant>,
}

impl<P> Waiting<P> {
    pub(super) fn new(report: P) -> Self {
        Self { report, sealed: None, refusals: 0, gap: None }
    }
}

impl Changes {
    /// The newest goes to the end. Where there is no room, the oldest go.
    pub(super) fn put(&mut self, change: ChangeEvent, at: Timestamp) {
        self.bytes += weight(&change);
        self.waiting.push_back(Waiting::new(change));
        self.make_room(at);
    }

    /// Gives one back that was taken. It is the oldest, so that it goes where room is missing.
    pub(super) fn put_first(&mut self, waiting: Waiting<ChangeEvent>, at: Timestamp) {
        self.bytes += weight(&waiting.report);
        self.waiting.push_front(waiting);
        self.make_room(at);
    }

    pub(super) fn take_first_where(&mut self, may_go: impl Fn(EventKind) -> bool) -> Option<Waiting<ChangeEvent>> {
        let position = self.waiting.iter().position(|waiting| may_go(waiting.report.kind))?;
        let taken = self.waiting.remove(position)?;
        self.bytes = self.bytes.saturating_sub(weight(&taken.report));
        Some(taken)
    }

    /// One that cannot be published, ever.
    pub(super) fn lose(&mut self, waiting: &Waiting<ChangeEvent>, at: Timestamp) {
        self.lost += u64::from(waiting.gap.is_none());
        self.lost(waiting.gap.unwrap_or(Gap { reports: 1, from: at, to: at }), at);
    }

    /// A status that cannot be published counts like a change.
    pub(super) fn lose_status(&mut self, at: Timestamp) {
        self.lost += 1;
        self.lost(Gap { reports: 1, from: at, to: at }, at);
    }

    /// Puts an announcement into the queue if reports were lost and there is room again.
    pub(super) fn announce(&mut self, cluster: &ClusterName, now: Instant) {
        let too_soon = self.announce_from.is_some_and(|from| now < from);
        if too_soon || self.waiting.len() > ANNOUNCE_BELOW {
            return;
        }
        let Some(gap) = self.gap.take() else { return };
        self.announce_from = Some(now + ANNOUNCE_INTERVAL);
        tracing::warn!(reports = gap.reports, from = %gap.from, to = %gap.to, "reports were lost");
        let announcement = announcement(cluster, gap);
        self.bytes += weight(&announcement);
        self.waiting.push_back(Waiting { gap: Some(gap), ..Waiting::new(announcement) });
    }

    /// The end is near: a gap is announced now or never.
    pub(super) fn announce_soon(&mut self) {
        self.announce_from = None;
    }

    /// When a gap that is known now will be announced, as far as that depends on time.
    pub(super) fn announced_at(&self) -> Option<Instant> {
        self.gap.and(self.announce_from)
    }

    pub(super) fn lost_in_all(&self) -> u64 {
        self.lost
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    fn make_room(&mut self, at: Timestamp) {
        while self.waiting.len() > CHANGES_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.waiting.pop_front() else { return };
            self.bytes = self.bytes.saturating_sub(weight(&oldest.report));
            self.lose(&oldest, at);
        }
    }

    fn lost(&mut self, gap: Gap, at: Timestamp) {
        let from = self.gap.map_or(gap.from, |known| known.from.min(gap.from));
        let reports = self.gap.map_or(0, |known| known.reports).saturating_add(gap.reports);
        self.gap = Some(Gap { reports, from, to: at });
    }
}

fn announcement(cluster: &ClusterName, gap: Gap) -> ChangeEvent {
    ChangeEvent {
        version: ChangeEvent::VERSION,
        cluster: cluster.clone(),
        kind: EventKind::ReportsLost,
        namespace: String::new(),
        name: String::new(),
        revision: None,
        sequence: None,
        commit: None,
        trigger: "reports".to_owned(),
        delivery: None,
        message: format!("{} reports could not be published and were lost", gap.reports),
        changes: Vec::new(),
        changes_omitted: 0,
        started_at: gap.from,
        finished_at: gap.to,
    }
}

/// About what a change takes in memory.
fn weight(change: &ChangeEvent) -> usize {
    let texts = change.namespace.len() + change.name.len() + change.message.len();
    let objects = change.changes.iter().map(|object| {
        let fields: usize = object.fields.iter().map(|field| size_of::<String>() + field.len()).sum();
        size_of_val(object) + object.object.len() + object.action.len() + fields
    });
    let commit = change.commit.as_ref().map_or(0, towline_proto::CommitInfo::weight);
    size_of_val(change) + texts + commit + objects.sum::<usize>()
}

#[cfg(test)]
pub(super) fn sample(kind: EventKind, message: &str) -> ChangeEvent {
    let at = Timestamp::UNIX_EPOCH;
    let gap = Gap { reports: 0, from: at, to: at };
    let cluster = ClusterName::parse("prod").unwrap();
    ChangeEvent { kind, message: message.to_owned(), ..announcement(&cluster, gap) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn take(changes: &mut Changes) -> Option<ChangeEvent> {
        changes.take_first_where(|_| true).map(|waiting| waiting.report)
    }

    #[test]
    fn the_oldest_goes_and_the_gap_is_announced_when_there_is_room() {
        let (mut changes, cluster, now) = (Changes::default(), ClusterName::parse("prod").unwrap(), Instant::now());
        for number in 0..CHANGES_MAX + 3 {
            changes.put(sample(EventKind::Applied, &number.to_string()), at(number as i64));
        }
        assert_eq!(changes.len(), CHANGES_MAX);
        changes.announce(&cluster, now);
        assert_eq!(take(&mut changes).unwrap().message, "3", "full: nothing is announced, and 0 to 2 are gone");
        while changes.len() > ANNOUNCE_BELOW {
            take(&mut changes);
        }
        changes.announce(&cluster, now);
        changes.announce(&cluster, now);
        let mut rest: Vec<ChangeEvent> = std::iter::from_fn(|| take(&mut changes)).collect();
        let announced = rest.pop().unwrap();
        assert_eq!((announced.kind, announced.message.split_once(' ').unwrap().0), (EventKind::ReportsLost, "3"));
        assert_eq!((announced.started_at, announced.finished_at), (at(4096), at(4098)));
        assert!(rest.iter().all(|change| change.kind == EventKind::Applied), "announced once");
        assert_eq!(changes.bytes, 0);
    }

    #[test]
    fn an_announcement_that_is_lost_is_announced_later() {
        let (mut changes, cluster, now) = (Changes::default(), ClusterName::parse("prod").unwrap(), Instant::now());
        changes.lose_status(at(1));
        changes.announce(&cluster, now);
        let waiting = changes.take_first_where(|_| true).unwrap();
        changes.lose(&waiting, at(3));
        changes.announce(&cluster, now);
        assert!(take(&mut changes).is_none(), "too soon");
        changes.lose_status(at(5));
        let later = changes.announced_at().unwrap();
        assert_eq!(later, now + ANNOUNCE_INTERVAL);
        changes.announce(&cluster, later);
        let announced = take(&mut changes).unwrap();
        assert!(announced.message.starts_with("2 reports"), "{}", announced.message);
        assert_eq!(announced.started_at, at(1));
        changes.lose_status(at(6));
        changes.announce_soon();
        changes.announce(&cluster, later);
        assert!(take(&mut changes).is_some(), "the end is near");
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut changes = Changes::default();
        let big = "x".repeat(100 * 1024);
        (0..300).for_each(|_| changes.put(sample(EventKind::Applied, &big), at(1)));
        assert!(changes.bytes <= BYTES_MAX && changes.len() > 100, "{} bytes", changes.bytes);
        assert_eq!(changes.gap.map(|gap| gap.reports), Some(300 - changes.len() as u64));
    }
}
