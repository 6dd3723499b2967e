//! From the identity plane to the usage plane: a row in one transaction, an entry exactly once.
//!
//! A change that touches both planes writes an [`Intent`] in the identity plane's transaction. The
//! relay delivers it to the tenant's actor with the row's id as idempotency key, and removes the
//! row once the entry is on disk. Delivered twice, the second time is a repetition.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tenantry_supervision::{Deadline, Tasks, spawn};
use tokio::sync::Notify;

use crate::clock::{Clock, SharedClock, Timestamp};
use crate::database::intents::{self as rows, IntentRow};
use crate::database::{Database, StoreError, SystemTx};
use crate::ids::{EventId, RequestId, TenantId};
use crate::privacy::keys::KeyRing;
use crate::tenant::period::Cycle;
use crate::tenant::plan::PlanName;
use crate::tenant::quota::PlanChange;
use crate::tenant::{CallContext, Idempotency, KeyOwner, TenantError, Tenants};

/// How often the relay looks without being nudged.
const POLL_EVERY: Duration = Duration::from_secs(2);

/// Intents that one look delivers.
const BATCH_ROWS: i64 = 64;

/// How long a delivery may take.
const DELIVER_WITHIN: Duration = Duration::from_secs(10);

/// How long a start waits for what was left to deliver.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(5);

/// The pause after a failed delivery; it doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause between two deliveries of one intent.
const MAX_PAUSE: Duration = Duration::from_mins(5);

/// Scope of the keys that intents are delivered under.
const ROUTE: &str = "intent";

/// Something that the identity plane wants done at a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Intent {
    /// Put the tenant on a plan of the catalogue.
    SetPlan {
        /// The plan's name.
        plan: PlanName,
        /// The rule of its periods, unless it stays as it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cycle: Option<Cycle>,
        /// When it comes into force.
        #[serde(default)]
        when: PlanChange,
    },
    /// Put the tenant in test mode.
    StartTestClock {
        /// Where its clock stands.
        at: Timestamp,
    },
}

/// The relay's handle.
#[derive(Clone, Debug, Default)]
pub struct Intents {
    nudged: Arc<Notify>,
}

/// What the relay needs.
#[derive(Clone, Debug)]
pub struct IntentDeps {
    /// Where the rows are.
    pub database: Database,
    /// Who carries them out.
    pub tenants: Tenants,
    /// Digests the rows' ids.
    pub keys: KeyRing,
    /// Tells when a row is due.
    pub clock: SharedClock,
    /// Owner of the relay's task.
    pub tasks: Tasks,
}

/// Writes an intent in the caller's transaction; call [`Intents::nudge`] after its commit.
#[expect(clippy::missing_panics_doc, reason = "an intent is plain data")]
pub async fn insert(
    tx: &mut SystemTx,
    tenant: TenantId,
    intent: &Intent,
    clock: &dyn Clock,
) -> Result<(), StoreError> {
    let body = serde_json::to_string(intent).expect("an intent is plain data");
    let row = IntentRow { tenant, id: EventId::generate(clock), body, attempts: 0 };
    rows::insert(tx, &row, clock.now()).await
}

impl Intents {
    /// Makes a handle, before the relay runs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells the relay that there is something new.
    pub fn nudge(&self) {
        self.nudged.notify_one();
    }

    /// Starts the relay; it ends with its owner. Returns when what waited from before is delivered,
    /// or after [`CATCH_UP_WITHIN`]: a tenant made beside the server is whole when it is served.
    pub async fn start(&self, deps: IntentDeps) {
        let catch_up = async { while matches!(deliver_due(&deps).await, Ok(1..)) {} };
        if Deadline::after(CATCH_UP_WITHIN).run(catch_up).await.is_err() {
            tracing::warn!("intents are still waiting to be delivered");
        }
        let nudged = Arc::clone(&self.nudged);
        let tasks = deps.tasks.clone();
        spawn("intents", &tasks.clone(), async move {
            loop {
                // A failed look is tried again by the next one.
                match deliver_due(&deps).await {
                    Ok(delivered) if delivered > 0 => continue,
                    Ok(_) => {}
                    Err(error) => tracing::warn!(error = %error, "intents cannot be read"),
                }
                tokio::select! {
                    () = tasks.cancelled() => return,
                    () = nudged.notified() => {}
                    () = tokio::time::sleep(POLL_EVERY) => {}
                }
            }
        });
    }
}

/// Delivers what is due and says how many entries were made.
async fn deliver_due(deps: &IntentDeps) -> Result<usize, StoreError> {
    let due = {
        let mut reader = deps.database.reader().await?;
        rows::due(&mut reader, deps.clock.now(), BATCH_ROWS).await?
    };
    let mut delivered = 0;
    for row in due {
        if deps.tasks.is_cancelled() {
            break;
        }
        // Whoever owns the tenant now delivers it.
        if deps.tenants.is_lost(row.tenant) {
            continue;
        }
        let outcome = deliver(deps, &row).await;
        let mut tx = deps.database.system_tx().await?;
        match outcome {
            Ok(()) => {
                rows::delete(&mut tx, row.tenant, row.id).await?;
                delivered += 1;
            }
            Err(error) => {
                tracing::warn!(tenant.id = %row.tenant, error = %error, "intent not delivered");
                let due_at = deps.clock.now().plus_s(pause_after(row.attempts).as_secs());
                rows::postpone(&mut tx, row.tenant, row.id, due_at).await?;
            }
        }
        tx.commit().await?;
    }
    Ok(delivered)
}

async fn deliver(deps: &IntentDeps, row: &IntentRow) -> Result<(), TenantError> {
    let Ok(intent) = serde_json::from_str(&row.body) else {
        return Err(TenantError::Unavailable);
    };
    let request = RequestId::generate(&*deps.clock);
    let key = row.id.to_string();
    let context = CallContext::system(request, Deadline::after(DELIVER_WITHIN)).with_idempotency(
        Idempotency::new(&deps.keys, KeyOwner::Intents, ROUTE, &key, row.body.as_bytes()),
    );
    match intent {
        Intent::SetPlan { plan, cycle, when } => {
            deps.tenants.change_plan(row.tenant, &plan, cycle, when, context).await.map(drop)
        }
        Intent::StartTestClock { at } => {
            deps.tenants.start_test_clock(row.tenant, at, context).await.map(drop)
        }
    }
}

fn pause_after(attempts: i64) -> Duration {
    let doublings = u32::try_from(attempts.clamp(0, 16)).unwrap_or(16);
    FIRST_PAUSE.saturating_mul(1 << doublings).min(MAX_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_between_deliveries_doubles_up_to_its_cap() {
        assert_eq!(pause_after(0), Duration::from_secs(1));
        assert_eq!(pause_after(3), Duration::from_secs(8));
        assert_eq!(pause_after(1_000), MAX_PAUSE);
    }
}
