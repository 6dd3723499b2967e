//! The idempotency keys of one tenant: exact while they are new, a filter once they are old.
//!
//! A key whose entry is still in flight is kept with its answer, and so are the last few after
//! that. All others the journal finds by their digest; the filter says for which to ask it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use super::filter::{KeyFilter, Probe};
use super::state::TenantOutcome;
use crate::clock::Timestamp;

/// Keys on disk that are kept exactly all the same: a client that retries at once is answered
/// without a read.
const RECENT_KEYS: usize = 8;

/// A key that was used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// Digest of the request that came with it.
    pub(super) fp: Option<String>,
    /// The entry that it made.
    pub(super) seq: u64,
    /// What that was answered.
    pub(super) outcome: TenantOutcome,
}

/// What is known of a key.
#[derive(Debug)]
pub(super) enum Seen<'a> {
    /// Surely never used.
    Never,
    /// Used by this entry.
    By(&'a Known),
    /// The journal has to be asked.
    Perhaps,
}

/// The keys of one tenant.
#[derive(Debug, Default)]
pub(super) struct Keys {
    recent: HashMap<Arc<str>, Known>,
    order: VecDeque<(u64, Arc<str>)>,
    filter: KeyFilter,
    /// The entries after which the journal was asked for a key and has not answered yet. What was
    /// used since then is kept exactly: the journal's answer may be older than that.
    asked: BTreeMap<u64, usize>,
}

impl Keys {
    /// Begins with the filter of a snapshot.
    pub(super) fn with_filter(filter: KeyFilter) -> Self {
        Self { filter, ..Self::default() }
    }

    /// Says what is known of a key.
    pub(super) fn look(&self, idem: &str, now: Timestamp) -> Seen<'_> {
        match self.recent.get(idem) {
            Some(known) => Seen::By(known),
            None if self.filter.may_contain(Probe::of(idem), now) => Seen::Perhaps,
            None => Seen::Never,
        }
    }

    /// Remembers a key that was just used.
    pub(super) fn remember(&mut self, idem: &str, known: Known, keep_until: Timestamp) {
        let idem: Arc<str> = Arc::from(idem);
        self.filter.insert(Probe::of(&idem), keep_until);
        self.order.push_back((known.seq, Arc::clone(&idem)));
        self.recent.insert(idem, known);
    }

    /// Remembers a key that an earlier life used: the journal has its answer.
    pub(super) fn remember_old(&mut self, idem: &str, keep_until: Timestamp) {
        self.filter.insert(Probe::of(idem), keep_until);
    }

    /// Notes that the journal is asked for a key as of entry `seq`.
    pub(super) fn ask(&mut self, seq: u64) {
        *self.asked.entry(seq).or_default() += 1;
    }

    /// Notes that the journal has answered, or could not.
    pub(super) fn answered(&mut self, seq: u64) {
        if let Some(count) = self.asked.get_mut(&seq) {
            *count -= 1;
            if *count == 0 {
                self.asked.remove(&seq);
            }
        }
    }

    /// Lets go of the exact form of keys that are on disk up to `durable`, but for the last few.
    pub(super) fn trim(&mut self, durable: u64) {
        let durable = self.asked.keys().next().map_or(durable, |asked| durable.min(*asked));
        while self.order.len() > RECENT_KEYS
            && self.order.front().is_some_and(|(seq, _)| *seq <= durable)
        {
            let Some((seq, idem)) = self.order.pop_front() else { return };
            // The same key may have been used again since, after it was forgotten.
            if self.recent.get(&idem).is_some_and(|known| known.seq == seq) {
                self.recent.remove(&idem);
            }
        }
    }

    /// Drops what may be forgotten.
    pub(super) fn forget(&mut self, now: Timestamp) {
        self.filter.forget(now);
    }

    /// The filter, which has every key in it.
    pub(super) fn filter(&self) -> &KeyFilter {
        &self.filter
    }

    /// Keys that are kept exactly.
    pub(super) fn recent_count(&self) -> usize {
        self.recent.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::quota::Outcome;

    const NOW: Timestamp = Timestamp::from_micros(1);
    const LATER: Timestamp = Timestamp::from_micros(1_000);

    fn known(seq: u64) -> Known {
        let outcome = TenantOutcome::Usage(Outcome::Done {});
        Known { fp: Some("print".to_owned()), seq, outcome }
    }

    #[test]
    fn a_key_is_exact_in_flight_and_perhaps_known_when_it_is_old() {
        let mut keys = Keys::default();
        assert!(matches!(keys.look("a-1", NOW), Seen::Never));
        for seq in 1..=20 {
            keys.remember(&format!("a-{seq}"), known(seq), LATER);
        }

        keys.trim(0);
        assert!(matches!(keys.look("a-1", NOW), Seen::By(known) if known.seq == 1));
        keys.trim(20);
        assert!(matches!(keys.look("a-1", NOW), Seen::Perhaps));
        assert!(matches!(keys.look("a-20", NOW), Seen::By(known) if known.seq == 20));
        assert_eq!(keys.recent_count(), RECENT_KEYS);
    }

    #[test]
    fn a_key_used_while_the_journal_is_asked_stays_exact_until_it_answered() {
        let mut keys = Keys::default();
        keys.ask(0);
        for seq in 1..=20 {
            keys.remember(&format!("a-{seq}"), known(seq), LATER);
            keys.trim(seq);
        }
        assert!(matches!(keys.look("a-1", NOW), Seen::By(_)));

        keys.answered(0);
        keys.trim(20);
        assert!(matches!(keys.look("a-1", NOW), Seen::Perhaps));
    }

    #[test]
    fn a_new_life_knows_the_keys_of_the_one_before() {
        let mut keys = Keys::default();
        keys.remember("a", known(1), LATER);

        let again = Keys::with_filter(keys.filter().clone());

        assert!(matches!(again.look("a", NOW), Seen::Perhaps));
        assert!(matches!(again.look("a", LATER), Seen::Never));
    }
}
