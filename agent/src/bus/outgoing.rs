//! What the agent has to say: which report goes next, and what becomes of one that fails.
//!
//! Knows reports, their order and what is under way. Must not know a connection: it hands out sealed reports and is told what
//! came of them.
//!
//! Statuses and changes have a lane each, because they go to a stream each: one that is full or missing does not hold up the
//! other. On a subject one report is under way at a time, so that order and rising numbers survive repetitions.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use towline_daemon::error::chain;
use towline_proto::version::Wire;
use towline_proto::{ChangeEvent, Heartbeat, SyncStatus, subject};

use super::Report;
use super::backoff::Pause;
use super::changes::{Changes, Waiting};
use super::coalesce::Coalesce;
use super::seal::{Sealed, Writer};

/// Ten times the Syncs of the largest cluster the design speaks of.
const STATUSES_MAX: usize = 10_000;

/// Per lane: at a round trip of 100 ms the statuses of 1,000 Syncs are out in six seconds.
const UNDER_WAY_MAX: usize = 16;

/// A stream that refuses the same bytes three times does not take them.
const REFUSALS_MAX: u32 = 3;

/// The tombstone of a Sync that is gone stays longer than a hub that is down over a holiday.
const TOMBSTONE_TTL: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// Namespace and name of a Sync.
type SyncKey = (String, String);

/// Why a report was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// Not now: later it may be.
    Later,
    /// Not these bytes, as far as one can know.
    Refused,
    /// Not on this subject: permissions.
    Denied,
}

enum UnderWay {
    Status(SyncKey, Waiting<SyncStatus>),
    Change(Waiting<ChangeEvent>),
}

pub(super) struct Outgoing {
    writer: Writer,
    statuses: Coalesce<SyncKey, Waiting<SyncStatus>>,
    changes: Changes,
    under_way: BTreeMap<u64, UnderWay>,
    status_pause: Pause,
    change_pause: Pause,
}

impl Outgoing {
    pub(super) fn new(writer: Writer) -> Self {
        Self {
            writer,
            statuses: Coalesce::new(),
            changes: Changes::default(),
            under_way: BTreeMap::new(),
            status_pause: Pause::default(),
            change_pause: Pause::default(),
        }
    }

    pub(super) fn begin_again(&mut self, incarnation: u64) {
        self.writer.begin_again(incarnation);
    }

    pub(super) fn put(&mut self, report: Report, at: Timestamp) {
        match report {
            Report::Change(change) => self.changes.put(change.bounded(), at),
            Report::Status(status) => {
                let status = status.bounded();
                let key = (status.namespace.clone(), status.name.clone());
                let is_full = self.statuses.len() >= STATUSES_MAX && !self.statuses.contains(&key);
                if is_full && self.statuses.take_first().is_some() {
                    self.changes.lose_status(at);
                }
                self.statuses.put(key, Waiting::new(status));
            }
        }
    }

    /// The next report to publish, if one may go now.
    pub(super) fn next(&mut self, now: Instant, at: Timestamp) -> Option<Sealed> {
        self.changes.announce(self.writer.cluster(), now);
        loop {
            let taken = self.take_change(now).or_else(|| self.take_status(now))?;
            match self.seal(taken, at) {
                Some(sealed) => return Some(sealed),
                // One that cannot be sealed is lost; the next one may go.
                None => continue,
            }
        }
    }

    /// A heartbeat is published once: the next one says the same, newer.
    pub(super) fn heartbeat(&mut self, heartbeat: Heartbeat, at: Timestamp) -> Option<Sealed> {
        let subject = subject::heartbeat(self.writer.cluster());
        let sealed = self.writer.seal(subject, at, &heartbeat.bounded());
        sealed.inspect_err(|error| tracing::error!(error = chain(error), "a heartbeat cannot be sealed")).ok()
    }

    pub(super) fn stored(&mut self, sequence: u64) {
        match self.under_way.remove(&sequence) {
            Some(UnderWay::Status(..)) => self.status_pause.end(),
            Some(UnderWay::Change(_)) => self.change_pause.end(),
            None => {}
        }
    }

