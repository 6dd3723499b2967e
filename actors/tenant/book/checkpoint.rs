//! A tenant's snapshot: its committed state as it is kept between two lives.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::filter::KeyFilter;
use super::super::keys::{EventFilter, Keys};
use super::super::plan::PlanTerms;
use super::super::state::TenantState;
use super::Book;
use crate::clock::Timestamp;
use crate::ids::TenantId;
use crate::journal::entry::EntryHash;
use crate::journal::{self, Journal};

/// Committed state as it is kept between two lives; a cache, the journal is the truth.
#[derive(Serialize, Deserialize)]
struct Snapshot<'a> {
    keys: Cow<'a, KeyFilter>,
    #[serde(default)]
    events: Cow<'a, EventFilter>,
    #[serde(borrow)]
    state: &'a RawValue,
}

/// A state on its way to become a snapshot.
#[derive(Debug)]
pub(in crate::tenant) struct Checkpoint {
    tenant: TenantId,
    pub(in crate::tenant) seq: u64,
    hash: EntryHash,
    state: Vec<u8>,
    keys: KeyFilter,
    events: EventFilter,
    /// Keys and events that were used before are forgotten.
    forget_before: (Timestamp, Timestamp),
    journal: Journal,
}

impl Checkpoint {
    /// Stores it; call it once its last entry is on disk. Without it the next activation reads
    /// more lines, so a failure loses nothing.
    pub(in crate::tenant) async fn store(self) {
        let state = String::from_utf8(self.state).expect("JSON is UTF-8");
        let state = RawValue::from_string(state).expect("a snapshot is JSON");
        let (keys, events) = (Cow::Owned(self.keys), Cow::Owned(self.events));
        let snapshot = Snapshot { keys, events, state: &state };
        let body = serde_json::to_string(&snapshot).expect("plain data has a JSON form");
        let Self { seq, hash, forget_before: (keys, events), .. } = self;
        let snapshot = journal::Snapshot { seq, hash, body };
        if let Err(error) = self.journal.snapshot(self.tenant, snapshot, keys).await {
            tracing::debug!(tenant.id = %self.tenant, %error, "snapshot not stored");
        }
        if let Err(error) = self.journal.forget_events(self.tenant, events).await {
            tracing::debug!(tenant.id = %self.tenant, %error, "old events not forgotten");
        }
    }
}

impl Book {
    /// Takes the state as it is now for a snapshot, if enough changed since the last one.
    pub(in crate::tenant) fn checkpoint(&mut self, after_entries: u64) -> Option<Checkpoint> {
        let seq = self.state.seq();
        if seq.saturating_sub(self.snapshot_at) < after_entries.max(1) {
            return None;
        }
        self.snapshot_at = seq;
        // A tenant that never sleeps would keep the filters of every period otherwise.
        self.keys.forget(self.now());
        Some(Checkpoint {
            tenant: self.tenant,
            seq,
            hash: self.state.head(),
            state: self.state.snapshot(),
            keys: self.keys.filter().clone(),
            events: self.keys.event_filter().clone(),
            forget_before: self.forget_before(),
            journal: self.journal.clone(),
        })
    }
}

/// Reads a snapshot, unless it is another version's or not what its name says.
pub(super) fn restore(
    stored: &journal::Snapshot,
    terms: &Arc<PlanTerms>,
) -> Option<(TenantState, Keys)> {
    let snapshot: Snapshot<'_> = serde_json::from_str(&stored.body).ok()?;
    let state = TenantState::restore(snapshot.state.get().as_bytes(), Arc::clone(terms)).ok()?;
    let is_named_rightly = state.seq() == stored.seq && state.head() == stored.hash;
    let (keys, events) = (snapshot.keys.into_owned(), snapshot.events.into_owned());
    is_named_rightly.then(|| (state, Keys::with_filters(keys, events)))
}
