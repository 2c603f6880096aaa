use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const LEASE: Duration = Duration::from_secs(15);

fn s(seconds: u64) -> Uptime {
    Duration::from_secs(seconds)
}

fn sighting(name: &str, renewal: u64) -> Sighting {
    Sighting { name: name.to_owned(), pod: None, renewal: renewal.to_string(), lease: LEASE, released: false }
}

fn members(own: &str) -> Members {
    Members::new(own.to_owned(), None, LEASE)
}

fn names(share: &Share) -> Vec<&str> {
    match share {
        Share::Part { members, .. } => members.iter().map(String::as_str).collect(),
        Share::All => vec!["all"],
        Share::Nothing => Vec::new(),
    }
}

#[test]
fn alone_it_begins_at_once_and_stops_when_it_cannot_renew() {
    let mut a = members("a");
    assert_eq!(a.share(s(100)), Share::Nothing);
    a.renewed(s(100), s(101));
    assert_eq!((names(&a.share(s(101))), a.deadline(s(101))), (vec!["a"], Some(Duration::from_millis(107_500))));
    a.renewed(s(105), s(105));
    assert_eq!(a.next(s(105)), Some(Duration::from_millis(112_500)));
    assert!(a.share(s(112)).owns(Matter::Cluster));
    assert_eq!(a.share(s(113)), Share::Nothing);
    // Nobody else is there: it goes on as soon as it can.
    a.renewed(s(120), s(121));
    assert!(a.share(s(121)).owns(Matter::Cluster));
}

#[test]
fn an_echo_that_comes_too_late_holds_nothing() {
    let mut a = members("a");
    a.renewed(s(100), s(108));
    assert_eq!(a.share(s(108)), Share::Nothing);
}

#[test]
fn a_newcomer_waits_until_the_others_must_have_noticed() {
    let mut b = members("b");
    b.seen(sighting("a", 1), s(10));
    b.renewed(s(10), s(11));
    assert!(b.problem(s(11)).unwrap().contains("a"));
    for now in [15, 20, 25] {
        b.seen(sighting("a", now), s(now));
        b.renewed(s(now), s(now));
        assert_eq!(b.share(s(now)), Share::Nothing);
    }
    assert_eq!(b.next(s(25)), Some(s(26)));
    assert_eq!(names(&b.share(s(26))), ["a", "b"]);
    assert_eq!(b.problem(s(26)), None);
}

#[test]
fn one_that_lapsed_begins_as_a_newcomer() {
    let mut a = members("a");
    a.renewed(s(0), s(0));
    a.seen(sighting("b", 1), s(1));
    a.renewed(s(9), s(9));
    assert_eq!(a.share(s(9)), Share::Nothing, "7.5 s were over before");
    a.renewed(s(14), s(14));
    a.renewed(s(19), s(19));
    assert_eq!((a.share(s(23)), names(&a.share(s(24)))), (Share::Nothing, vec!["a"]), "b has died meanwhile");
}

#[test]
fn who_does_not_renew_is_dead_by_the_own_clock_and_is_cleared_away_later() {
    let mut a = members("a");
    a.seen(sighting("b", 1), s(0));
    a.seen(sighting("b", 2), s(5));
    a.seen(sighting("b", 2), s(15));
    a.renewed(s(16), s(16));
    assert_eq!(a.deadline(s(16)), None, "b is alive");
    assert_eq!(a.abandoned(s(34)), Vec::<String>::new());
    assert_eq!(a.abandoned(s(35)), ["b"]);
    a.gone("b");
    assert_eq!(a.abandoned(s(35)), Vec::<String>::new());
}

#[test]
fn a_released_lease_frees_at_once_and_a_list_shows_what_is_gone() {
    let mut a = members("a");
    a.renewed(s(0), s(0));
    a.seen(sighting("b", 1), s(1));
    a.seen(sighting("c", 1), s(1));
    assert_eq!(names(&a.share(s(2))), ["a", "b", "c"]);
    a.seen(Sighting { released: true, ..sighting("b", 1) }, s(2));
    assert_eq!(names(&a.share(s(2))), ["a", "c"]);
    a.gone("b");
    a.listed(&BTreeSet::from(["a".to_owned()]));
    assert_eq!(names(&a.share(s(2))), ["a", "c"], "c has not released it: somebody has deleted it, and c may not know");
    a.renewed(s(4), s(4));
    a.renewed(s(10), s(10));
    assert_eq!(names(&a.share(s(15))), ["a", "c"]);
    assert_eq!(names(&a.share(s(16))), ["a"]);
    assert_eq!(a.abandoned(s(100)), Vec::<String>::new(), "there is nothing to delete");
    a.listed(&BTreeSet::new());
    assert_eq!(a.share(s(16)), Share::Nothing, "its own Lease was deleted");
}