    /// `false`: it was known before that this one does not go through.
    pub(super) fn failed(&mut self, sequence: u64, failure: Failure, now: Instant, at: Timestamp) -> bool {
        let Some(mut under_way) = self.under_way.remove(&sequence) else { return false };
        let again = match &mut under_way {
            UnderWay::Status(_, waiting) => keeps(waiting, failure),
            UnderWay::Change(waiting) => keeps(waiting, failure),
        };
        match under_way {
            UnderWay::Status(key, waiting) if again => {
                self.status_pause.lengthen(now);
                // Where a newer one waits, this one has nothing left to say.
                self.statuses.put_first(key, waiting);
            }
            UnderWay::Change(waiting) if again => {
                self.change_pause.lengthen(now);
                self.changes.put_first(waiting, at);
            }
            UnderWay::Status(..) => self.changes.lose_status(at),
            UnderWay::Change(waiting) => self.changes.lose(&waiting, at),
        }
        true
    }

    /// The server does not let us publish on a subject.
    pub(super) fn denied(&mut self, subject: &str, now: Instant, at: Timestamp) {
        let sealed = |under_way: &UnderWay| match under_way {
            UnderWay::Status(_, waiting) => waiting.sealed.clone(),
            UnderWay::Change(waiting) => waiting.sealed.clone(),
        };
        let is_it = |under_way: &UnderWay| sealed(under_way).is_some_and(|sealed| sealed.subject == subject);
        let found = self.under_way.iter().find(|(_, under_way)| is_it(under_way)).map(|(sequence, _)| *sequence);
        if let Some(sequence) = found {
            self.failed(sequence, Failure::Denied, now, at);
        }
    }

    /// A new connection: whatever was the matter may be over.
    pub(super) fn connected(&mut self) {
        self.status_pause.end();
        self.change_pause.end();
    }

    /// Nobody reports any more.
    pub(super) fn drain(&mut self) {
        self.changes.announce_soon();
    }

    /// When [`Outgoing::next`], called at `now`, will have more if nothing happens before.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let pauses = [(!self.statuses.is_empty(), &self.status_pause), (self.changes.len() > 0, &self.change_pause)];
        let until = pauses.into_iter().filter(|(waits, _)| *waits).filter_map(|(_, pause)| pause.until());
        until.chain(self.changes.announced_at()).filter(|until| *until > now).min()
    }

    /// Reports that are not known to be stored.
    pub(super) fn len(&self) -> usize {
        self.statuses.len() + self.changes.len() + self.under_way.len()
    }

    /// Reports that were given up so far.
    pub(super) fn lost(&self) -> u64 {
        self.changes.lost_in_all()
    }

    fn take_status(&mut self, now: Instant) -> Option<UnderWay> {
        let under_way: Vec<&SyncKey> = self.under_way.values().filter_map(UnderWay::status).collect();
        if !self.status_pause.is_over(now) || under_way.len() >= UNDER_WAY_MAX {
            return None;
        }
        let (key, waiting) = self.statuses.take_first_where(|key| !under_way.contains(&key))?;
        Some(UnderWay::Status(key, waiting))
    }

    fn take_change(&mut self, now: Instant) -> Option<UnderWay> {
        let under_way: Vec<_> =
            self.under_way.values().filter_map(UnderWay::change).map(|change| change.kind).collect();
        if !self.change_pause.is_over(now) || under_way.len() >= UNDER_WAY_MAX {
            return None;
        }
        let waiting = self.changes.take_first_where(|kind| !under_way.contains(&kind))?;
        Some(UnderWay::Change(waiting))
    }

    /// Numbers and signs what goes for the first time; `None` where that is impossible.
    fn seal(&mut self, mut taken: UnderWay, at: Timestamp) -> Option<Sealed> {
        let cluster = self.writer.cluster().clone();
        let sealed = match &mut taken {
            UnderWay::Status(_, Waiting { sealed: Some(sealed), .. })
            | UnderWay::Change(Waiting { sealed: Some(sealed), .. }) => Ok(sealed.clone()),
            UnderWay::Status((namespace, name), waiting) => {
                let subject = subject::status(&cluster, namespace, name);
                let ttl = waiting.report.deleted.then_some(TOMBSTONE_TTL);
                let sealed = self.writer.seal(subject, at, &waiting.report).map(|sealed| Sealed { ttl, ..sealed });
                sealed.inspect(|sealed| waiting.sealed = Some(sealed.clone()))
            }
            UnderWay::Change(waiting) => {
                let subject = subject::event(&cluster, waiting.report.kind);
                let sealed = self.writer.seal(subject, at, &waiting.report);
                sealed.inspect(|sealed| waiting.sealed = Some(sealed.clone()))
            }
        };
        match sealed {
            Ok(sealed) => {
                self.under_way.insert(sealed.sequence, taken);
                Some(sealed)
            }
            Err(error) => {
                tracing::error!(error = chain(&error), "a report cannot be sealed");
                match taken {
                    UnderWay::Status(..) => self.changes.lose_status(at),
                    UnderWay::Change(waiting) => self.changes.lose(&waiting, at),
                }
                None
            }
        }
    }
}

