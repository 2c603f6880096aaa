use std::collections::BTreeMap;

use rstest::rstest;

use super::*;

const NOW: i64 = 1_800_000_000;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn minutes_ago(minutes: i64) -> Timestamp {
    Timestamp::from_second(NOW - 60 * minutes).unwrap()
}

/// `guid minutes-ago status`, separated by semicolons; `*` after the guid: a redelivery, `!`: an event other than a
/// push, `-` for a status that is not known.
fn attempts(text: &str) -> Vec<Attempt> {
    let attempt = |(number, line): (usize, &str)| {
        let [guid, minutes, status] = line.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{line}") };
        Attempt {
            id: 100 + number as u64,
            guid: guid.trim_end_matches(['*', '!']).to_owned(),
            delivered_at: minutes_ago(minutes.parse().unwrap()),
            is_redelivery: guid.contains('*'),
            event: if guid.contains('!') { Event::Other } else { Event::Push },
            result: AttemptResult::of_status(status.parse().ok()),
        }
    };
    text.split(';').filter(|line| !line.trim().is_empty()).enumerate().map(attempt).collect()
}

fn decide(attempts: &[Attempt], asked: &Asked, now: Timestamp) -> Decision {
    super::decide(attempts, asked, now, &Bounds::default(), 3)
}

fn told(decision: &Decision) -> String {
    let ask: Vec<String> = decision.ask.iter().map(|r| format!("{}={}", r.guid, r.id)).collect();
    let counts = [
        ("postponed", decision.postponed),
        ("waiting", decision.waiting),
        ("refused", decision.refused),
        ("exhausted", decision.exhausted),
    ];
    let counts = counts.iter().filter(|(_, count)| *count > 0).map(|(name, count)| format!("{name}: {count}"));
    ask.into_iter().chain(counts).collect::<Vec<_>>().join(", ")
}

#[rstest]
#[case::nothing("", "")]
#[case::delivered("a 10 202; b 10 200", "")]
// What another attempt may change: no answer, a timeout, a gateway's word, too much at once.
#[case::not_reached("a 10 0", "a=100")]
#[case::failed("a 10 500; b 9 502; c 8 504", "a=100, b=101, c=102")]
#[case::busy("a 10 503; b 9 429; c 8 408", "a=100, b=101, c=102")]
// What it would not change.
#[case::refused("a 10 400; b 9 401; c 8 403; d 7 404; e 6 413; f 5 302", "refused: 6")]
#[case::not_known_yet("a 10 -", "waiting: 1")]
#[case::of_no_interest("a! 10 503", "")]
// All attempts of a delivery count, in whatever order they are listed.
#[case::redelivered("a* 5 202; a 10 503", "")]
#[case::delivered_and_then_sent_again_in_vain("a* 5 503; a 10 202", "")]
#[case::redelivered_in_vain("a* 5 503; a 10 503", "a=100")]
#[case::refused_at_last("a* 5 401; a 10 503", "refused: 1")]
#[case::refused_at_first("a* 5 503; a 10 401", "a=100")]
#[case::under_way("a* 0 -; a 10 503", "waiting: 1")]
// One minute, four, sixteen, …
#[case::too_soon("a 0 503", "waiting: 1")]
#[case::soon_enough("a 1 503", "a=100")]
#[case::too_soon_again("a* 3 503; a 10 503", "waiting: 1")]
#[case::soon_enough_again("a* 4 503; a 10 503", "a=100")]
#[case::the_third_time("a* 15 503; a* 20 503; a 30 503", "waiting: 1")]
#[case::the_fourth_time("a* 64 503; a* 70 503; a* 80 503; a 90 503", "a=100")]
#[case::enough_is_enough("a* 9 0; a* 9 0; a* 9 0; a* 9 0; a* 9 0; a 350 0", "exhausted: 1")]
// How far back.
#[case::old("a 359 503; b 361 503", "a=100")]
#[case::begun_before_what_is_seen("a* 10 503", "")]
#[case::from_the_future("a -5 503", "waiting: 1")]
// The newest have a place, and the oldest of them goes first.
#[case::too_many("e 2 503; d 3 503; c 4 503; b 5 503; a 6 503", "c=102, d=101, e=100, postponed: 2")]
#[case::by_their_first_attempt("a* 5 503; b 20 503; a 30 503", "a=100, b=101")]
fn scenarios(#[case] listed: &str, #[case] expected: &str) {
    assert_eq!(told(&decide(&attempts(listed), &Asked::default(), now())), expected);
}

/// GitHub says 202 and makes the attempt later, or never.
#[test]
fn what_was_asked_for_counts_as_an_attempt() {
    let listed = attempts("a 20 503");
    let mut asked = Asked::default();
    asked.note("a".to_owned(), minutes_ago(3));
    assert_eq!(told(&decide(&listed, &asked, now())), "waiting: 1");
    asked.forget_before(minutes_ago(2));
    assert_eq!(told(&decide(&listed, &asked, now())), "a=100");
    (0..5).for_each(|_| asked.note("a".to_owned(), minutes_ago(10)));
    assert_eq!(told(&decide(&listed, &asked, now())), "exhausted: 1");
    // The attempt that came of it is not counted twice.
    let mut asked = Asked::default();
    asked.note("a".to_owned(), minutes_ago(5));
    let listed = attempts("a* 4 503; a 20 503");
    assert_eq!(told(&decide(&listed, &asked, now())), "a=100");
}

/// An outage as long as the look back, with a sweep each minute: how often one delivery is asked for.
#[test]
fn a_delivery_that_always_fails_is_asked_for_five_times() {
    let start = minutes_ago(0);
    let mut listed = vec![Attempt { delivered_at: start, ..attempts("a 0 503").remove(0) }];
    let mut asked_at = BTreeMap::new();
    for minute in 0..24 * 60 {
        let now = Timestamp::from_second(NOW + 60 * minute).unwrap();
        for redelivery in decide(&listed, &Asked::default(), now).ask {
            let id = 200 + u64::try_from(minute).unwrap();
            asked_at.insert(minute, redelivery.id);
            listed.insert(0, Attempt { id, delivered_at: now, is_redelivery: true, ..listed[0].clone() });
        }
    }
    assert_eq!(asked_at.into_keys().collect::<Vec<_>>(), [1, 5, 21, 85, 341]);
}
