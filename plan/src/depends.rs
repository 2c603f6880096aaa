//! What one Sync needs of others before it may be applied.
//!
//! Knows when a dependency is ready and when dependencies go round in a circle. Must not know where any of it was read.

use std::collections::{BTreeMap, VecDeque};

use crate::object::SyncKey;

/// What is known of a Sync that another one depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// What its Ready condition says of the spec as it is now; `None`: nothing yet.
    pub ready: Option<Said>,
    /// Whether the cluster is known to equal what it reads at the revision that is to be applied; always of another source's.
    pub current: bool,
    pub suspended: bool,
    /// What an expression of its dependent says of it, in place of all that: whether it is ready, or why that cannot be told.
    pub expression: Option<Result<bool, String>>,
}

/// A Ready condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub is_true: bool,
    pub reason: String,
}

/// Why a dependency is not ready; `None`: it is. `None` of one that does not exist.
#[must_use]
pub fn wanting(dependency: Option<&Known>) -> Option<String> {
    let Some(Known { ready, current, suspended, expression }) = dependency else {
        return Some("it does not exist".to_owned());
    };
    match expression {
        Some(Ok(true)) => return None,
        Some(Ok(false)) => return Some("its readyExpr is not true".to_owned()),
        Some(Err(why)) => return Some(format!("its readyExpr {why}")),
        None => {}
    }
    let why = match ready {
        None => "nothing is known of it yet".to_owned(),
        Some(Said { is_true: false, reason }) => format!("not ready: {reason}"),
        Some(Said { is_true: true, .. }) if !current => "not done at this revision".to_owned(),
        Some(Said { is_true: true, .. }) => return None,
    };
    Some(match suspended {
        true => format!("{why}; it is suspended"),
        false => why,
    })
}

/// The shortest way from a Sync along what it depends on back to itself, both ends included; `None`: there is none. Of several
/// the one that is smallest by name.
#[must_use]
pub fn cycle(start: &SyncKey, needs: impl Fn(&SyncKey) -> Vec<SyncKey>) -> Option<Vec<SyncKey>> {
    let mut came_from: BTreeMap<SyncKey, SyncKey> = BTreeMap::new();
    let mut next = VecDeque::from([start.clone()]);
    while let Some(at) = next.pop_front() {
        let mut needed = needs(&at);
        needed.sort();
        for need in needed {
            if need == *start {
                return Some(way_back(start, at, &came_from));
            }
            if !came_from.contains_key(&need) {
                came_from.insert(need.clone(), at.clone());
                next.push_back(need);
            }
        }
    }
    None
}

fn way_back(start: &SyncKey, last: SyncKey, came_from: &BTreeMap<SyncKey, SyncKey>) -> Vec<SyncKey> {
    let mut way = vec![start.clone(), last];
    while let Some(from) = way.last().filter(|at| *at != start).and_then(|at| came_from.get(at)) {
        way.push(from.clone());
    }
    way.reverse();
    way
}

/// `ns/a → ns/b → ns/a`.
#[must_use]
pub fn in_words(cycle: &[SyncKey]) -> String {
    cycle.iter().map(ToString::to_string).collect::<Vec<_>>().join(" → ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sync(n: usize) -> SyncKey {
        SyncKey { namespace: "ns".to_owned(), name: format!("s{n}") }
    }

    fn needs(edges: &[(usize, usize)]) -> impl Fn(&SyncKey) -> Vec<SyncKey> {
        move |at| edges.iter().filter(|(from, _)| sync(*from) == *at).map(|(_, to)| sync(*to)).collect()
    }

    fn ready(is_true: bool) -> Option<Said> {
        Some(Said { is_true, reason: "BuildFailed".to_owned() })
    }

    #[test]
    fn ready_is_ready_for_its_spec_and_done_at_the_revision() {
        let known = |ready, current, suspended| wanting(Some(&Known { ready, current, suspended, expression: None }));
        assert_eq!(known(ready(true), true, false), None);
        assert_eq!(known(ready(true), true, true), None, "a suspended one that is ready");
        assert_eq!(known(ready(true), false, false).unwrap(), "not done at this revision");
        assert_eq!(known(ready(false), true, true).unwrap(), "not ready: BuildFailed; it is suspended");
        assert_eq!(known(None, true, false).unwrap(), "nothing is known of it yet");
        assert_eq!(wanting(None).unwrap(), "it does not exist");
        let expression = |says| Known { ready: None, current: false, suspended: true, expression: Some(says) };
        assert_eq!(wanting(Some(&expression(Ok(true)))), None, "it takes the place of everything else");
        assert!(wanting(Some(&expression(Ok(false)))).is_some());
        let unknown = wanting(Some(&expression(Err("cannot be evaluated".to_owned())))).unwrap();
        assert_eq!(unknown, "its readyExpr cannot be evaluated");
    }

    #[test]
    fn a_circle_is_named_and_what_only_leads_to_one_is_not_in_it() {
        let edges = [(0, 1), (1, 2), (2, 3), (3, 1), (2, 4)];
        assert_eq!(cycle(&sync(0), needs(&edges)), None);
        assert_eq!(in_words(&cycle(&sync(2), needs(&edges)).unwrap()), "ns/s2 → ns/s3 → ns/s1 → ns/s2");
        assert_eq!(in_words(&cycle(&sync(7), needs(&[(7, 7)])).unwrap()), "ns/s7 → ns/s7");
    }

    proptest! {
        /// What is called a circle is one, and there is none exactly where nothing that is needed needs it in turn.
        #[test]
        fn a_circle_is_found_exactly_where_there_is_one(edges in prop::collection::vec((0..6_usize, 0..6_usize), 0..12)) {
            for start in 0..6 {
                let mut reached = [false; 6];
                let mut next: Vec<usize> = edges.iter().filter(|(from, _)| *from == start).map(|(_, to)| *to).collect();
                while let Some(at) = next.pop() {
                    if !std::mem::replace(&mut reached[at], true) {
                        next.extend(edges.iter().filter(|(from, _)| *from == at).map(|(_, to)| *to));
                    }
                }
                let found = cycle(&sync(start), needs(&edges));
                prop_assert_eq!(found.is_some(), reached[start]);
                for pair in found.iter().flat_map(|way| way.windows(2)) {
                    prop_assert!(needs(&edges)(&pair[0]).contains(&pair[1]), "{:?}", found);
                }
                if let Some(way) = found {
                    prop_assert_eq!((way.first(), way.last()), (Some(&sync(start)), Some(&sync(start))));
                }
            }
        }
    }
}