impl UnderWay {
    fn status(&self) -> Option<&SyncKey> {
        if let Self::Status(key, _) = self { Some(key) } else { None }
    }

    fn change(&self) -> Option<&ChangeEvent> {
        if let Self::Change(waiting) = self { Some(&waiting.report) } else { None }
    }
}

/// Whether a report that failed is worth another attempt.
fn keeps<P>(waiting: &mut Waiting<P>, failure: Failure) -> bool {
    match failure {
        Failure::Later => true,
        Failure::Denied => false,
        Failure::Refused => {
            waiting.refusals += 1;
            waiting.refusals < REFUSALS_MAX
        }
    }
}

#[cfg(test)]
mod tests {
    use towline_proto::envelope::open;
    use towline_proto::{ClusterName, EventKind, Readiness, ReadyStatus, ReportingKey, Rising};

    use super::super::changes::sample;
    use super::*;

    const AT: Timestamp = Timestamp::UNIX_EPOCH;

    fn outgoing() -> Outgoing {
        let key = ReportingKey::from_seed(&[1; 32]);
        Outgoing::new(Writer::new(ClusterName::parse("prod").unwrap(), key, 9))
    }

    fn status(name: &str, generation: i64) -> Report {
        Report::Status(SyncStatus {
            version: SyncStatus::VERSION,
            cluster: ClusterName::parse("prod").unwrap(),
            namespace: "apps".to_owned(),
            name: name.to_owned(),
            generation,
            ready: Readiness { status: ReadyStatus::True, reason: String::new(), message: String::new() },
            source: None,
            last_applied_revision: None,
            last_attempted_revision: None,
            sequence: None,
            inventory_entries: 0,
            at: AT,
            deleted: name == "gone",
        })
    }

    fn change(kind: EventKind, message: &str) -> Report {
        Report::Change(sample(kind, message))
    }

    fn all(outgoing: &mut Outgoing, now: Instant) -> Vec<Sealed> {
        std::iter::from_fn(|| outgoing.next(now, AT)).collect()
    }

    fn generation(sealed: &Sealed) -> i64 {
        let key = ReportingKey::from_seed(&[1; 32]).verifying_key();
        open(&sealed.bytes, &sealed.subject, &key).unwrap().payload::<SyncStatus>().unwrap().generation
    }

    #[test]
    fn the_newest_status_of_each_sync_and_one_at_a_time() {
        let (mut outgoing, now) = (outgoing(), Instant::now());
        [status("web", 1), status("db", 1), status("web", 2)].into_iter().for_each(|report| outgoing.put(report, AT));
        let sent = all(&mut outgoing, now);
        assert_eq!(sent.iter().map(generation).collect::<Vec<_>>(), [2, 1]);
        outgoing.put(status("web", 3), AT);
        assert!(outgoing.next(now, AT).is_none(), "the one before is under way");
        outgoing.stored(sent[0].sequence);
        assert_eq!(generation(&outgoing.next(now, AT).unwrap()), 3);
        assert_eq!(outgoing.len(), 2);
    }

