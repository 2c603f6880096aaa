use proptest::prelude::*;

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).unwrap()
}

fn account(host: &str, login: Option<&str>) -> Account {
    Account { host: host.to_owned(), login: login.map(str::to_owned) }
}

/// Starts as many of these sources at one host as may, numbered from `first`.
fn start(hosts: &mut Hosts<usize>, host: &str, sources: std::ops::Range<usize>, first: u64, now: i64) -> Vec<u64> {
    let account = account(host, None);
    let may = |hosts: &Hosts<usize>| hosts.may_start(&account).is_some_and(|from| from <= at(now));
    let mut started = Vec::new();
    for (number, source) in (first..).zip(sources) {
        if may(hosts) {
            hosts.started(number, &account, &source);
            started.push(number);
        }
    }
    started
}

fn seconds(hosts: &Hosts<usize>, host: &str) -> Option<i64> {
    hosts.may_start(&account(host, None)).map(|from| from.as_second() - 1_000_000)
}

#[test]
fn so_many_at_one_host_and_none_of_it_is_another_hosts() {
    let mut hosts = Hosts::new(4);
    assert_eq!(start(&mut hosts, "slow", 0..9, 1, 0), [1, 2, 3, 4]);
    assert_eq!(hosts.may_start(&account("slow", Some("other"))), None, "whoever asks");
    assert_eq!(start(&mut hosts, "quick", 0..9, 11, 0), [11, 12, 13, 14]);
    hosts.ended(2, Answer::Answered, None, at(1), 0.5);
    assert_eq!(start(&mut hosts, "slow", 4..9, 21, 1), [21]);
    hosts.ended(2, Answer::Answered, None, at(1), 0.5);
    assert_eq!(start(&mut hosts, "slow", 5..9, 31, 1), [] as [u64; 0], "none ends twice");
}

#[test]
fn one_repository_that_fails_is_no_outage() {
    let mut hosts = Hosts::new(4);
    for n in 0..20 {
        assert_eq!(start(&mut hosts, "h", 7..8, n, 0).len(), 1);
        hosts.ended(n, Answer::Outage, None, at(0), 0.5);
    }
    assert_eq!(start(&mut hosts, "h", 0..9, 100, 0).len(), 4, "the others are not held up");
}

#[test]
fn a_host_that_is_down_is_tried_by_one_at_a_time_and_less_and_less_often() {
    let mut hosts = Hosts::new(4);
    let started = start(&mut hosts, "h", 0..100, 0, 0);
    started.iter().for_each(|n| hosts.ended(*n, Answer::Outage, None, at(0), 0.5));
    let (mut waits, mut now) = (Vec::new(), 0);
    for n in 0..9 {
        let next = seconds(&hosts, "h").unwrap();
        assert!(start(&mut hosts, "h", 0..100, 1_000 * (n + 1), next - 1).is_empty());
        let tries = start(&mut hosts, "h", 0..100, 1_000 * (n + 1), next);
        assert_eq!((tries.len(), seconds(&hosts, "h")), (1, None), "one, and it has to end first");
        hosts.ended(tries[0], Answer::Outage, None, at(next), 0.5);
        waits.push(next - now);
        now = next;
    }
    assert_eq!(waits, [2, 4, 8, 16, 32, 64, 120, 120, 120]);
    let next = seconds(&hosts, "h").unwrap();
    let tries = start(&mut hosts, "h", 0..100, 50_000, next);
    hosts.ended(tries[0], Answer::Answered, None, at(next), 0.5);
    assert_eq!(start(&mut hosts, "h", 0..100, 60_000, next).len(), 4, "it is back: the others follow");
}

#[test]
fn tries_are_spread_and_what_is_not_the_hosts_fault_changes_nothing() {
    let mut hosts = Hosts::new(4);
    let down = |hosts: &mut Hosts<usize>, dice: f64| {
        let started = start(hosts, "h", 0..2, 0, 0);
        started.iter().for_each(|n| hosts.ended(*n, Answer::Outage, None, at(0), dice));
        hosts.may_start(&account("h", None)).unwrap().duration_since(at(0)).as_millis()
    };
    assert_eq!(down(&mut hosts.clone(), 0.0), 1_800);
    assert_eq!(down(&mut hosts, 1.0), 2_200);
    let tries = start(&mut hosts, "h", 0..1, 10, 3);
    hosts.ended(tries[0], Answer::NotAsked, None, at(3), 0.5);
    assert_eq!(start(&mut hosts, "h", 0..9, 20, 3).len(), 1, "still one at a time");
}

