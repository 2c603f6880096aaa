//! A queue in which a newer value takes the place of an older one of the same key.
//!
//! Knows keys and their order. Must not know what waits in it. It is never longer than there are keys, so whoever uses it
//! bounds the keys.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

pub(super) struct Coalesce<K, V> {
    order: VecDeque<K>,
    waiting: HashMap<K, V>,
}

impl<K: Clone + Eq + Hash, V> Coalesce<K, V> {
    pub(super) fn new() -> Self {
        Self { order: VecDeque::new(), waiting: HashMap::new() }
    }

    /// The newest value of a key, at the place in the queue that the key already has: nobody is kept waiting by being busy.
    pub(super) fn put(&mut self, key: K, value: V) {
        if self.waiting.insert(key.clone(), value).is_none() {
            self.order.push_back(key);
        }
    }

    /// Gives a value back that was taken. `false`: a newer one waits already, and this one is dropped.
    pub(super) fn put_first(&mut self, key: K, value: V) -> bool {
        if self.waiting.contains_key(&key) {
            return false;
        }
        self.waiting.insert(key.clone(), value);
        self.order.push_front(key);
        true
    }

    pub(super) fn take_first(&mut self) -> Option<(K, V)> {
        self.take_first_where(|_| true)
    }

    /// The first whose key may go now.
    pub(super) fn take_first_where(&mut self, may_go: impl Fn(&K) -> bool) -> Option<(K, V)> {
        let position = self.order.iter().position(may_go)?;
        let key = self.order.remove(position)?;
        let value = self.waiting.remove(&key)?;
        Some((key, value))
    }

    pub(super) fn remove(&mut self, key: &K) {
        if self.waiting.remove(key).is_some() {
            self.order.retain(|other| other != key);
        }
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        self.waiting.contains_key(key)
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_value_keeps_the_oldest_place() {
        let mut queue = Coalesce::new();
        queue.put("a", 1);
        queue.put("b", 2);
        queue.put("a", 3);
        assert_eq!(queue.len(), 2);
        assert_eq!(queue.take_first(), Some(("a", 3)));
        assert!(queue.put_first("a", 3), "nothing newer waits");
        assert!(!queue.put_first("b", 0), "a newer one waits");
        assert_eq!(queue.take_first_where(|key| *key != "a"), Some(("b", 2)));
        queue.remove(&"a");
        assert!(queue.is_empty() && !queue.contains(&"a"));
    }
}
