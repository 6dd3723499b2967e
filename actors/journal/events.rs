//! Which events count already, projected or not, and when they are forgotten.

use std::collections::HashSet;

use super::entry::EntryBody;
use super::{Journal, JournalError, Line};
use crate::clock::Timestamp;
use crate::database::event_keys;
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
        for text in event_keys::known(&mut reader, tenant, &rest).await? {
            found.extend(text.parse::<EventDigest>().ok());
        }
        Ok(found)
    }

    /// Forgets events of a tenant that were counted so long ago that nobody repeats them.
    pub async fn forget_events(
        &self,
        tenant: TenantId,
        counted_before: Timestamp,
    ) -> Result<(), JournalError> {
        let mut tx = self.inner.database.tenant_tx(tenant).await?;
        event_keys::forget(&mut tx, counted_before.as_micros()).await?;
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
