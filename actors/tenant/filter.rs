//! A compact memory of keys and events that are older than what stays in memory exactly.
//!
//! It answers "surely new" or "perhaps known", with 10 bits a key (or 20 an event, which come by
//! the thousand), so that a first-time key costs no read of the database. Keys are kept in generations that are dropped whole once the
//! last key in them may be forgotten. **Invariant:** a key that was inserted and may not be
//! forgotten yet is never called new; when the memory is full, everything is "perhaps known".

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::tenant::quota::EventDigest;

/// Bits spent on a key: about one first-time key in a hundred is looked up for nothing.
const BITS_PER_KEY: u64 = 10;

/// Bits spent on an event: of a thousand new ones, none is looked up for nothing, nearly always.
pub(super) const BITS_PER_EVENT: u64 = 20;

/// The first generation's size in bytes: enough for 400 keys of a tenant that hardly calls.
const FIRST_GENERATION_BYTES: usize = 512;

/// Each generation is this much larger than the one before: few generations, few false alarms.
const GROWTH: usize = 4;

/// The largest generation in bytes (1.6 million keys).
const MAX_GENERATION_BYTES: usize = 2 * 1024 * 1024;

/// The most that a tenant's filter may take in bytes, in memory and in its snapshot.
const MAX_FILTER_BYTES: usize = 8 * 1024 * 1024;

/// A key's digest, cut to what the filter needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Probe(u64, u64);

impl Probe {
    /// Makes a probe of a key's digest as it stands in a line: 64 hexadecimal digits, of which any
    /// part is as good as random. Other text is digested first.
    pub(super) fn of(idem: &str) -> Self {
        let part = |range| idem.get(range).and_then(|digits| u64::from_str_radix(digits, 16).ok());
        match (part(0..16), part(16..32)) {
            (Some(left), Some(right)) => Self(left, right | 1),
            _ => Self::digested(idem),
        }
    }

    /// Makes a probe of an event's digest, which is as good as random.
    pub(super) fn of_event(digest: EventDigest) -> Self {
        let bits = u128::from_le_bytes(*digest.as_bytes());
        let part = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).unwrap_or(0);
        Self(part(bits), part(bits >> 64) | 1)
    }

    fn digested(idem: &str) -> Self {
        let hashed = digest::digest(&digest::SHA256, idem.as_bytes());
        let (mut left, mut right) = ([0_u8; 8], [0_u8; 8]);
        for (to, from) in left.iter_mut().chain(right.iter_mut()).zip(hashed.as_ref()) {
            *to = *from;
        }
        Self(u64::from_le_bytes(left), u64::from_le_bytes(right) | 1)
    }
}

/// One generation: a Bloom filter and the time until which its keys count.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Generation<const BITS: u64> {
    keep_until: Timestamp,
    keys: u64,
    #[serde(with = "words_as_base64")]
    words: Vec<u64>,
}

/// The filter of one tenant, with `BITS` bits a key.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct KeyFilter<const BITS: u64 = BITS_PER_KEY> {
    generations: Vec<Generation<BITS>>,
    /// Set when the cap was reached: until then every key is looked up.
    full_until: Option<Timestamp>,
}

// === impl Generation ===

impl<const BITS: u64> Generation<BITS> {
    /// Bits set for a key: the best number is 0.69 times the bits spent on it.
    const PROBES: u64 = BITS * 7 / 10;

    fn new(bytes: usize, keep_until: Timestamp) -> Self {
        Self { keep_until, keys: 0, words: vec![0; bytes / size_of::<u64>()] }
    }

    fn bytes(&self) -> usize {
        self.words.len() * size_of::<u64>()
    }

    fn bits(&self) -> u64 {
        (self.words.len() as u64) * 64
    }

    fn has_room(&self) -> bool {
        self.keys < self.bits() / BITS
    }

    /// The word and the bit in it of each probe of a key (double hashing).
    fn places(&self, probe: Probe) -> impl Iterator<Item = (usize, u64)> + use<BITS> {
        let bits = self.bits();
        (0..Self::PROBES).map(move |n| {
            let bit = probe.0.wrapping_add(n.wrapping_mul(probe.1)) % bits;
            (usize::try_from(bit / 64).unwrap_or(0), 1_u64 << (bit % 64))
        })
    }

    fn insert(&mut self, probe: Probe) {
        for (word, bit) in self.places(probe) {
            if let Some(word) = self.words.get_mut(word) {
                *word |= bit;
            }
        }
        self.keys += 1;
    }

    fn may_contain(&self, probe: Probe) -> bool {
        self.places(probe).all(|(word, bit)| self.words.get(word).is_some_and(|w| w & bit != 0))
    }
}

// === impl KeyFilter ===