#[test]
fn a_container_that_was_restarted_does_not_wait_for_the_one_before() {
    let mut new = Members::new("pod-2".to_owned(), Some("pod".to_owned()), LEASE);
    new.seen(Sighting { pod: Some("pod".to_owned()), ..sighting("pod-1", 1) }, s(0));
    new.renewed(s(1), s(1));
    assert_eq!(names(&new.share(s(1))), ["pod-2"]);
    assert_eq!(new.abandoned(s(1)), ["pod-1"]);
}

#[test]
fn a_longer_lease_of_another_is_waited_for() {
    let mut b = members("b");
    b.seen(Sighting { lease: s(60), ..sighting("a", 1) }, s(0));
    b.renewed(s(0), s(0));
    assert_eq!(b.next(s(8)), Some(s(60)));
}

fn key(n: usize) -> SyncKey {
    SyncKey { namespace: "ns".to_owned(), name: format!("sync-{n}") }
}

fn owners(members: &[String], keys: usize) -> Vec<String> {
    let members: BTreeSet<String> = members.iter().cloned().collect();
    (0..keys).map(|n| owner(&members, Matter::Sync(&key(n))).unwrap().clone()).collect()
}

/// The numbers are the same in every version: replicas of two versions work side by side during an upgrade.
#[test]
fn the_division_is_the_same_in_every_version() {
    let members: BTreeSet<String> = ["a", "b", "c"].map(str::to_owned).into();
    let of = |matter: Matter<'_>| owner(&members, matter).unwrap().clone();
    let syncs: String = (0..12).map(|n| of(Matter::Sync(&key(n)))).collect();
    let sources: String = (0..12).map(|n| of(Matter::Source(&key(n)))).collect();
    insta::assert_snapshot!(format!("{syncs} {sources} {}", of(Matter::Cluster)), @"acbababacbac acbabacbbbcb c");
}

#[test]
fn three_replicas_have_about_a_third_each() {
    let all: Vec<String> = ["x", "y", "z"].map(str::to_owned).into();
    let owners = owners(&all, 3_000);
    for member in &all {
        let share = owners.iter().filter(|owner| *owner == member).count();
        assert!((900..1_100).contains(&share), "{member} has {share}");
    }
}

/// Replicas on machines of their own, and what the API server has in its order. A step takes time, writes, or shows a replica
/// the next thing that was written.
struct Cluster {
    now: Duration,
    replicas: Vec<Replica>,
    /// Whose Lease, and what became of it.
    log: Vec<(usize, Written)>,
}

#[derive(Clone, Copy)]
enum Written {
    /// The moment on the writer's clock at which it was sent.
    Renewed(Uptime),
    Released,
    Deleted,
}

struct Replica {
    members: Members,
    booted: Duration,
    /// So much of the log was shown.
    shown: usize,
    /// Sent and not written yet.
    under_way: VecDeque<Uptime>,
    is_gone: bool,
}

fn name(replica: usize) -> String {
    format!("replica-{replica}")
}

impl Cluster {
    fn start(&mut self, booted: u64) {
        let own = self.replicas.len();
        let now = self.now + s(booted);
        let mut members = members(&name(own));
        // Its first list: the newest of each.
        for (other, sent) in &self.log {
            show(&mut members, own, *other, *sent, now);
        }
        let (booted, shown) = (s(booted), self.log.len());
        self.replicas.push(Replica { members, booted, shown, under_way: VecDeque::new(), is_gone: false });
    }