    #[test]
    fn what_failed_is_repeated_as_it_was_unless_there_is_something_newer() {
        let (mut outgoing, now) = (outgoing(), Instant::now());
        outgoing.put(status("web", 1), AT);
        let first = outgoing.next(now, AT).unwrap();
        outgoing.failed(first.sequence, Failure::Later, now, AT);
        assert!(outgoing.next(now, AT).is_none());
        let later = outgoing.deadline(now).unwrap();
        assert_eq!(outgoing.next(later, AT), Some(first.clone()), "the same bytes under the same id");
        outgoing.put(status("web", 2), AT);
        outgoing.failed(first.sequence, Failure::Later, later, AT);
        outgoing.connected();
        let second = outgoing.next(later, AT).unwrap();
        assert_eq!((generation(&second), outgoing.len()), (2, 1));
        assert!(second.sequence > first.sequence && second.id != first.id);
    }

    #[test]
    fn a_lane_that_waits_does_not_hold_up_the_other() {
        let (mut outgoing, now) = (outgoing(), Instant::now());
        outgoing.put(status("web", 1), AT);
        let sent = outgoing.next(now, AT).unwrap();
        outgoing.failed(sent.sequence, Failure::Later, now, AT);
        outgoing.put(change(EventKind::Applied, "one"), AT);
        outgoing.put(change(EventKind::Applied, "two"), AT);
        outgoing.put(change(EventKind::Failed, "three"), AT);
        let subjects: Vec<String> = all(&mut outgoing, now).into_iter().map(|sealed| sealed.subject).collect();
        assert_eq!(subjects, ["towline.event.prod.applied", "towline.event.prod.failed"], "one per subject");
    }

    #[test]
    fn numbers_rise_on_every_subject_whatever_fails() {
        let (mut outgoing, now) = (outgoing(), Instant::now());
        let key = ReportingKey::from_seed(&[1; 32]).verifying_key();
        (0..5).for_each(|number| outgoing.put(change(EventKind::Applied, &number.to_string()), AT));
        let (mut rising, mut messages) = (Rising::default(), Vec::new());
        for attempt in 0_usize.. {
            outgoing.connected();
            let Some(sealed) = outgoing.next(now, AT) else { break };
            if attempt % 3 == 0 {
                outgoing.failed(sealed.sequence, Failure::Later, now, AT);
                continue;
            }
            outgoing.stored(sealed.sequence);
            let opened = open(&sealed.bytes, &sealed.subject, &key).unwrap();
            rising.accept(&opened).unwrap();
            messages.push(opened.payload::<ChangeEvent>().unwrap().message);
        }
        assert_eq!(messages, ["0", "1", "2", "3", "4"]);
    }

    #[test]
    fn what_is_refused_or_denied_for_good_is_lost_and_announced() {
        let (mut outgoing, now) = (outgoing(), Instant::now());
        outgoing.put(change(EventKind::Applied, "too large"), AT);
        for _ in 0..REFUSALS_MAX {
            outgoing.connected();
            let sealed = outgoing.next(now, AT).unwrap();
            outgoing.failed(sealed.sequence, Failure::Refused, now, AT);
        }
        outgoing.put(status("web", 1), AT);
        let sent = all(&mut outgoing, now);
        let status = sent.iter().find(|sealed| sealed.subject.starts_with("towline.status.")).unwrap();
        assert!(sent.iter().any(|sealed| sealed.subject == "towline.event.prod.reports-lost"), "{sent:?}");
        outgoing.denied(&status.subject, now, AT);
        outgoing.denied("towline.status.of.somebody.else", now, AT);
        assert_eq!(outgoing.len(), 1, "the announcement is under way");
    }

    #[test]
    fn a_tombstone_does_not_stay_for_ever_and_heartbeats_are_numbered_too() {
        let (mut outgoing, now) = (outgoing(), Instant::now());
        outgoing.put(status("gone", 1), AT);
        outgoing.put(status("here", 1), AT);
        let sent = all(&mut outgoing, now);
        assert_eq!((sent[0].ttl, sent[1].ttl), (Some(TOMBSTONE_TTL), None));
        let heartbeat = Heartbeat {
            version: Heartbeat::VERSION,
            cluster: ClusterName::parse("prod").unwrap(),
            agent_version: "1".to_owned(),
            started_at: AT,
            at: AT,
            syncs: 1,
            ready: 1,
            sources: 1,
        };
        assert_eq!(outgoing.heartbeat(heartbeat, AT).unwrap().sequence, sent[1].sequence + 1);
        assert_eq!(outgoing.len(), 2, "nobody waits for a heartbeat");
    }
}
