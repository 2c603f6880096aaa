use super::*;
use proptest::prelude::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

const SETTINGS: Settings = Settings {
    interval: SignedDuration::from_secs(600),
    retry_interval: SignedDuration::from_secs(60),
    timeout: SignedDuration::from_secs(300),
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
    assert_eq!(
        sync.start(at(0)),
        Some(Start { sequence: 1, trigger: Trigger::Revision, look: Look::All, waiting_since: None })
    );
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
    assert_eq!(
        sync.start(at(1)),
        Some(Start { sequence: 6, trigger: Trigger::Revision, look: Look::All, waiting_since: None })
    );
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
    assert_eq!(
        sync.start(at(1)),
        Some(Start { sequence: 1, trigger: Trigger::Drift, look: Look::Moved, waiting_since: None })
    );
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
    assert_eq!(look(&mut sync, 607), Some(Look::Listed), "the interval has passed meanwhile");
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
fn who_was_outrun_looks_again_soon_and_not_for_ever() {
    let mut sync = sync();
    sync.offer(1);
    for round in 0..2 {
        let mut now = 2_000 * round;
        for wait in [1, 2, 4, 8, 60, 120] {
            sync.start(at(now)).unwrap();
            sync.ended(Ended::Outrun, at(now), 0.5);
            now += wait;
            assert_eq!(sync.next(at(now - wait)), Some(at(now)));
        }
        sync.start(at(now)).unwrap();
        sync.ended(Ended::Succeeded, at(now), 0.5);
    }
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

/// Whatever ends without success, and however often in between: everything is looked at once per interval.
#[test]
fn a_sync_that_does_not_succeed_is_looked_at_in_full_at_the_interval() {
    for retryable in [false, true] {
        let mut sync = sync();
        sync.offer(1);
        sync.start(at(0));
        sync.ended(Ended::Succeeded, at(0), 0.5);
        for (revision, now) in [(2, 200), (3, 400), (4, 590)] {
            sync.offer(revision);
            assert_eq!(sync.start(at(now)).map(|s| s.trigger), Some(Trigger::Revision));
            sync.ended(Ended::Failed { retryable }, at(now), 0.5);
        }
        assert_eq!(sync.next(at(590)), Some(at(600)));
        let full = sync.start(at(600)).unwrap();
        assert_eq!((full.trigger, full.look), (Trigger::Interval, Look::Listed));
        sync.ended(Ended::Failed { retryable }, at(601), 0.5);
        assert!(sync.next(at(601)) > Some(at(601)), "not again at once");
    }
}

#[test]
fn a_wait_ends_when_something_moves_or_at_the_timeout_and_a_newer_revision_ends_it_at_once() {
    let mut sync = sync();
    sync.offer(1);
    sync.start(at(0));
    sync.ended(Ended::Waiting { bounded: true, blind: false, looked: true }, at(10), 0.5);
    assert!(sync.is_waiting());
    assert_eq!(sync.next(at(11)), Some(at(310)), "nothing runs while nothing moves");
    sync.want(Trigger::Progress);
    let start = Start { sequence: 1, trigger: Trigger::Progress, look: Look::Moved, waiting_since: Some(at(10)) };
    assert_eq!(sync.start(at(20)), Some(start));
    sync.ended(Ended::Waiting { bounded: true, blind: false, looked: true }, at(21), 0.5);
    assert_eq!(sync.start(at(309)), None);
    assert_eq!(sync.start(at(310)), Some(start), "waited for long enough, from the first pass that waited");
    assert!(sync.offer(2), "a newer revision waits for nothing");
    sync.ended(Ended::Superseded, at(311), 0.5);
    let newer = sync.start(at(311)).unwrap();
    assert_eq!((newer.sequence, newer.waiting_since), (2, None));
    sync.ended(Ended::Succeeded, at(312), 0.5);
    assert!(!sync.is_waiting());
}

#[test]
fn what_moves_while_a_pass_runs_counts_only_if_the_pass_ends_waiting() {
    let waiting = Ended::Waiting { bounded: true, blind: false, looked: true };
    let mut sync = sync();
    sync.offer(1);
    sync.start(at(0));
    sync.progressed();
    sync.ended(Ended::Succeeded, at(1), 0.5);
    assert_eq!(sync.start(at(1)), None, "nothing waits for it");
    assert!(!sync.progressed());
    assert_eq!(sync.start(at(2)), None, "nor now");
    sync.offer(2);
    sync.start(at(3));
    sync.progressed();
    sync.ended(waiting, at(4), 0.5);
    assert_eq!(sync.start(at(4)).map(|s| s.trigger), Some(Trigger::Progress), "the pass may have looked too early");
    sync.ended(waiting, at(5), 0.5);
    assert_eq!(sync.start(at(5)), None);
    assert!(sync.progressed());
    assert_eq!(sync.start(at(6)).map(|s| s.trigger), Some(Trigger::Progress));
}

#[test]
fn a_wait_for_other_syncs_has_no_end() {
    let mut sync = sync();
    sync.offer(1);
    sync.start(at(0));
    sync.ended(Ended::Waiting { bounded: false, blind: false, looked: true }, at(10), 0.5);
    assert_eq!(sync.next(at(11)), Some(at(610)), "the interval");
    sync.want(Trigger::Progress);
    assert_eq!(sync.start(at(400)).unwrap().waiting_since, None);
    sync.ended(Ended::Waiting { bounded: true, blind: false, looked: true }, at(401), 0.5);
    sync.want(Trigger::Progress);
    assert_eq!(sync.start(at(402)).unwrap().waiting_since, Some(at(401)), "counted from where the bounded wait began");
}

#[test]
fn drift_that_is_fought_over_waits_and_nothing_else_does() {
    let mut sync = sync();
    sync.offer(1);
    sync.start(at(0));
    sync.ended(Ended::Succeeded, at(0), 0.5);
    sync.put_off_drift(Some(at(30)));
    sync.want(Trigger::Drift);
    assert_eq!((sync.next(at(1)), sync.start(at(29))), (Some(at(30)), None));
    sync.offer(2);
    let start = sync.start(at(2)).unwrap();
    assert_eq!((start.trigger, start.look), (Trigger::Revision, Look::Moved), "drift goes along");
    sync.ended(Ended::Succeeded, at(3), 0.5);
    sync.want(Trigger::Drift);
    assert_eq!(sync.start(at(30)).map(|start| start.trigger), Some(Trigger::Drift));
    sync.ended(Ended::Succeeded, at(30), 0.5);
    sync.put_off_drift(None);
    sync.want(Trigger::Drift);
    assert_eq!(sync.next(at(31)), Some(at(31)));
}

#[test]
fn what_is_overdue_is_tried_again_and_goes_on_when_something_moves() {
    let mut sync = sync();
    sync.offer(1);
    sync.start(at(0));
    sync.ended(Ended::Waiting { bounded: true, blind: false, looked: true }, at(10), 0.5);
    assert_eq!(sync.next(at(11)), Some(at(310)), "the timeout");
    let start = sync.start(at(310)).unwrap();
    assert_eq!((start.trigger, start.waiting_since), (Trigger::Progress, Some(at(10))));
    sync.ended(Ended::Overdue, at(310), 0.5);
    assert!(sync.is_waiting());
    assert_eq!(sync.next(at(311)), Some(at(370)), "the retry interval, and no timeout again");
    sync.want(Trigger::Progress);
    let start = sync.start(at(312)).unwrap();
    assert_eq!(start.waiting_since, Some(at(10)), "it does not wait anew");
    sync.ended(Ended::Overdue, at(312), 0.5);
    assert_eq!(sync.next(at(313)), Some(at(432)), "less often");
    assert!(!sync.offer(2));
    assert_eq!(sync.start(at(313)).unwrap().waiting_since, None, "another revision has its own time");
}

#[test]
fn what_cannot_be_seen_to_move_is_looked_at_again() {
    let mut sync = sync();
    sync.offer(1);
    sync.start(at(0));
    sync.ended(Ended::Waiting { bounded: true, blind: true, looked: true }, at(10), 0.5);
    assert_eq!(sync.next(at(11)), Some(at(70)));
}

#[test]
fn commits_that_come_faster_than_a_pass_is_long_cut_three_of_them_short() {
    let mut sync = sync();
    let (mut revision, mut cuts) = (1, Vec::new());
    sync.offer(1);
    for now in 0..9 {
        sync.start(at(now)).unwrap();
        let cut = [sync.offer(revision + 1), sync.offer(revision + 2)];
        assert_eq!(cut[0], cut[1], "once is enough, and never is never");
        revision += 2;
        cuts.push(cut[0]);
        sync.ended(if cut[0] { Ended::Superseded } else { Ended::Succeeded }, at(now), 0.5);
    }
    assert_eq!(cuts, [true, true, true, false, true, true, true, false, true]);
    assert_eq!(sync.start(at(9)).map(|start| start.sequence), Some(revision));
}

#[test]
fn what_a_pass_came_to_that_a_newer_revision_let_end_does_not_keep_that_waiting() {
    let mut sync = sync();
    sync.offer(1);
    for now in 0..3 {
        sync.start(at(now));
        sync.offer(now as u64 + 2);
        sync.ended(Ended::Superseded, at(now), 0.5);
    }
    sync.start(at(3));
    assert!(!sync.offer(9));
    sync.ended(Ended::Waiting { bounded: true, blind: false, looked: true }, at(4), 0.5);
    let newest = sync.start(at(5)).unwrap();
    assert_eq!((newest.sequence, newest.waiting_since), (9, None));
}

#[test]
fn a_wait_before_anything_was_looked_at_still_owes_the_look() {
    let mut sync = sync();
    let blocked = Ended::Waiting { bounded: false, blind: false, looked: false };
    sync.offer(1);
    sync.start(at(0));
    sync.ended(blocked, at(1), 0.5);
    assert!(sync.next(at(1)) > Some(at(500)), "it is no reason to run");
    sync.want(Trigger::Progress);
    assert_eq!(sync.start(at(2)).map(|start| start.look), Some(Look::All));
    sync.ended(Ended::Waiting { bounded: true, blind: false, looked: true }, at(3), 0.5);
    sync.want(Trigger::Progress);
    assert_eq!(sync.start(at(4)).map(|start| start.look), Some(Look::Moved));
}

#[test]
fn what_was_looked_at_is_not_owed_again_where_deletions_are_held_or_something_is_not_healthy() {
    for how in [Ended::Held, Ended::Overdue] {
        let mut sync = sync();
        sync.offer(1);
        assert_eq!(sync.start(at(0)).map(|start| start.look), Some(Look::All));
        sync.ended(how, at(1), 0.5);
        sync.want(Trigger::Drift);
        assert_eq!(sync.start(at(2)).map(|start| start.look), Some(Look::Moved), "{how:?}");
        sync.ended(how, at(3), 0.5);
        assert_eq!(sync.start(at(700)).map(|start| start.look), Some(Look::Listed));
    }
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

#[test]
fn a_sync_that_leaves_needs_no_revision_and_no_leave() {
    let mut sync = SyncSchedule::new(Settings { suspended: true, ..SETTINGS }, 7, at(0));
    assert_eq!(sync.start(at(0)), None, "suspended, and without a source");
    assert!(!sync.leave(), "nothing runs that has to be cut short");
    assert!(sync.is_leaving());
    let start = sync.start(at(1)).unwrap();
    assert_eq!((start.sequence, start.trigger), (7, Trigger::Settings), "at what it was brought to last");
    assert!(!sync.leave(), "it runs already for that, and begins once");
    sync.ended(Ended::Succeeded, at(2), 0.5);
    assert_ne!(sync.next(at(2)), Some(at(2)), "that it leaves was no reason for a second pass");
}

#[test]
fn leaving_cuts_a_pass_short_and_starts_afresh() {
    let mut sync = sync();
    sync.offer(5);
    sync.start(at(0));
    sync.ended(Ended::Waiting { bounded: true, blind: false, looked: true }, at(1), 0.5);
    sync.want(Trigger::Progress);
    assert!(sync.start(at(2)).is_some_and(|start| start.waiting_since == Some(at(1))));
    assert!(sync.leave(), "what runs applies what is to go");
    sync.ended(Ended::Superseded, at(3), 0.5);
    let start = sync.start(at(3)).unwrap();
    assert_eq!((start.sequence, start.trigger, start.waiting_since), (5, Trigger::Settings, None));
    // What could not be let go of is tried again, without anybody's word.
    sync.ended(Ended::Failed { retryable: true }, at(4), 0.5);
    assert_eq!(sync.next(at(4)), Some(at(64)), "the first wait, whatever failed before");
    sync.offer(6);
    assert_eq!(sync.start(at(64)).map(|start| start.sequence), Some(5), "what Git has now is nothing to it");
}

#[test]
fn who_is_asked_runs_once_also_while_suspended() {
    let mut sync = SyncSchedule::new(Settings { suspended: true, ..SETTINGS }, 0, at(0));
    sync.ask();
    assert_eq!(sync.start(at(0)), None, "it has nothing yet to say anything about");
    sync.offer(1);
    assert!(sync.start(at(0)).is_some());
    // What runs is cut short, as everything of a suspended Sync ends: the answer was in it.
    sync.ended(Ended::Superseded, at(1), 0.5);
    assert_eq!(sync.next(at(1)), None, "it rests again");
    sync.ask();
    assert_eq!(sync.next(at(2)), Some(at(2)));

    // One that is not suspended runs soon, and not before its pass has ended.
    let mut sync = self::sync();
    sync.offer(1);
    sync.start(at(0));
    sync.ask();
    assert_eq!(sync.next(at(0)), None);
    sync.ended(Ended::Succeeded, at(1), 0.5);
    let start = sync.start(at(1)).unwrap();
    assert_eq!((start.trigger, start.look), (Trigger::Progress, Look::Moved));
}

#[test]
fn what_has_come_is_looked_at_at_once_and_then_at_a_pace() {
    let mut sync = sync();
    sync.offer(1);
    sync.start(at(0)).unwrap();
    sync.ended(Ended::Succeeded, at(1), 0.5);
    sync.came(at(2));
    assert_eq!(sync.start(at(2)).unwrap().trigger, Trigger::Progress);
    sync.came(at(2));
    sync.ended(Ended::Waiting { bounded: false, blind: false, looked: true }, at(2), 0.5);
    assert_eq!((sync.next(at(2)), sync.start(at(2))), (Some(at(3)), None));
    assert_eq!(sync.start(at(3)).unwrap().trigger, Trigger::Progress);
    sync.ended(Ended::Succeeded, at(3), 0.5);
    assert!(sync.next(at(4)).is_some_and(|due| due > at(60)), "nothing is left of it");
}
