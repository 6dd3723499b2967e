//! The idempotency keys and events of one tenant: exact while new, a filter once they are old.
//!
//! A key whose entry is still in flight is kept with its answer, and so are the last few after
//! that; an event whose entry is in flight is kept as well. All others the journal finds by their
//! digest; the filters say for which to ask it.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::filter::{BITS_PER_EVENT, KeyFilter, Probe};
use super::state::TenantOutcome;
use crate::clock::Timestamp;
use crate::tenant::quota::EventDigest;

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

/// A tenant's memory of events that count already.
pub(super) type EventFilter = KeyFilter<BITS_PER_EVENT>;

/// The keys and events of one tenant.
#[derive(Debug, Default)]
pub(super) struct Keys {
    recent: HashMap<Arc<str>, Known>,
    order: VecDeque<(u64, Arc<str>)>,
    filter: KeyFilter,
    /// Events of entries that are in flight.
    events: HashSet<EventDigest>,
    events_order: VecDeque<(u64, Vec<EventDigest>)>,
    event_filter: EventFilter,
    /// The entries after which the journal was asked for a key and has not answered yet. What was
    /// used since then is kept exactly: the journal's answer may be older than that.
    asked: BTreeMap<u64, usize>,
}

impl Keys {
    /// Begins with the filters of a snapshot.
    pub(super) fn with_filters(filter: KeyFilter, event_filter: EventFilter) -> Self {
        Self { filter, event_filter, ..Self::default() }
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

    /// Remembers events that were just counted.
    pub(super) fn remember_events(
        &mut self,
        seq: u64,
        events: Vec<EventDigest>,
        keep_until: Timestamp,
    ) {
        for digest in &events {
            self.event_filter.insert(Probe::of_event(*digest), keep_until);
            self.events.insert(*digest);
        }
        self.events_order.push_back((seq, events));
    }

    /// Remembers an event that an earlier life counted.
    pub(super) fn remember_old_event(&mut self, digest: EventDigest, keep_until: Timestamp) {
        self.event_filter.insert(Probe::of_event(digest), keep_until);
    }

    /// Says whether an event counts already, by memory or by what the journal was asked and found.
    pub(super) fn is_counted(
        &self,
        event: EventDigest,
        found: Option<&HashSet<EventDigest>>,
    ) -> bool {
        self.events.contains(&event) || found.is_some_and(|found| found.contains(&event))
    }

    /// Says whether the journal has to be asked for an event.
    pub(super) fn is_doubtful(&self, event: EventDigest, now: Timestamp) -> bool {
        !self.events.contains(&event) && self.event_filter.may_contain(Probe::of_event(event), now)
    }

    /// Notes that the journal is asked for a key or for events, when everything up to `durable` is
    /// on disk. Returns the entry as of which it is asked: what is younger stays exact until the
    /// answer, and what is older is exact no more, so that every doubt is asked for.
    pub(super) fn ask(&mut self, durable: u64) -> u64 {
        let as_of = self.trim(durable);
        *self.asked.entry(as_of).or_default() += 1;
        as_of
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

    /// Lets go of the exact form of what is on disk up to `durable`, but for the last few keys and
    /// for what an open question needs. Returns the entry up to which it did.
    pub(super) fn trim(&mut self, durable: u64) -> u64 {
        let durable = self.asked.keys().next().map_or(durable, |asked| durable.min(*asked));
        let is_old = |front: Option<u64>| front.is_some_and(|seq| seq <= durable);
        while is_old(self.events_order.front().map(|(seq, _)| *seq)) {
            let Some((_, events)) = self.events_order.pop_front() else { break };
            for digest in events {
                self.events.remove(&digest);
            }
        }
        while self.order.len() > RECENT_KEYS && is_old(self.order.front().map(|(seq, _)| *seq)) {
            let Some((seq, idem)) = self.order.pop_front() else { break };
            // The same key may have been used again since, after it was forgotten.
            if self.recent.get(&idem).is_some_and(|known| known.seq == seq) {
                self.recent.remove(&idem);
            }
        }
        durable
    }

    /// Drops what may be forgotten.
    pub(super) fn forget(&mut self, now: Timestamp) {
        self.filter.forget(now);
        self.event_filter.forget(now);
    }

    /// The filter of events, which has every event in it.
    pub(super) fn event_filter(&self) -> &EventFilter {
        &self.event_filter
    }

    /// Bytes of both filters.
    pub(super) fn filter_bytes(&self) -> usize {
        self.filter.bytes() + self.event_filter.bytes()
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
    use crate::tenant::quota::{Event, Outcome};

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

        let again = Keys::with_filters(keys.filter().clone(), keys.event_filter().clone());

        assert!(matches!(again.look("a", NOW), Seen::Perhaps));
        assert!(matches!(again.look("a", LATER), Seen::Never));
    }

    fn digest(n: u8) -> EventDigest {
        EventDigest::from_bytes([n; 16])
    }

    fn events(numbers: impl IntoIterator<Item = u8>) -> Vec<Event> {
        let event =
            |n| Event { digest: digest(n), meter: "images".parse().unwrap(), amount: 1, at: NOW };
        numbers.into_iter().map(event).collect()
    }

    fn left(keys: &Keys, batch: &[Event], found: &[EventDigest]) -> Vec<EventDigest> {
        let found = found.iter().copied().collect();
        let digests = batch.iter().map(|event| event.digest);
        digests.filter(|event| !keys.is_counted(*event, Some(&found))).collect()
    }

    fn doubts(keys: &Keys, batch: &[Event]) -> Vec<EventDigest> {
        let digests = batch.iter().map(|event| event.digest);
        digests.filter(|event| keys.is_doubtful(*event, NOW)).collect()
    }

    #[test]
    fn an_event_in_flight_is_a_duplicate_and_one_on_disk_is_asked_for() {
        let mut keys = Keys::default();
        keys.remember_events(1, vec![digest(1), digest(2)], LATER);
        let batch = events([1, 3]);
        assert_eq!(doubts(&keys, &batch), []);
        assert_eq!(left(&keys, &batch, &[]), [digest(3)]);

        keys.trim(1);

        assert_eq!(doubts(&keys, &batch), [digest(1)]);
        assert_eq!(left(&keys, &batch, &[digest(1)]), [digest(3)]);
    }

    #[test]
    fn an_event_counted_while_the_journal_is_asked_is_a_duplicate() {
        let mut keys = Keys::default();
        keys.ask(0);
        keys.remember_events(1, vec![digest(1)], LATER);
        keys.trim(1);

        assert_eq!(left(&keys, &events([1]), &[]), []);
    }

    #[test]
    fn an_event_in_flight_counts_once_though_another_of_its_batch_is_looked_up() {
        let mut keys = Keys::default();
        keys.remember_events(1, vec![digest(1)], LATER);
        keys.remember_events(2, vec![digest(2)], LATER);
        let batch = events([1, 2]);
        assert_eq!(keys.ask(1), 1);
        assert_eq!(doubts(&keys, &batch), [digest(1)]);

        // The other one comes onto the disk before the journal answers.
        keys.trim(2);

        assert_eq!(left(&keys, &batch, &[digest(1)]), []);
    }

    #[test]
    fn a_second_question_asks_for_what_the_first_one_keeps_exact() {
        let mut keys = Keys::default();
        keys.remember_events(1, vec![digest(1)], LATER);
        let first = keys.ask(0);
        let second = keys.ask(1);
        assert!(doubts(&keys, &events([1])).is_empty(), "it is exact for the first one");

        keys.answered(first);
        keys.trim(1);

        assert_eq!(left(&keys, &events([1]), &[]), [], "and for the second until its answer");
        keys.answered(second);
        keys.trim(1);
        assert_eq!(doubts(&keys, &events([1])), [digest(1)]);
    }
}