    fn step(&mut self, what: u8, who: usize, amount: u64) {
        let (now, written) = (self.now, self.log.len());
        let (who, count) = (who % self.replicas.len(), self.replicas.len());
        let replica = &mut self.replicas[who];
        let clock = now + replica.booted;
        match what {
            0..=2 => self.now += Duration::from_millis(amount * 100),
            // It is gone, or waits for an answer.
            3..=5 if replica.is_gone || replica.under_way.len() > 1 => {}
            3..=5 => {
                replica.under_way.push_back(clock);
                if what == 3 {
                    self.arrive(who);
                }
            }
            6 => self.arrive(who),
            7..=13 => {
                let upto = if what == 7 { written } else { written.min(replica.shown + 1) };
                for at in replica.shown..upto {
                    let (other, sent) = self.log[at];
                    show(&mut replica.members, who, other, sent, clock);
                }
                replica.shown = upto;
            }
            14 if count < 6 => self.start(amount),
            // It ends well: it writes no more, and then gives its Lease up and deletes it.
            15 if !replica.is_gone && amount.is_multiple_of(4) => {
                replica.is_gone = true;
                replica.under_way.clear();
                self.log.extend([(who, Written::Released), (who, Written::Deleted)]);
            }
            // Somebody deletes a Lease by hand, whoever may write by it.
            17 if amount.is_multiple_of(4) => self.log.push((who, Written::Deleted)),
            16 => {
                let dead = replica.members.abandoned(clock);
                let is_fresh = replica.shown == written;
                let found = (0..self.replicas.len()).find(|other| dead.contains(&name(*other)) && is_fresh);
                self.log.extend(found.map(|other| (other, Written::Deleted)));
            }
            _ => {}
        }
    }

    fn arrive(&mut self, who: usize) {
        if let Some(sent) = self.replicas[who].under_way.pop_front() {
            self.log.push((who, Written::Renewed(sent)));
        }
    }

    /// Who may write for a key now.
    fn writers(&self, matter: Matter<'_>) -> Vec<usize> {
        let may = |replica: &Replica| replica.members.share(self.now + replica.booted).owns(matter);
        (0..self.replicas.len()).filter(|who| !self.replicas[*who].is_gone && may(&self.replicas[*who])).collect()
    }
}

fn show(members: &mut Members, own: usize, other: usize, written: Written, now: Uptime) {
    match written {
        Written::Deleted => members.gone(&name(other)),
        Written::Released => members.seen(Sighting { released: true, ..sighting(&name(other), 0) }, now),
        Written::Renewed(sent) if own == other => members.renewed(sent, now),
        // Renewals say nothing of a moment to others: only that they differ.
        Written::Renewed(sent) => {
            members.seen(Sighting { renewal: format!("{sent:?}"), ..sighting(&name(other), 0) }, now)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn one_member_more_or_less_moves_only_what_it_gets_or_had(
        all in proptest::collection::btree_set("[a-z]{1,8}", 2..8), left in any::<prop::sample::Index>(),
    ) {
        let all: Vec<String> = all.into_iter().collect();
        let gone = left.get(&all).clone();
        let rest: Vec<String> = all.iter().filter(|member| **member != gone).cloned().collect();
        for (before, after) in owners(&all, 100).into_iter().zip(owners(&rest, 100)) {
            prop_assert!(before == after || before == gone);
        }
    }

    /// However late requests and watches are, whoever dies, leaves or comes: never two for one key.
    #[test]
    fn never_two_for_one_key(
        steps in proptest::collection::vec((0..18_u8, 0..6_usize, 0..60_u64), 50..600),
    ) {
        let mut cluster = Cluster { now: s(0), replicas: Vec::new(), log: Vec::new() };
        [1_000, 5, 70_000].into_iter().for_each(|booted| cluster.start(booted));
        let keys: Vec<SyncKey> = (0..8).map(key).collect();
        for (what, who, amount) in steps {
            cluster.step(what, who, amount);
            for key in &keys {
                let writers = cluster.writers(Matter::Sync(key));
                prop_assert!(writers.len() <= 1, "{writers:?} write for {key} at {:?}", cluster.now);
            }
        }
    }
}

/// The law above would hold if nobody ever wrote: with replicas that renew and watches that run, each key has its one.
#[test]
fn with_everything_in_time_each_key_has_its_one() {
    let mut cluster = Cluster { now: s(0), replicas: Vec::new(), log: Vec::new() };
    [1_000, 5, 70_000].into_iter().for_each(|booted| cluster.start(booted));
    for round in 0..20 {
        for who in 0..3 {
            cluster.step(3, who, 0);
        }
        for who in 0..3 {
            cluster.step(7, who, 0);
        }
        let writers: BTreeSet<usize> = (0..40).flat_map(|n| cluster.writers(Matter::Sync(&key(n)))).collect();
        if round > 4 {
            let each: Vec<usize> = (0..40).map(|n| cluster.writers(Matter::Sync(&key(n))).len()).collect();
            assert_eq!((writers.len(), each), (3, vec![1; 40]), "round {round}");
        }
        cluster.now += s(5);
    }
}
