//! A table of deadlines: each key is due at most once, the driver needs one sleep for all of them.
//!
//! Picture: an alarm clock with named alarms. Setting a name again moves its alarm. Times are monotonic
//! milliseconds (see [`Now`](crate::Now)).
//!
//! Invariant: `order` and `due` hold the same pairs.

use std::collections::{BTreeMap, BTreeSet};

/// Named alarms in order of time; keys that are due at the same time come in key order.
#[derive(Debug, Clone)]
pub struct Deadlines<K> {
    due: BTreeMap<K, u64>,
    order: BTreeSet<(u64, K)>,
}

impl<K> Default for Deadlines<K> {
    fn default() -> Self {
        Deadlines { due: BTreeMap::new(), order: BTreeSet::new() }
    }
}

impl<K: Ord + Clone> Deadlines<K> {
    /// Sets or moves the deadline of `key`.
    pub fn set(&mut self, key: K, at_ms: u64) {
        if let Some(old) = self.due.insert(key.clone(), at_ms) {
            self.order.remove(&(old, key.clone()));
        }
        self.order.insert((at_ms, key));
    }

    /// Forgets the deadline of `key`, if there is one.
    pub fn cancel(&mut self, key: &K) {
        if let Some(old) = self.due.remove(key) {
            self.order.remove(&(old, key.clone()));
        }
    }

    /// When the next deadline is due.
    pub fn next(&self) -> Option<u64> {
        self.order.first().map(|(at, _)| *at)
    }

    /// When `key` is due.
    pub fn get(&self, key: &K) -> Option<u64> {
        self.due.get(key).copied()
    }

    /// Takes the earliest key that is due at `now_ms`.
    pub fn pop_due(&mut self, now_ms: u64) -> Option<K> {
        if self.next()? > now_ms {
            return None;
        }
        let (_, key) = self.order.pop_first()?;
        self.due.remove(&key);
        Some(key)
    }

    pub fn len(&self) -> usize {
        self.due.len()
    }

    pub fn is_empty(&self) -> bool {
        self.due.is_empty()
    }
}

#[cfg(test)]
mod tests;
