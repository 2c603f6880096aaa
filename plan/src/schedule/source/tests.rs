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
fn a_force_push_back_that_an_event_names_is_followed_at_once() {
    let mut source = source();
    fetch(&mut source, 1, 0.0);
    source.wake(Some(commit(2)), at(10.0));
    fetch(&mut source, 2, 10.0);
    source.wake(Some(commit(1)), at(11.0));
    assert_eq!(fetch(&mut source, 1, 11.0).0, Verdict::Publish);
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
