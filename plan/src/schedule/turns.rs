//! Whose turn it is: so many at once, the pressing first, and nobody for ever behind others.
//!
//! Knows who waits and how many work. Must not know what they do, nor how they are told.

use std::collections::VecDeque;

/// Turns of the pressing in a row while others wait, too: a fifth of all is theirs.
const PRESSING_IN_A_ROW: u32 = 4;

/// How soon somebody's turn has to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Somebody waits for the result: a push, drift, a request, progress.
    Now,
    /// What was tried before, or comes round with time: retries and intervals.
    Later,
}

/// Who works and who waits.
#[derive(Debug)]
pub struct Turns<T> {
    at_once: usize,
    /// Those that have worked for long make room for others, up to this many of them.
    slow_most: usize,
    working: usize,
    slow: usize,
    now: VecDeque<T>,
    later: VecDeque<T>,
    in_a_row: u32,
}

impl<T> Turns<T> {
    #[must_use]
    pub fn new(at_once: usize, slow_most: usize) -> Self {
        let (now, later) = (VecDeque::new(), VecDeque::new());
        Self { at_once, slow_most, working: 0, slow: 0, now, later, in_a_row: 0 }
    }

    /// Somebody wants a turn.
    pub fn ask(&mut self, who: T, urgency: Urgency) {
        match urgency {
            Urgency::Now => self.now.push_back(who),
            Urgency::Later => self.later.push_back(who),
        }
    }

    /// Whose turn comes now; `None`: nobody waits, or as many work as may.
    pub fn start_next(&mut self) -> Option<T> {
        if self.working >= self.at_once {
            return None;
        }
        let is_laters = self.now.is_empty() || self.in_a_row >= PRESSING_IN_A_ROW;
        let next = match is_laters.then(|| self.later.pop_front()).flatten() {
            Some(later) => {
                self.in_a_row = 0;
                later
            }
            None => {
                self.in_a_row = self.in_a_row.saturating_add(1);
                self.now.pop_front()?
            }
        };
        self.working += 1;
        Some(next)
    }

    /// Somebody has worked for long, and lets others work beside it. Answers whether it may: so many of them are borne with.
    pub fn make_room(&mut self) -> bool {
        let may = self.slow < self.slow_most;
        if may {
            self.working = self.working.saturating_sub(1);
            self.slow += 1;
        }
        may
    }

    /// Somebody is done; `made_room`: it worked beside the others at last.
    pub fn done(&mut self, made_room: bool) {
        match made_room {
            true => self.slow = self.slow.saturating_sub(1),
            false => self.working = self.working.saturating_sub(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_pressing_go_first_and_the_others_are_not_forgotten() {
        let mut turns = Turns::new(1, 0);
        (0..3).for_each(|n| turns.ask(format!("retry {n}"), Urgency::Later));
        (0..7).for_each(|n| turns.ask(format!("push {n}"), Urgency::Now));
        let mut order = Vec::new();
        while let Some(who) = turns.start_next() {
            order.push(who);
            turns.done(false);
        }
        let expected =
            ["push 0", "push 1", "push 2", "push 3", "retry 0", "push 4", "push 5", "push 6", "retry 1", "retry 2"];
        assert_eq!(order, expected);
    }

    #[test]
    fn who_takes_long_makes_room_up_to_a_bound() {
        let mut turns = Turns::new(2, 3);
        (0..9).for_each(|n| turns.ask(n, Urgency::Now));
        let started = |turns: &mut Turns<i32>| std::iter::from_fn(|| turns.start_next()).collect::<Vec<_>>();
        assert_eq!(started(&mut turns), [0, 1]);
        assert!(turns.make_room() && turns.make_room());
        assert_eq!(started(&mut turns), [2, 3]);
        assert!(turns.make_room() && !turns.make_room());
        assert_eq!(started(&mut turns), [4]);
        turns.done(true);
        assert_eq!(started(&mut turns), Vec::<i32>::new());
        turns.done(false);
        assert_eq!(started(&mut turns), [5]);
    }

    proptest! {
        /// Never more at once than may be, in the order of asking within an urgency, and everybody's turn comes.
        #[test]
        fn everybody_has_a_turn(steps in prop::collection::vec(0..4_u8, 1..200)) {
            let (mut turns, mut asked, mut working, mut slow) = (Turns::new(3, 2), 0, Vec::new(), 0_usize);
            let mut seen = [Vec::new(), Vec::new()];
            let mut step = |turns: &mut Turns<(usize, u32)>, what: u8, working: &mut Vec<(usize, u32)>, slow: &mut usize| {
                match what {
                    0 => { turns.ask((0, asked), Urgency::Now); asked += 1; }
                    1 => { turns.ask((1, asked), Urgency::Later); asked += 1; }
                    2 if !working.is_empty() => if turns.make_room() { working.pop(); *slow += 1; },
                    _ if *slow > 0 && working.is_empty() => { turns.done(true); *slow -= 1; }
                    _ => if working.pop().is_some() { turns.done(false); },
                }
                while let Some(who) = turns.start_next() {
                    working.push(who);
                    seen[who.0].push(who.1);
                }
                assert!(working.len() <= 3 && *slow <= 2);
            };
            steps.iter().for_each(|what| step(&mut turns, *what, &mut working, &mut slow));
            (0..400).for_each(|_| step(&mut turns, 3, &mut working, &mut slow));
            prop_assert!(seen.iter().all(|seen| seen.is_sorted()));
            prop_assert_eq!(seen[0].len() + seen[1].len(), asked as usize);
        }
    }
}
