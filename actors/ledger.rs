//! The journal as a tenant's own book: its entries, a month of them, and signed statements.
//!
//! Nothing here goes through the tenant's actor: the lines are immutable, and those that are not
//! projected yet are read from memory. **Invariant:** what is signed was recomputed from the lines
//! and their hashes, never taken from a projection.

mod month;
mod pem;
mod statement;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::try_unfold;
use serde_json::value::RawValue;

pub use self::month::{InvalidMonth, Month};
pub use self::pem::PublishedKey;
pub use self::statement::{InvalidPeriod, SignedStatement, StatementPeriod};
use crate::clock::{SharedClock, Timestamp};
use crate::ids::TenantId;
use crate::journal::{Journal, JournalError};
use crate::privacy::keys::{KeyError, KeyRing, PublicKey, SigningKey};
use crate::root::heads_key;
use crate::tenant::plan::MeterName;

/// Which key of the ring signs statements; a rotation counts the generation up.
const STATEMENTS_PURPOSE: &str = "statements";
const STATEMENTS_GENERATION: u32 = 0;
/// Entries that one page looks at, when few of them are about what is asked for.
const MAX_SCANNED: usize = 10_000;

/// Reads tenants' entries and signs statements.
#[derive(Clone, Debug)]
pub struct Ledger {
    journal: Journal,
    signer: Arc<SigningKey>,
    heads: PublicKey,
    clock: SharedClock,
}

/// Which entries are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerQuery {
    /// Those after this number.
    pub after: u64,
    /// Those about this meter; none is all.
    pub meter: Option<MeterName>,
    /// Those of this kind; none is all.
    pub kind: Option<&'static str>,
    /// At most so many.
    pub limit: usize,
}

/// Some entries in their order, each exactly as it was committed.
#[derive(Debug)]
pub struct LedgerPage {
    /// The lines.
    pub entries: Vec<Box<RawValue>>,
    /// What to ask for next as `after`; none if this is the end.
    pub next: Option<u64>,
}

impl Ledger {
    /// Makes the reader of a running journal.
    pub fn new(journal: Journal, keys: &KeyRing, clock: SharedClock) -> Result<Self, KeyError> {
        let signer = Arc::new(keys.signing_key(STATEMENTS_PURPOSE, STATEMENTS_GENERATION)?);
        let heads = heads_key(keys)?.public();
        Ok(Self { journal, signer, heads, clock })
    }

    /// The keys that everything signed here can be checked with: statements', then heads'.
    pub fn keys(&self) -> [PublishedKey; 2] {
        published(&self.signer.public(), &self.heads)
    }

    /// Lists a tenant's entries, the oldest first.
    pub async fn page(
        &self,
        tenant: TenantId,
        query: &LedgerQuery,
    ) -> Result<LedgerPage, JournalError> {
        // Names are of letters, digits and underscores, and lines are written by this program.
        let meter = query.meter.as_ref().map(|meter| format!("\"meter\":\"{meter}\""));
        let kind = query.kind.map(|kind| format!("\"kind\":\"{kind}\""));
        let wanted = [meter, kind];
        let (mut entries, mut last) = (Vec::new(), query.after);
        let (mut at, mut scanned) = (query.after, 0);
        loop {
            let lines = self.journal.lines_after(tenant, at).await?;
            if lines.is_empty() {
                return Ok(LedgerPage { entries, next: None });
            }
            for (seq, text) in lines {
                (at, scanned) = (seq, scanned + 1);
                if wanted.iter().flatten().all(|wanted| text.contains(wanted)) {
                    if entries.len() == query.limit {
                        return Ok(LedgerPage { entries, next: Some(last) });
                    }
                    last = seq;
                    entries.extend(RawValue::from_string(text));
                }
                if scanned >= MAX_SCANNED {
                    return Ok(LedgerPage { entries, next: Some(seq) });
                }
            }
        }
    }

    /// A tenant's entries of a month as JSON Lines, read as fast as they are taken.
    pub fn export(
        &self,
        tenant: TenantId,
        month: Month,
    ) -> impl Stream<Item = Result<Bytes, JournalError>> + Send + use<> {
        let journal = self.journal.clone();
        try_unfold(None, move |at: Option<u64>| {
            let journal = journal.clone();
            async move {
                let at = match at {
                    Some(at) => at,
                    None => journal.first_since(tenant, month.start()).await?.saturating_sub(1),
                };
                let lines = journal.lines_after(tenant, at).await?;
                let Some((last, _)) = lines.last() else { return Ok(None) };
                let (last, mut text) = (*last, String::new());
                for (_, line) in &lines {
                    if month.holds(line) {
                        text.push_str(line);
                        text.push('\n');
                    }
                }
                // Times never go back: an empty page is the end.
                Ok((!text.is_empty()).then(|| (Bytes::from(text), Some(last))))
            }
        })
    }

    /// Signs what a tenant's entries of a period come to; none if it has no entry of it.
    pub async fn statement(
        &self,
        tenant: TenantId,
        period: &StatementPeriod,
    ) -> Result<Option<SignedStatement>, JournalError> {
        let now = self.clock.now();
        let statement = statement::draw_up(&self.journal, tenant, period, now).await?;
        Ok(statement.map(|statement| SignedStatement::sign(&statement, &self.signer)))
    }
}

/// The keys of a ring that has no server over it: what an operator hands out.
pub fn keys_of(keys: &KeyRing) -> Result<[PublishedKey; 2], KeyError> {
    let signer = keys.signing_key(STATEMENTS_PURPOSE, STATEMENTS_GENERATION)?;
    Ok(published(&signer.public(), &heads_key(keys)?.public()))
}

fn published(statements: &PublicKey, heads: &PublicKey) -> [PublishedKey; 2] {
    [PublishedKey::new("statements", statements), PublishedKey::new("journal-heads", heads)]
}

impl LedgerQuery {
    /// The first entries.
    pub fn first(limit: usize) -> Self {
        Self { after: 0, meter: None, kind: None, limit }
    }
}

/// When a line says that it was made.
fn time_of(line: &str) -> Option<Timestamp> {
    #[derive(serde::Deserialize)]
    struct Stamp {
        at: Timestamp,
    }
    serde_json::from_str::<Stamp>(line).ok().map(|stamp| stamp.at)
}
