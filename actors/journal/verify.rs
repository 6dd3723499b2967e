//! Checks every chain of the log, the signed heads, and the projections against it.
//!
//! The check reads beside a running server: the projections in one view, the log up to its end.
//! It stops at the first thing that is wrong and names it. **Invariant:** memory is bounded,
//! whatever the log holds: tenants that do not fit are checked by reading the log again.

mod expected;
mod marking;
mod projections;
mod report;
mod walk;
mod window;

use self::walk::{Halt, Walk};
use self::window::Window;
use super::entry::Head;
use super::source::LogReader;
use crate::clock::Timestamp;
use crate::database::{Database, StoreError, heads, projections as tables};
use crate::ids::TenantId;
use crate::privacy::keys::PublicKey;

pub use self::report::{Fault, VerifyReport, Wrong};

/// What is kept in memory at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Tenants whose chains are followed in one reading of the log: about 80 MB.
    pub(super) tenants: usize,
    /// Idempotency keys of one tenant: about 80 MB.
    pub(super) keys: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { tenants: 500_000, keys: 500_000 }
    }
}

/// Where a tenant's chain stands at the end of the log, and at the projections' watermark.
#[derive(Debug, Clone, Copy)]
struct Chain {
    end: Head,
    projected: Head,
}

impl Default for Chain {
    fn default() -> Self {
        Self { end: Head::GENESIS, projected: Head::GENESIS }
    }
}

/// The tenants of one reading.
type Tenants = Window<TenantId, Chain>;

/// Checks the log and what is projected from it. `keys` are those that signed heads.
pub async fn verify(
    database: &Database,
    keys: &[PublicKey],
    now: Timestamp,
) -> Result<VerifyReport, StoreError> {
    verify_within(database, keys, now, Limits::default()).await
}

pub(super) async fn verify_within(
    database: &Database,
    keys: &[PublicKey],
    now: Timestamp,
    limits: Limits,
) -> Result<VerifyReport, StoreError> {
    let mut main = database.reader().await?;
    let mut view = main.freeze().await?;
    let mut log = LogReader::open(database).await?;
    let watermarks = tables::watermarks(&mut view).await?;
    let shards = database.backend().shard_count();
    let mut report = VerifyReport::default();
    let mut start = None;
    loop {
        let mut reading = VerifyReport::default();
        let mut tenants = Tenants::new(start, limits.tenants);
        for shard in 0..shards {
            let signed = heads::of_shard(&mut view, shard).await?;
            let projected = watermarks.iter().find(|(of, ..)| *of == i64::from(shard));
            let projected = projected.map(|(_, seq, hash)| (*seq, hash.as_str()));
            let tenants = &mut tenants;
            let report = &mut reading;
            let walk = Walk { shard, shards, signed: &signed, keys, projected, tenants, report };
            match walk.run(&mut log, &mut view).await {
                Ok(()) => {}
                Err(Halt::Fault(fault)) => return Ok(reading.with_fault(*fault)),
                Err(Halt::Store(error)) => return Err(error),
            }
        }
        // Every reading counts the same rows; each has tenants of its own.
        report = VerifyReport { tenants: report.tenants + tenants.len() as u64, ..reading };
        if let Some(fault) = projections::compare(&mut view, &tenants, now, limits).await? {
            return Ok(report.with_fault(fault));
        }
        start = tenants.next_start().copied();
        if start.is_none() {
            return Ok(report);
        }
    }
}
