//! Calls about usage that already happened: events and corrections.

use super::{Tenants, unexpected};
use crate::clock::Timestamp;
use crate::ids::TenantId;
use crate::tenant::call::{Answer, CallContext, TenantError};
use crate::tenant::notes;
use crate::tenant::plan::MeterName;
use crate::tenant::quota::{
    Adjusted, Command, Digest, Event, EventDigest, MAX_EVENTS, Outcome, Recorded,
};
use crate::tenant::state::TenantOutcome;

/// Stands for the tenant's present in an event that names no time: only its actor knows a test
/// clock's. It is the last instant that can be written, which no event can have lived through.
pub const WHEN_RECORDED: Timestamp = Timestamp::MAX;

/// A correction of what is used, in its author's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correction {
    /// The meter.
    pub meter: MeterName,
    /// Units to add, or to take back.
    pub delta: i64,
    /// Why.
    pub reason: String,
    /// What it refers to.
    pub reference: Option<String>,
}

impl Tenants {
    /// Digests what names an event, so that the journal knows it again without its text.
    pub fn event_digest(&self, source: &str, id: &str) -> EventDigest {
        let mut name = Vec::with_capacity(size_of::<u64>() + source.len() + id.len());
        // The length tells where the source ends: no two events share a name.
        name.extend_from_slice(&(source.len() as u64).to_be_bytes());
        name.extend_from_slice(source.as_bytes());
        name.extend_from_slice(id.as_bytes());
        EventDigest::from_bytes(self.shell.keys.short_digest("event", &name))
    }

    /// Records usage that already happened. What comes a second time changes nothing: its digest
    /// is in neither list of the answer.
    pub async fn record(
        &self,
        tenant: TenantId,
        events: Vec<Event>,
        context: CallContext,
    ) -> Result<Answer<Recorded>, TenantError> {
        debug_assert!(events.len() <= MAX_EVENTS, "the edge counted the events");
        let answer = self.ask(tenant, Command::Record { events }, &context).await?;
        answer.try_map(|outcome| match outcome {
            TenantOutcome::Usage(Outcome::Recorded(recorded)) => Ok(recorded),
            other => Err(unexpected(&other)),
        })
    }

    /// Corrects what is used, up or down. The words are kept sealed; the journal has their digests.
    pub async fn adjust(
        &self,
        tenant: TenantId,
        correction: Correction,
        context: CallContext,
    ) -> Result<Answer<Adjusted>, TenantError> {
        let Correction { meter, delta, reason, reference } = correction;
        let texts: Vec<&str> =
            [Some(&reason), reference.as_ref()].into_iter().flatten().map(String::as_str).collect();
        let mut digests = notes::keep(&self.shell, tenant, &texts).await?.into_iter();
        let (Some(reason), reference) = (digests.next(), digests.next()) else {
            return Err(TenantError::Unavailable);
        };
        let reason = Digest(reason);
        let reference = reference.map(Digest);
        let command = Command::Adjust { meter, delta, reason, reference };
        self.ask(tenant, command, &context).await?.try_map(|outcome| match outcome {
            TenantOutcome::Usage(Outcome::Adjusted(adjusted)) => Ok(adjusted),
            other => Err(unexpected(&other)),
        })
    }

    /// Reads the words behind a digest in the journal; none if they are gone.
    pub async fn note(
        &self,
        tenant: TenantId,
        digest: &str,
    ) -> Result<Option<String>, TenantError> {
        notes::read(&self.shell, tenant, digest).await
    }
}
