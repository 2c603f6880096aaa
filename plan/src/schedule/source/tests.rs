use super::*;

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_millisecond((seconds * 1000.0) as i64).unwrap()
}

fn commit(n: u8) -> CommitId {
    CommitId::parse(&format!("{n:02x}").repeat(20)).unwrap()
}

fn source() -> SourceSchedule {
    SourceSchedule::new(SignedDuration::from_secs(300), false, None, at(0.0))
}

/// Fetches when due and says when the next fetch is.
fn fetch(source: &mut SourceSchedule, tip: u8, seconds: f64) -> (Verdict, f64) {
    assert!(source.start(at(seconds)), "not due at {seconds}: {:?}", source.next());
    let verdict = source.fetched(&commit(tip), at(seconds), 0.5);
    (verdict, source.next().unwrap().as_millisecond() as f64 / 1000.0)
}

#[test]
fn polls_at_its_interval() {
    let mut source = source();
    assert_eq!(fetch(&mut source, 1, 0.0), (Verdict::Publish, 300.0));
    assert!(!source.start(at(299.0)));
    assert_eq!(fetch(&mut source, 1, 300.0), (Verdict::Unchanged, 600.0));
}

#[test]
fn one_that_does_not_poll_looks_when_asked_and_until_it_has_found_it() {
    let mut source = source();
    source.poll(false, at(0.0));
    assert!(source.start(at(0.0)));
    source.fetched(&commit(1), at(0.0), 0.5);
    assert_eq!(source.next(), Some(Timestamp::MAX));
    source.wake(Some(commit(2)), at(10.0));
    assert_eq!(fetch(&mut source, 1, 10.0), (Verdict::Unchanged, 10.25));
    assert!(source.start(at(10.25)));
    source.fetched(&commit(2), at(10.25), 0.5);
    assert_eq!(source.next(), Some(Timestamp::MAX));
    source.poll(true, at(20.0));
    assert_eq!(fetch(&mut source, 2, 320.0), (Verdict::Unchanged, 620.0));
}

#[test]
fn an_event_makes_it_look_now() {
    let mut source = source();
    fetch(&mut source, 1, 0.0);
    source.wake(Some(commit(2)), at(10.0));
    assert_eq!(fetch(&mut source, 2, 10.0), (Verdict::Publish, 310.0));
}

#[test]
fn a_host_that_lags_behind_its_event_is_asked_again() {
    let mut source = source();
    fetch(&mut source, 1, 0.0);
    source.wake(Some(commit(2)), at(10.0));
    assert_eq!(fetch(&mut source, 1, 10.0), (Verdict::Unchanged, 10.25));
    assert_eq!(fetch(&mut source, 1, 10.25), (Verdict::Unchanged, 10.75));
    assert_eq!(fetch(&mut source, 2, 10.75), (Verdict::Publish, 310.75));
}

#[test]
fn a_commit_that_never_comes_is_given_up() {
    let mut source = source();
    fetch(&mut source, 1, 0.0);
    source.wake(Some(commit(9)), at(10.0));
    let mut now = 10.0;
    for wait in [0.25, 0.5, 1.0, 2.0, 4.0, 8.0] {
        assert_eq!(fetch(&mut source, 1, now), (Verdict::Unchanged, now + wait));
        now += wait;
    }
    assert_eq!(fetch(&mut source, 1, now), (Verdict::Unchanged, now + 300.0));
}

#[test]
fn an_event_during_a_fetch_is_not_lost() {
    let mut source = source();
    assert!(source.start(at(0.0)));
    source.wake(Some(commit(2)), at(0.1));
    assert!(!source.start(at(0.1)), "one fetch at a time");
    assert_eq!(source.fetched(&commit(1), at(0.2), 0.5), Verdict::Publish);
    assert_eq!(fetch(&mut source, 2, 0.2).0, Verdict::Publish);
}

#[test]
fn a_lagging_replica_does_not_roll_back() {
    let mut source = source();
    fetch(&mut source, 1, 0.0);
    source.wake(None, at(10.0));
    fetch(&mut source, 2, 10.0);
    source.wake(None, at(11.0));
    assert_eq!(fetch(&mut source, 1, 11.0), (Verdict::Doubt, 16.0));
    assert_eq!(fetch(&mut source, 2, 16.0), (Verdict::Unchanged, 316.0));
}

