//! A bounded part of an ordered set: the smallest keys from a start on.

use std::collections::BTreeMap;

/// Holds at most so many keys. What does not fit is left to a window that starts at
/// [`Window::next_start`], so that sets of any size are seen whole in bounded memory.
#[derive(Debug)]
pub(super) struct Window<K, V> {
    start: Option<K>,
    // Keys from here on are left to the next window.
    end: Option<K>,
    limit: usize,
    map: BTreeMap<K, V>,
}

impl<K: Ord + Clone, V: Default> Window<K, V> {
    /// A window of keys from `start` on, or from the first.
    pub(super) fn new(start: Option<K>, limit: usize) -> Self {
        Self { start, end: None, limit: limit.max(1), map: BTreeMap::new() }
    }

    /// The key's value, made if it is new; none if the key is left to another window.
    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        if !self.covers(key) {
            return None;
        }
        if !self.map.contains_key(key) {
            if self.map.len() >= self.limit
                && let Some((largest, value)) = self.map.pop_last()
            {
                if *key > largest {
                    self.map.insert(largest, value);
                    self.end = Some(key.clone());
                    return None;
                }
                self.end = Some(largest);
            }
            self.map.insert(key.clone(), V::default());
        }
        self.map.get_mut(key)
    }

    /// Whether the key belongs here.
    pub(super) fn covers(&self, key: &K) -> bool {
        self.start.as_ref().is_none_or(|start| key >= start)
            && self.end.as_ref().is_none_or(|end| key < end)
    }

    /// The value of a key that it holds.
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.map.get(key)
    }

    /// Takes a key's value out.
    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        self.map.remove(key)
    }

    /// The keys and values in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.map.iter()
    }

    /// How many keys it holds.
    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    /// Where it starts.
    pub(super) fn start(&self) -> Option<&K> {
        self.start.as_ref()
    }

    /// Where the next one starts; none if nothing is left to it.
    pub(super) fn next_start(&self) -> Option<&K> {
        self.end.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn windows_one_after_another_see_every_key_whole(
            keys in prop::collection::vec(0_u8..40, 0..200),
            limit in 1_usize..10,
        ) {
            let mut expected = BTreeMap::<u8, u32>::new();
            for key in &keys {
                *expected.entry(*key).or_default() += 1;
            }
            let (mut seen, mut start) = (BTreeMap::new(), None);
            loop {
                let mut window = Window::<u8, u32>::new(start, limit);
                for key in &keys {
                    if let Some(count) = window.get_mut(key) {
                        *count += 1;
                    }
                }
                prop_assert!(window.len() <= limit);
                seen.extend(window.iter().map(|(key, count)| (*key, *count)));
                start = window.next_start().copied();
                if start.is_none() {
                    break;
                }
            }
            prop_assert_eq!(seen, expected);
        }
    }
}