impl<const BITS: u64> KeyFilter<BITS> {
    /// Remembers a key until `keep_until`. A later date begins a generation of its own, so that an
    /// ended period's keys are dropped together.
    pub(super) fn insert(&mut self, probe: Probe, keep_until: Timestamp) {
        let fits = |newest: &Generation<BITS>| newest.has_room() && keep_until <= newest.keep_until;
        if !self.generations.last().is_some_and(fits) && !self.grow(keep_until) {
            let until = self.full_until.map_or(keep_until, |known| known.max(keep_until));
            self.full_until = Some(until);
            return;
        }
        if let Some(newest) = self.generations.last_mut() {
            newest.insert(probe);
        }
    }

    /// Says whether the key may have been used: `false` is certain.
    pub(super) fn may_contain(&self, probe: Probe, now: Timestamp) -> bool {
        self.full_until.is_some_and(|until| now < until)
            || self.generations.iter().any(|g| now < g.keep_until && g.may_contain(probe))
    }

    /// Drops the generations whose last key may be forgotten.
    pub(super) fn forget(&mut self, now: Timestamp) {
        self.generations.retain(|generation| now < generation.keep_until);
        self.full_until = self.full_until.filter(|until| now < *until);
    }

    /// Bytes that the filter takes.
    pub(super) fn bytes(&self) -> usize {
        self.generations.iter().map(Generation::<BITS>::bytes).sum()
    }

    fn grow(&mut self, keep_until: Timestamp) -> bool {
        let bytes = self.generations.last().map_or(FIRST_GENERATION_BYTES, |newest| {
            let full = !newest.has_room();
            let next = if full { newest.bytes() * GROWTH } else { FIRST_GENERATION_BYTES };
            next.min(MAX_GENERATION_BYTES)
        });
        if self.bytes() + bytes > MAX_FILTER_BYTES {
            return false;
        }
        self.generations.push(Generation::new(bytes, keep_until));
        true
    }
}

/// Words as base64 of their little-endian bytes: a snapshot is text.
mod words_as_base64 {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD_NO_PAD;
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(words: &[u64], to: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        to.serialize_str(&STANDARD_NO_PAD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u64>, D::Error> {
        let text = String::deserialize(from)?;
        let bytes = STANDARD_NO_PAD.decode(text).map_err(de::Error::custom)?;
        let (words, rest) = bytes.as_chunks::<8>();
        if words.is_empty() || !rest.is_empty() {
            return Err(de::Error::custom("a filter's length is not a whole number of words"));
        }
        Ok(words.iter().map(|word| u64::from_le_bytes(*word)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOREVER: Timestamp = Timestamp::MAX;
    const NOW: Timestamp = Timestamp::from_micros(1_000);

    fn key(n: u32) -> Probe {
        Probe::of(&format!("key-{n}"))
    }

    fn event(n: u128) -> Probe {
        let digest = u128::MAX / 1_000_003 * n;
        Probe::of_event(EventDigest::from_bytes(digest.rotate_left(61).to_le_bytes()))
    }

    #[test]
    fn hardly_a_new_event_is_looked_up_for_nothing() {
        let mut filter = KeyFilter::<BITS_PER_EVENT>::default();
        for n in 0..100_000 {
            filter.insert(event(n), FOREVER);
        }

        assert!((0..100_000).all(|n| filter.may_contain(event(n), NOW)));
        let alarms = (100_000..200_000).filter(|n| filter.may_contain(event(*n), NOW)).count();
        assert!(alarms < 100, "{alarms} of 100,000");
    }

    #[test]
    fn a_remembered_key_is_never_called_new() {
        let mut filter = <KeyFilter>::default();
        for n in 0..20_000 {
            filter.insert(key(n), FOREVER);
        }

        assert!((0..20_000).all(|n| filter.may_contain(key(n), NOW)));
    }

    #[test]
    fn few_new_keys_are_looked_up_for_nothing() {
        let mut filter = <KeyFilter>::default();
        for n in 0..20_000 {
            filter.insert(key(n), FOREVER);
        }

        let alarms = (20_000..40_000).filter(|n| filter.may_contain(key(*n), NOW)).count();

        assert!(alarms < 1_200, "{alarms} of 20,000");
        assert!(filter.bytes() < 64 * 1024, "{} bytes", filter.bytes());
    }

    #[test]
    fn an_ended_periods_keys_are_dropped_together() {
        let mut filter = <KeyFilter>::default();
        filter.insert(key(1), Timestamp::from_micros(500));
        filter.insert(key(2), FOREVER);

        filter.forget(NOW);

        assert!(!filter.may_contain(key(1), NOW));
        assert!(filter.may_contain(key(2), NOW));
    }

    #[test]
    fn a_full_filter_calls_nothing_new() {
        let filter = KeyFilter { full_until: Some(FOREVER), ..<KeyFilter>::default() };

        assert!(filter.may_contain(key(7), NOW));
    }

    #[test]
    fn a_snapshot_keeps_every_key() {
        let mut filter = <KeyFilter>::default();
        for n in 0..1_000 {
            filter.insert(key(n), FOREVER);
        }

        let text = serde_json::to_string(&filter).unwrap();
        let back: KeyFilter = serde_json::from_str(&text).unwrap();

        assert!((0..1_000).all(|n| back.may_contain(key(n), NOW)));
    }
}