#[test]
fn a_real_force_push_back_is_followed() {
    let mut source = source();
    fetch(&mut source, 1, 0.0);
    source.wake(None, at(10.0));
    fetch(&mut source, 2, 10.0);
    source.wake(None, at(11.0));
    assert_eq!(fetch(&mut source, 1, 11.0), (Verdict::Doubt, 16.0));
    assert_eq!(fetch(&mut source, 1, 16.0).0, Verdict::Publish);
}

#[test]
fn an_event_that_names_what_was_superseded_proves_nothing() {
    let mut source = source();
    fetch(&mut source, 1, 0.0);
    source.wake(Some(commit(2)), at(10.0));
    fetch(&mut source, 2, 10.0);
    // The event of the push before is late, and a replica of the host that lags serves just that.
    source.wake(Some(commit(1)), at(11.0));
    assert_eq!(fetch(&mut source, 1, 11.0), (Verdict::Doubt, 16.0));
    assert_eq!(fetch(&mut source, 2, 16.0).0, Verdict::Unchanged);
}

#[test]
fn the_second_look_is_later_however_often_it_is_woken() {
    let mut source = source();
    fetch(&mut source, 1, 0.0);
    source.wake(None, at(10.0));
    fetch(&mut source, 2, 10.0);
    for now in [11.0, 11.25, 12.0, 15.75] {
        source.wake(None, at(now));
        assert_eq!(fetch(&mut source, 1, now), (Verdict::Doubt, 16.0));
    }
    assert_eq!(fetch(&mut source, 1, 16.0).0, Verdict::Publish);
}

#[test]
fn what_is_looked_for_is_looked_for_while_another_tip_is_doubted() {
    let mut source = source();
    fetch(&mut source, 1, 0.0);
    source.wake(Some(commit(2)), at(10.0));
    fetch(&mut source, 2, 10.0);
    source.wake(Some(commit(3)), at(11.0));
    assert_eq!(fetch(&mut source, 1, 11.0), (Verdict::Doubt, 11.25));
    assert_eq!(fetch(&mut source, 3, 11.25).0, Verdict::Publish);
}

/// Another process recorded commit 2 at this moment.
fn recorded(seconds: f64, now: f64) -> SourceSchedule {
    let recorded = Recorded { tip: commit(2), at: at(seconds) };
    SourceSchedule::new(SignedDuration::from_secs(300), false, Some(recorded), at(now))
}

#[test]
fn after_a_start_any_commit_may_be_one_that_was_superseded_a_moment_ago() {
    let mut source = recorded(1_000.0, 1_010.0);
    assert_eq!(fetch(&mut source, 1, 1_010.0), (Verdict::Doubt, 1_015.0));
    assert_eq!(fetch(&mut source, 2, 1_015.0).0, Verdict::Unchanged);
    source.wake(None, at(1_070.0));
    assert_eq!(fetch(&mut source, 3, 1_070.0).0, Verdict::Publish);
    let mut source = recorded(1_000.0, 1_010.0);
    fetch(&mut source, 3, 1_010.0);
    assert_eq!(fetch(&mut source, 3, 1_015.0).0, Verdict::Publish, "a push while nobody looked");
}

#[test]
fn after_a_start_what_was_recorded_long_ago_is_superseded_at_once() {
    let mut source = recorded(1_000.0, 1_060.0);
    assert_eq!(fetch(&mut source, 3, 1_060.0).0, Verdict::Publish);
    // Its clock was ahead.
    let mut source = recorded(90_000.0, 1_000.0);
    assert_eq!(fetch(&mut source, 2, 1_000.0).0, Verdict::Unchanged);
    source.wake(None, at(1_060.0));
    assert_eq!(fetch(&mut source, 3, 1_060.0).0, Verdict::Publish);
}

