use super::*;
use proptest::prelude::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

const SETTINGS: Settings = Settings {
    interval: SignedDuration::from_secs(600),
    retry_interval: SignedDuration::from_secs(60),
    suspended: false,
};

fn sync() -> SyncSchedule {
    SyncSchedule::new(SETTINGS, 0, at(0))
}

#[test]
fn nothing_runs_without_a_revision() {
    let mut sync = sync();
    assert_eq!(sync.start(at(0)), None);
    sync.offer(1);
    assert_eq!(sync.start(at(0)), Some(Start { sequence: 1, trigger: Trigger::Revision, look: Look::All }));
    assert_eq!(sync.start(at(0)), None, "one pass at a time");
}

#[test]
fn a_newer_revision_cuts_a_pass_short_and_an_older_one_is_nothing() {
    let mut sync = sync();
    sync.offer(5);
    sync.start(at(0));
    assert!(!sync.offer(4));
    assert!(!sync.offer(5));
    assert!(sync.offer(6));
    sync.ended(Ended::Superseded, at(1), 0.5);
    assert_eq!(sync.start(at(1)), Some(Start { sequence: 6, trigger: Trigger::Revision, look: Look::All }));
}

#[test]
fn what_was_attempted_before_a_restart_is_not_undercut() {
    let mut sync = SyncSchedule::new(SETTINGS, 7, at(0));
    assert!(!sync.offer(6));
    assert_eq!(sync.start(at(0)), None);
    sync.offer(7);
    assert_eq!(sync.start(at(0)).map(|s| s.sequence), Some(7));
}

#[test]
fn another_source_counts_for_itself() {
    let mut sync = sync();
    sync.offer(7);
    sync.start(at(0));
    sync.change_source();
    assert!(!sync.offer(3), "the running pass is halted by whoever changed the source");
    assert_eq!(sync.start(at(1)), None, "one pass at a time");
    sync.ended(Ended::Superseded, at(1), 0.5);
    assert_eq!(sync.start(at(1)).map(|s| s.sequence), Some(3));
}

#[test]
fn drift_runs_at_once_and_is_not_lost_during_a_pass() {
    let mut sync = sync();
    sync.offer(1);
    sync.start(at(0));
    sync.want(Trigger::Drift);
    sync.ended(Ended::Succeeded, at(1), 0.5);
    assert_eq!(sync.start(at(1)), Some(Start { sequence: 1, trigger: Trigger::Drift, look: Look::Moved }));
    sync.ended(Ended::Succeeded, at(2), 0.5);
    assert_eq!(sync.next(at(2)), Some(at(601)), "counted from the last look at everything");
    assert_eq!(sync.start(at(601)).map(|s| s.trigger), Some(Trigger::Interval));
}

/// A revision that does not touch the Sync is no reason to forget the others.
#[test]
fn no_reason_to_look_is_lost_to_a_revision() {
    let mut sync = sync();
    let look = |sync: &mut SyncSchedule, now| sync.start(at(now)).map(|s| s.look);
    sync.offer(1);
    assert_eq!(look(&mut sync, 0), Some(Look::All), "nothing is watched after a start");
    sync.ended(Ended::Succeeded, at(1), 0.5);
    sync.offer(2);
    assert_eq!(look(&mut sync, 2), Some(Look::IfTouched));
    sync.want(Trigger::Drift);
    sync.offer(3);
    sync.ended(Ended::Succeeded, at(3), 0.5);
    assert_eq!(look(&mut sync, 3), Some(Look::Moved), "drift and a revision at once");
    sync.offer(4);
    sync.ended(Ended::Superseded, at(4), 0.5);
    assert_eq!(look(&mut sync, 4), Some(Look::Moved), "the drift was not looked at yet");
    sync.ended(Ended::Failed { retryable: false }, at(5), 0.5);
    sync.offer(5);
    assert_eq!(look(&mut sync, 6), Some(Look::Moved), "half a pass may be done");
    sync.ended(Ended::Succeeded, at(7), 0.5);
    sync.offer(6);
    assert_eq!(look(&mut sync, 607), Some(Look::All), "the interval has passed meanwhile");
}

#[test]
fn failures_back_off_and_a_new_revision_starts_afresh() {
    let mut sync = sync();
    sync.offer(1);
    let mut now = 0;
    for wait in [60, 120, 240, 480, 600, 600] {
        sync.start(at(now)).unwrap();
        sync.ended(Ended::Failed { retryable: true }, at(now), 0.5);
        now += wait;
        assert_eq!(sync.next(at(now - 1)), Some(at(now)));
    }
    sync.offer(2);
    assert_eq!(sync.start(at(now - 1)).map(|s| s.sequence), Some(2));
    sync.ended(Ended::Failed { retryable: true }, at(now), 0.5);
    assert_eq!(sync.next(at(now)), Some(at(now + 60)));
}

#[test]
fn a_suspended_sync_rests_and_catches_up() {
    let mut sync = SyncSchedule::new(Settings { suspended: true, ..SETTINGS }, 0, at(0));
    sync.offer(3);
    sync.want(Trigger::Drift);
    assert_eq!(sync.start(at(0)), None);
    sync.configure(SETTINGS);
    assert_eq!(sync.start(at(1)).map(|s| s.sequence), Some(3));
}

proptest! {
    /// Whatever arrives in whatever order: no pass at an older revision ever follows one at a newer.
    #[test]
    fn never_older_after_newer(steps in proptest::collection::vec((0..6_u8, 0..20_u64), 1..80)) {
        let mut sync = sync();
        let (mut now, mut newest) = (0, 0);
        for (what, sequence) in steps {
            match what {
                0 => { sync.offer(sequence); }
                1 => sync.want(Trigger::Drift),
                2 => if sync.is_running() { sync.ended(Ended::Superseded, at(now), 0.5) },
                3 => if sync.is_running() { sync.ended(Ended::Failed { retryable: true }, at(now), 0.5) },
                4 => if sync.is_running() { sync.ended(Ended::Succeeded, at(now), 0.5) },
                _ => {
                    now += 100;
                    if let Some(start) = sync.start(at(now)) {
                        prop_assert!(start.sequence >= newest);
                        newest = start.sequence;
                    }
                }
            }
        }
    }
}
