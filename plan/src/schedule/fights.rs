//! Objects that others change back as often as we correct them.
//!
//! Knows how often each object was corrected, when that is a fight, and how long drift then waits. Must not know who the other
//! is: what happened to an object comes in words.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::{after, backoff};
use crate::diff::Drift;
use crate::object::ObjectId;

/// Corrections of one object within [`WITHIN`] that are no fight yet: a person who tries it out again and again never waits.
const CORRECTIONS_MAX: usize = 5;
const WITHIN: SignedDuration = SignedDuration::from_secs(60);
/// First wait between corrections in a fight; doubles up to the retry interval.
const AGAIN_AFTER: SignedDuration = SignedDuration::from_secs(1);

/// What was corrected lately, of one Sync. At most everything it owns.
#[derive(Debug, Clone, Default)]
pub struct Fights(BTreeMap<ObjectId, Corrections>);

#[derive(Debug, Clone)]
struct Corrections {
    /// The newest ones, oldest first.
    at: Vec<Timestamp>,
    /// Since it is a fight: how often it was corrected.
    rounds: u32,
    /// What had happened to it.
    what: Drift,
}

impl Corrections {
    fn last(&self) -> Timestamp {
        self.at.last().copied().unwrap_or(Timestamp::MIN)
    }
}

/// How long an object has to be left in peace for a fight to be over: longer than the longest wait between two corrections,
/// which would end it otherwise.
fn calm(retry_interval: SignedDuration) -> SignedDuration {
    WITHIN.max(retry_interval.saturating_mul(2))
}

impl Fights {
    /// Objects were put back as Git says, for whatever reason a pass ran. Answers with those over which a fight begins by that.
    pub fn corrected(
        &mut self,
        objects: impl IntoIterator<Item = (ObjectId, Drift)>,
        retry_interval: SignedDuration,
        now: Timestamp,
    ) -> Vec<ObjectId> {
        self.forget(retry_interval, now);
        let mut begun = Vec::new();
        for (id, what) in objects {
            let one =
                self.0.entry(id.clone()).or_insert(Corrections { at: Vec::new(), rounds: 0, what: Drift::default() });
            one.at.retain(|at| now.duration_since(*at) <= WITHIN);
            one.at.push(now);
            one.what = what;
            if one.rounds > 0 {
                one.rounds = one.rounds.saturating_add(1);
            } else if one.at.len() > CORRECTIONS_MAX {
                one.rounds = 1;
                begun.push(id);
            }
            // More are not counted, so that this is a bound.
            let more = one.at.len().saturating_sub(CORRECTIONS_MAX + 1);
            one.at.drain(..more);
        }
        begun
    }

    /// What is over is forgotten.
    pub fn forget(&mut self, retry_interval: SignedDuration, now: Timestamp) {
        let calm = calm(retry_interval);
        self.0.retain(|_, one| now.duration_since(one.last()) < calm);
    }

    /// The fights that go on, with what happens to each object.
    pub fn going_on(&self) -> impl Iterator<Item = (&ObjectId, &Drift)> {
        self.0.iter().filter(|(_, one)| one.rounds > 0).map(|(id, one)| (id, &one.what))
    }

    /// When the first of them will be over, if nothing happens.
    #[must_use]
    pub fn over_at(&self, retry_interval: SignedDuration) -> Option<Timestamp> {
        let fought = self.0.values().filter(|one| one.rounds > 0);
        fought.map(|one| after(one.last(), calm(retry_interval))).min()
    }

    /// Until when drift is not put back: each round of the fiercest fight takes longer than the one before.
    #[must_use]
    pub fn drift_waits_until(&self, retry_interval: SignedDuration) -> Option<Timestamp> {
        let fought = self.0.values().filter(|one| one.rounds > 0);
        fought.map(|one| after(one.last(), backoff(AGAIN_AFTER, retry_interval, one.rounds))).max()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::object::GroupKind;

    const RETRY: SignedDuration = SignedDuration::from_secs(60);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    fn id(n: usize) -> ObjectId {
        ObjectId { kind: GroupKind::new("", "ConfigMap"), namespace: None, name: format!("c{n}") }
    }

    fn corrected(fights: &mut Fights, n: usize, now: i64) -> usize {
        fights.corrected([(id(n), "it was changed by kubectl".to_owned().into())], RETRY, at(now)).len()
    }

    #[test]
    fn the_sixth_correction_within_a_minute_is_a_fight_told_once() {
        let mut fights = Fights::default();
        let told: Vec<_> = (0..12).map(|now| corrected(&mut fights, 0, now)).collect();
        assert_eq!(told, [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(fights.going_on().collect::<Vec<_>>(), [(&id(0), &"it was changed by kubectl".to_owned().into())]);
    }

    #[test]
    fn every_round_takes_longer_up_to_the_cap_and_peace_ends_it() {
        let (mut fights, mut now, mut waits) = (Fights::default(), 0, Vec::new());
        for _ in 0..14 {
            corrected(&mut fights, 0, now);
            let next = fights.drift_waits_until(RETRY).map_or(now, |until| until.as_second() - 1_000_000);
            waits.push(next - now);
            now = next;
        }
        assert_eq!(waits, [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        let over = fights.over_at(RETRY).unwrap();
        fights.forget(RETRY, over - SignedDuration::from_secs(1));
        assert_eq!(fights.going_on().count(), 1);
        fights.forget(RETRY, over);
        assert_eq!((fights.going_on().count(), fights.drift_waits_until(RETRY)), (0, None));
        assert_eq!(corrected(&mut fights, 0, now + 1_000), 0, "it begins anew");
    }

    #[test]
    fn many_objects_that_drift_once_each_and_one_that_drifts_slowly_are_no_fight() {
        let mut fights = Fights::default();
        assert_eq!((0..50).map(|n| corrected(&mut fights, n, 0)).sum::<usize>(), 0);
        assert_eq!((0..50).map(|n| corrected(&mut fights, 99, n * 15)).sum::<usize>(), 0);
        assert_eq!(fights.drift_waits_until(RETRY), None);
    }

    proptest! {
        /// It is told exactly once between two times of peace, and only after more corrections within a minute than are allowed.
        #[test]
        fn a_fight_is_told_once(gaps in prop::collection::vec(0..90_i64, 1..60)) {
            let (mut fights, mut now, mut times, mut going) = (Fights::default(), 0, Vec::new(), false);
            for gap in gaps {
                now += gap;
                fights.forget(RETRY, at(now));
                going &= fights.going_on().count() > 0;
                times.push(now);
                let begun = corrected(&mut fights, 0, now) == 1;
                let recent = times.iter().filter(|at| now - **at <= 60).count();
                prop_assert_eq!(begun, !going && recent > 5, "{:?}", times);
                going |= begun;
            }
        }
    }
}