#[test]
fn events_without_end_have_the_host_asked_once_a_second_on_average() {
    let (mut source, mut looks) = (source(), 0);
    for n in 0..1_000_u32 {
        let now = f64::from(n) * 0.125;
        source.wake(Some(commit(u8::try_from(n % 200 + 2).unwrap())), at(now));
        if source.start(at(now)) {
            looks += 1;
            source.fetched(&commit(1), at(now), 0.5);
        }
    }
    assert!((100..=140).contains(&looks), "{looks} looks in 125 s");
}

#[test]
fn an_old_commit_superseded_long_ago_needs_no_second_look() {
    let mut source = source();
    fetch(&mut source, 1, 0.0);
    source.wake(None, at(10.0));
    fetch(&mut source, 2, 10.0);
    assert_eq!(fetch(&mut source, 1, 310.0).0, Verdict::Publish);
}

#[test]
fn failures_back_off_up_to_the_interval() {
    let mut source = source();
    let mut now = 0.0;
    for wait in [2.0, 4.0, 8.0, 16.0] {
        assert!(source.start(at(now)));
        source.failed(true, at(now), 0.5);
        now += wait;
        assert_eq!(source.next(), Some(at(now)));
    }
    assert!(source.start(at(now)));
    source.failed(false, at(now), 0.5);
    assert_eq!(source.next(), Some(at(now + 300.0)), "nothing to gain from trying sooner");
}

#[test]
fn a_suspended_source_is_not_fetched() {
    let mut source = source();
    source.configure(SignedDuration::from_secs(300), true, at(1.0));
    source.wake(None, at(2.0));
    assert!(!source.start(at(2.0)));
    source.configure(SignedDuration::from_secs(300), false, at(3.0));
    assert!(source.start(at(3.0)));
}

/// A machine that was suspended, or whose clock was put forward.
#[test]
fn after_days_asleep_it_looks_once_and_not_for_each_poll_it_missed() {
    let mut source = source();
    fetch(&mut source, 1, 0.0);
    let later = 5.0 * 86_400.0;
    assert_eq!(fetch(&mut source, 2, later), (Verdict::Publish, later + 300.0));
    assert!(!source.start(at(later + 1.0)));
    // What failed before is tried at once, and its wait is not longer for the sleep.
    assert!(source.start(at(later + 300.0)));
    source.failed(true, at(later + 300.0), 0.5);
    assert_eq!(fetch(&mut source, 2, 2.0 * later), (Verdict::Unchanged, 2.0 * later + 300.0));
    // An event that came before the sleep is looked after, and its host is not given less time to catch up.
    source.hear(Some(commit(3)), at(2.0 * later), 0.5);
    assert_eq!(fetch(&mut source, 2, 3.0 * later), (Verdict::Unchanged, 3.0 * later + 0.25));
}

#[test]
fn a_fleet_that_hears_one_event_looks_over_some_time() {
    let mut source = source();
    source.spread_over(SignedDuration::from_secs(60));
    fetch(&mut source, 1, 0.0);
    source.hear(Some(commit(2)), at(10.0), 0.5);
    assert!(!source.is_quiet());
    // A burst of events does not make it come sooner.
    (11..30).for_each(|now| source.hear(Some(commit(2)), at(f64::from(now)), 0.0));
    assert_eq!(source.next(), Some(at(40.0)));
    assert_eq!(fetch(&mut source, 2, 40.0), (Verdict::Publish, 340.0));
    // The poll is not put off, and who asks by hand does not wait.
    source.hear(Some(commit(3)), at(330.0), 0.5);
    assert_eq!(fetch(&mut source, 2, 340.0), (Verdict::Unchanged, 340.25));
    source.hear(Some(commit(3)), at(340.1), 0.9);
    source.wake(None, at(340.2));
    assert_eq!(source.next(), Some(at(340.2)));
}

#[test]
fn an_event_during_a_fetch_is_spread_too_and_not_lost() {
    let mut source = source();
    source.spread_over(SignedDuration::from_secs(60));
    assert!(source.start(at(0.0)));
    source.hear(Some(commit(2)), at(1.0), 0.5);
    source.fetched(&commit(1), at(2.0), 0.5);
    assert_eq!(source.next(), Some(at(31.0)));
    assert_eq!(fetch(&mut source, 2, 31.0).0, Verdict::Publish);
}
