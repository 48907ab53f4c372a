//! The newest offset of each key, in a fixed amount of memory.
//!
//! Picture: a table of slots with open addressing. A key is known by 128 bits of SipHash under two secret keys of this
//! map, so that nobody can choose keys that collide; two keys of a log with a billion of them share a hash with a
//! probability of about 10^-21. Kafka's map is built alike, with MD5.
//!
//! Invariants: never fuller than the load factor, so every search ends; offsets of a key only grow.

use std::hash::{BuildHasher, DefaultHasher, Hasher, RandomState};

use twinstream_model::Offset;

/// Two words of hash, and the offset plus one: 0 is an empty slot.
type Slot = [u64; 3];

pub(super) const SLOT_BYTES: usize = size_of::<Slot>();

/// What the map knows of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyHash([u64; 2]);

/// A key that comes in pieces; equal keys must come in equal ones.
#[derive(Clone, Debug)]
pub(super) struct KeyHasher([DefaultHasher; 2]);

impl KeyHasher {
    pub(super) fn write(&mut self, piece: &[u8]) {
        self.0.iter_mut().for_each(|hasher| hasher.write(piece));
    }

    pub(super) fn finish(&self) -> KeyHash {
        KeyHash([self.0[0].finish(), self.0[1].finish()])
    }
}

#[derive(Debug)]
pub(super) struct OffsetMap {
    slots: Vec<Slot>,
    used: usize,
    used_max: usize,
    hashers: [RandomState; 2],
    /// Up to here all keys are in the map.
    latest: Option<Offset>,
}

impl OffsetMap {
    /// A map for at most `keys` keys in at most `bytes` bytes. There is room for one key at least.
    pub(super) fn new(bytes: usize, keys: u64, load_factor: f64) -> OffsetMap {
        let load_factor = load_factor.clamp(0.1, 0.99);
        let wanted = (keys as f64 / load_factor).ceil() as usize;
        let slots = wanted.saturating_add(1).min(bytes / SLOT_BYTES).max(2);
        OffsetMap {
            slots: vec![[0; 3]; slots],
            used: 0,
            used_max: ((slots as f64 * load_factor) as usize).clamp(1, slots - 1),
            hashers: [RandomState::new(), RandomState::new()],
            latest: None,
        }
    }

    /// Notes a record; false if the map is full and does not know the key.
    #[must_use]
    pub(super) fn put(&mut self, key: KeyHash, offset: Offset) -> bool {
        let hash = key.0;
        let at = self.find(hash);
        if self.slots[at][2] == 0 {
            if self.used == self.used_max {
                return false;
            }
            self.used += 1;
        }
        let stored = (offset.0 as u64).wrapping_add(1).max(self.slots[at][2]);
        self.slots[at] = [hash[0], hash[1], stored];
        self.reached(offset);
        true
    }

    /// The newest offset of a key.
    pub(super) fn get(&self, key: KeyHash) -> Option<Offset> {
        let found = self.slots[self.find(key.0)][2];
        (found != 0).then(|| Offset((found - 1) as i64))
    }

    /// All keys up to this offset are in the map.
    pub(super) fn reached(&mut self, offset: Offset) {
        self.latest = self.latest.max(Some(offset));
    }

    pub(super) fn latest(&self) -> Option<Offset> {
        self.latest
    }

    /// Share of the slots that may be used.
    pub(super) fn utilization(&self) -> f64 {
        self.used as f64 / self.used_max as f64
    }

    /// For a key of this map.
    pub(super) fn hasher(&self) -> KeyHasher {
        KeyHasher([self.hashers[0].build_hasher(), self.hashers[1].build_hasher()])
    }

    /// A key that comes in one piece.
    #[cfg(test)]
    pub(super) fn hash(&self, key: &[u8]) -> KeyHash {
        let mut hasher = self.hasher();
        hasher.write(key);
        hasher.finish()
    }

    /// The slot of a hash, or the empty one where it belongs.
    fn find(&self, hash: [u64; 2]) -> usize {
        // The upper half of a 128-bit product spreads the hash evenly over any number of slots.
        let mut at = ((u128::from(hash[0]) * self.slots.len() as u128) >> 64) as usize;
        loop {
            let slot = &self.slots[at];
            if slot[2] == 0 || slot[..2] == hash {
                return at;
            }
            at = if at + 1 == self.slots.len() { 0 } else { at + 1 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_offset_of_each_key_is_found() {
        let mut map = OffsetMap::new(1 << 20, 1_000, 0.9);
        for offset in 0..1_000i64 {
            assert!(map.put(map.hash(&(offset % 300).to_be_bytes()), Offset(offset)));
        }
        assert!(map.put(map.hash(&5i64.to_be_bytes()), Offset(3)), "an older offset");
        for key in 0..300i64 {
            let newest = (0..1_000).rev().find(|offset| offset % 300 == key).unwrap();
            assert_eq!(map.get(map.hash(&key.to_be_bytes())), Some(Offset(newest)));
        }
        assert_eq!((map.get(map.hash(b"other")), map.latest()), (None, Some(Offset(999))));
    }

    #[test]
    fn full_map_takes_known_keys_only() {
        let mut map = OffsetMap::new(10 * SLOT_BYTES, u64::MAX / 4, 0.5);
        for key in 0..5u8 {
            assert!(map.put(map.hash(&[key]), Offset(0)));
        }
        assert!(!map.put(map.hash(&[5]), Offset(7)));
        assert!(map.put(map.hash(&[4]), Offset(9)));
        assert_eq!((map.get(map.hash(&[4])), map.get(map.hash(&[5])), map.utilization()), (Some(Offset(9)), None, 1.0));
    }

    #[test]
    fn memory_follows_the_number_of_keys() {
        assert_eq!(OffsetMap::new(1 << 30, 9, 0.9).slots.len(), 11);
        assert_eq!(OffsetMap::new(1 << 20, u64::MAX, 0.9).slots.len(), (1 << 20) / SLOT_BYTES);
        let mut smallest = OffsetMap::new(0, 0, 0.9);
        assert!(smallest.put(smallest.hash(b"a"), Offset(0)) && !smallest.put(smallest.hash(b"b"), Offset(1)));
    }
}