#[test]
fn what_a_host_asks_for_holds_for_all_sources_of_the_account() {
    let mut hosts: Hosts<usize> = Hosts::new(4);
    let (ours, theirs) = (account("h", Some("ns/token")), account("h", None));
    let mut told = |account: &Account, wait: i64, dice: f64| {
        hosts.started(1, account, &7);
        hosts.ended(1, Answer::Answered, Some(SignedDuration::from_secs(wait)), at(0), dice);
        hosts.may_start(account)
    };
    told(&ours, 100, 0.5);
    assert_eq!(told(&ours, 10, 0.5), Some(at(105)), "the longest, and within a tenth of it");
    assert_eq!(told(&account("over", None), 0, 1.0), Some(at(5)), "not all at the same moment");
    assert_eq!(
        told(&account("wrong", None), i64::MAX, 0.0),
        Some(at(3_600)),
        "a header that is wrong does not end the polls"
    );
    assert_eq!(told(&account("wrong", None), i64::MAX, 1.0), Some(at(3_960)));
    assert_eq!(hosts.may_start(&theirs), Some(Timestamp::MIN));
    assert_eq!(hosts.may_start(&account("other", Some("ns/token"))), Some(Timestamp::MIN));
    hosts.keep(&BTreeSet::from(["other".to_owned()]));
    assert_eq!(hosts.may_start(&ours), Some(Timestamp::MIN));
}

#[test]
fn after_days_asleep_nothing_is_waited_for_and_a_host_that_was_down_is_tried_by_one() {
    let mut hosts = Hosts::new(4);
    start(&mut hosts, "h", 0..2, 0, 0).iter().for_each(|n| hosts.ended(*n, Answer::Outage, None, at(0), 0.5));
    hosts.started(9, &account("g", None), &1);
    hosts.ended(9, Answer::Answered, Some(SignedDuration::from_hours(1)), at(0), 0.5);
    let later = 5 * 86_400;
    assert!(seconds(&hosts, "g").is_some_and(|from| from < later));
    assert_eq!(start(&mut hosts, "h", 0..9, 10, later), [10]);
    hosts.ended(10, Answer::Answered, None, at(later), 0.5);
    assert_eq!(start(&mut hosts, "h", 0..9, 20, later).len(), 4);
}

#[test]
fn a_host_is_what_is_connected_to() {
    for (url, host) in [
        ("https://Git.Example/org/repo.git", "git.example"),
        ("https://user:pass@git.example:8443/org/repo", "git.example:8443"),
        ("ssh://git@git.example:2222/org/repo", "git.example:2222"),
        ("git@git.example:org/repo.git", "git.example"),
        ("https://[::1]:3000/x", "[::1]:3000"),
        ("https://git.example", "git.example"),
    ] {
        assert_eq!(host_of(url), host, "{url}");
    }
}

proptest! {
    /// Never more at once than may be, whatever happens, and a host always may be asked again once nobody works there.
    #[test]
    fn a_host_is_never_asked_by_too_many_nor_forgotten(steps in prop::collection::vec((0..4_u8, 0..6_usize, 0..40_i64), 1..200)) {
        let (mut hosts, mut now, mut number, mut working) = (Hosts::new(3), 0, 0, Vec::new());
        for (what, source, wait) in steps {
            now += wait;
            if what == 0 {
                if hosts.may_start(&account("h", None)).is_some_and(|from| from <= at(now)) {
                    number += 1;
                    hosts.started(number, &account("h", None), &source);
                    working.push(number);
                }
            } else if let Some(n) = working.pop() {
                let answer = [Answer::Answered, Answer::Outage, Answer::NotAsked][usize::from(what) - 1];
                hosts.ended(n, answer, None, at(now), 0.5);
            }
            prop_assert!(working.len() <= 3);
            let limit = at(now + 132);
            prop_assert!(!working.is_empty() || hosts.may_start(&account("h", None)).is_some_and(|from| from <= limit));
        }
    }
}
