//! Which events count already, projected or not, and when they are forgotten.

use std::collections::{HashMap, HashSet};

use super::entry::EntryBody;
use super::marks::of_event;
use super::{Journal, JournalError, Line};
use crate::clock::Timestamp;
use crate::database::{event_keys, marks};
use crate::ids::TenantId;
use crate::tenant::quota::{EventDigest, Fact};

impl Journal {
    /// Finds those of the events that an entry on disk counted.
    pub async fn find_events(
        &self,
        tenant: TenantId,
        digests: &[EventDigest],
    ) -> Result<HashSet<EventDigest>, JournalError> {
        let asked: HashSet<EventDigest> = digests.iter().copied().collect();
        // First the tail, then the table: an event leaves the tail after it came into the table.
        let mut found: HashSet<_> = self.inner.tail.counted(tenant, digests).into_iter().collect();
        let rest: Vec<String> = asked.difference(&found).map(EventDigest::to_string).collect();
        if rest.is_empty() {
            return Ok(found);
        }
        let mut reader = self.inner.database.reader().await?;
        let mut view = reader.freeze().await?;
        // Counted before there were marks.
        for text in event_keys::known(&mut view, tenant, &rest).await? {
            found.extend(text.parse::<EventDigest>().ok());
        }
        let rest: HashMap<u64, EventDigest> =
            asked.difference(&found).map(|event| (of_event(*event), *event)).collect();
        let digests: Vec<u64> = rest.keys().copied().collect();
        // A tenant with 10^9 events has another one with the same 64 bits once in 10^10 searches.
        for mark in marks::find(&mut view, tenant, &digests, true).await? {
            found.extend(rest.get(&mark.digest));
        }
        Ok(found)
    }

    /// Forgets events of a tenant that were counted so long ago that nobody repeats them, and keys
    /// as old.
    pub async fn forget_events(
        &self,
        tenant: TenantId,
        counted_before: Timestamp,
    ) -> Result<(), JournalError> {
        let mut tx = self.inner.database.tenant_tx(tenant).await?;
        event_keys::forget(&mut tx, counted_before.as_micros()).await?;
        marks::forget(&mut tx, counted_before.as_micros()).await?;
        Ok(tx.commit().await?)
    }
}

/// The events that a line counted.
pub(super) fn events_of(line: &Line) -> impl Iterator<Item = EventDigest> {
    let events = match &line.body {
        EntryBody::Usage(Fact::Recorded { events, .. }) => events.as_slice(),
        _ => &[],
    };
    events.iter().map(|event| event.digest)
}
