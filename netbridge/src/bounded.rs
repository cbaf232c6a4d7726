//! A map with a fixed room: what arrives last displaces what arrived first.
//!
//! First in, first out rather than least recently used: O(1) without a linked list, and for what it holds here (rate
//! buckets, learned addresses, last acknowledgements) a displaced entry only costs what a newcomer costs.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Invariant: `order` holds every key of `map` exactly once, oldest first, and at most `room` of them.
#[derive(Debug)]
pub(crate) struct Bounded<K, V> {
    map: HashMap<K, V>,
    order: VecDeque<K>,
    room: usize,
    displaced: u64,
}

impl<K: Copy + Eq + Hash, V> Bounded<K, V> {
    /// Room for at least one entry.
    pub(crate) fn new(room: usize) -> Self {
        Bounded {
            map: HashMap::new(),
            order: VecDeque::new(),
            room: room.max(1),
            displaced: 0,
        }
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.map.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.map.get_mut(key)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.map.insert(key, value).is_some() {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > self.room
            && let Some(oldest) = self.order.pop_front()
        {
            self.map.remove(&oldest);
            self.displaced += 1;
        }
    }

    /// O(n): for the rare removal.
    pub(crate) fn remove(&mut self, key: &K) {
        if self.map.remove(key).is_some() {
            self.order.retain(|other| other != key);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    pub(crate) fn displaced(&self) -> u64 {
        self.displaced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn holds_the_newest_and_no_more_than_its_room(
            keys in proptest::collection::vec(0u8..40, 0..300),
            room in 1usize..20,
        ) {
            let mut map = Bounded::new(room);
            for (n, key) in keys.iter().enumerate() {
                if n % 7 == 6 { map.remove(key); } else { map.insert(*key, n); }
                assert!(map.len() <= room && map.map.len() == map.order.len());
                if n % 7 != 6 { assert_eq!(map.get(key), Some(&n)); }
            }
        }
    }
}
