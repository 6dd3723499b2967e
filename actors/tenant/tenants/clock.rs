//! Tenants in test mode: giving one a clock of its own, and advancing it.

use serde::Serialize;

use super::{Tenants, unexpected};
use crate::clock::Timestamp;
use crate::ids::TenantId;
use crate::journal::MAX_RANGE;
use crate::journal::entry::{Author, Entry, EntryBody};
use crate::tenant::call::{Answer, CallContext, TenantError};
use crate::tenant::quota::{Command, Outcome};
use crate::tenant::state::TenantOutcome;

/// Where a test clock stands, and what happened on its way there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Advanced {
    /// The tenant's time now.
    pub now: Timestamp,
    /// What happened, in order: at most 1,000 entries.
    pub happened: Vec<Happened>,
    /// Entries that were made on the way and are not listed.
    pub omitted: u64,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Happened {
    /// The entry's number in the tenant's journal.
    pub seq: u64,
    /// When it happened, in the tenant's time.
    pub at: Timestamp,
    /// What it was, as the journal has it.
    #[serde(flatten)]
    pub fact: EntryBody,
}

impl Tenants {
    /// Puts a tenant in test mode: its time stands still at `at`, or at its last entry if that is
    /// later.
    pub async fn start_test_clock(
        &self,
        tenant: TenantId,
        at: Timestamp,
        context: CallContext,
    ) -> Result<Answer<()>, TenantError> {
        let answer = self.ask(tenant, Command::StartTestClock { at }, &context).await?;
        answer.try_map(|_| Ok(()))
    }

    /// Advances the clock of a tenant in test mode, and tells what happened on the way.
    pub async fn advance_clock(
        &self,
        tenant: TenantId,
        to: Timestamp,
        context: CallContext,
    ) -> Result<Answer<Advanced>, TenantError> {
        let answer = self.ask(tenant, Command::AdvanceClock { to }, &context).await?;
        let TenantOutcome::Usage(Outcome::Clock(moved)) = answer.value else {
            return Err(unexpected(&answer.value));
        };
        // The clock's own entry comes last and is what the answer itself says.
        let first = moved.first.unwrap_or(moved.seq);
        let count = moved.seq.saturating_sub(first);
        let mut happened = Vec::new();
        if count > 0 {
            let entries = self.shell.journal.entries(tenant, first, moved.seq - 1).await;
            let entries = entries.map_err(|error| {
                tracing::warn!(tenant.id = %tenant, %error, "an advance cannot be read back");
                TenantError::OutcomeUnknown
            })?;
            // Calls that came after an advance was cut off did not happen by themselves.
            let by_itself = entries.into_iter().filter(|entry| entry.by == Author::SYSTEM.by);
            happened.extend(by_itself.map(Happened::of));
        }
        let omitted = count.saturating_sub(MAX_RANGE);
        let value = Advanced { now: moved.now, happened, omitted };
        Ok(Answer { value, replayed: answer.replayed })
    }
}

impl Happened {
    fn of(entry: Entry) -> Self {
        Self { seq: entry.seq, at: entry.at, fact: entry.body }
    }
}
