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
use crate::tenant::quota::{Event, EventDigest};

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

    /// Removes what counts already, by memory and by what the journal was asked and found. Returns
    /// the events for which the journal has to be asked first.
    ///
    /// What is known by memory goes at once: it may be forgotten there before the journal answers.
    pub(super) fn new_events(
        &self,
        events: &mut Vec<Event>,
        found: Option<&HashSet<EventDigest>>,
        now: Timestamp,
    ) -> Vec<EventDigest> {
        events.retain(|event| !self.events.contains(&event.digest));
        let Some(found) = found else {
            let perhaps =
                |digest: &EventDigest| self.event_filter.may_contain(Probe::of_event(*digest), now);
            return events.iter().map(|event| event.digest).filter(perhaps).collect();
        };
        events.retain(|event| !found.contains(&event.digest));
        Vec::new()
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

    /// Lets go of the exact form of what is on disk up to `durable`, but for the last few keys.
    pub(super) fn trim(&mut self, durable: u64) {
        let durable = self.asked.keys().next().map_or(durable, |asked| durable.min(*asked));
        let is_old = |front: Option<u64>| front.is_some_and(|seq| seq <= durable);
        while is_old(self.events_order.front().map(|(seq, _)| *seq)) {
            let Some((_, events)) = self.events_order.pop_front() else { break };
            for digest in events {
                self.events.remove(&digest);
            }
        }
        while self.order.len() > RECENT_KEYS && is_old(self.order.front().map(|(seq, _)| *seq)) {
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

    fn left(events: &[Event]) -> Vec<EventDigest> {
        events.iter().map(|event| event.digest).collect()
    }

    #[test]
    fn an_event_in_flight_is_a_duplicate_and_one_on_disk_is_asked_for() {
        let mut keys = Keys::default();
        keys.remember_events(1, vec![digest(1), digest(2)], LATER);

        let mut batch = events([1, 3]);
        assert!(keys.new_events(&mut batch, None, NOW).is_empty());
        assert_eq!(left(&batch), [digest(3)]);

        keys.trim(1);
        let mut batch = events([1, 3]);
        assert_eq!(keys.new_events(&mut batch, None, NOW), [digest(1)]);
        assert_eq!(batch.len(), 2);
        let found = HashSet::from([digest(1)]);
        assert!(keys.new_events(&mut batch, Some(&found), NOW).is_empty());
        assert_eq!(left(&batch), [digest(3)]);
    }

    #[test]
    fn an_event_counted_while_the_journal_is_asked_is_a_duplicate() {
        let mut keys = Keys::default();
        keys.ask(0);
        keys.remember_events(1, vec![digest(1)], LATER);
        keys.trim(1);

        let mut batch = events([1]);
        assert!(keys.new_events(&mut batch, Some(&HashSet::new()), NOW).is_empty());
        assert!(batch.is_empty());
    }

    #[test]
    fn an_event_in_flight_counts_once_though_another_of_its_batch_is_looked_up() {
        let mut keys = Keys::default();
        keys.remember_events(1, vec![digest(1)], LATER);
        keys.trim(1);
        keys.remember_events(2, vec![digest(2)], LATER);
        let mut batch = events([1, 2]);
        assert_eq!(keys.new_events(&mut batch, None, NOW), [digest(1)]);
        keys.ask(2);

        // The other one comes onto the disk before the journal answers.
        keys.trim(2);
        let found = HashSet::from([digest(1)]);
        assert!(keys.new_events(&mut batch, Some(&found), NOW).is_empty());

        assert!(batch.is_empty(), "{batch:?}");
    }
}
