//! Taking deliveries: whose turn it is, and what of theirs is due.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{counter, gauge};
use tenantry_supervision::breaker::BreakerState;

use super::places::{Chosen, Places};
use super::{OUTBOX_DEPTH, REFUSED_TOTAL, Relay};
use crate::clock::Timestamp;
use crate::database::StoreError;
use crate::database::webhook_deliveries::Claimed;
use crate::database::webhook_deliveries::queues::{self, Queue, Waiting};
use crate::ids::{EndpointId, TenantId};
use crate::webhooks::client::ATTEMPT_TIMEOUT;

/// Tenants whose queues are looked at in one statement, and how often one after another while
/// nothing of theirs may be sent.
const TENANTS_AT_ONCE: i64 = 64;
const WINDOWS_MAX: usize = 16;
/// How long a taken delivery is put off: longer than its attempt can take.
const LEASE: Duration = Duration::from_secs(ATTEMPT_TIMEOUT.as_secs() + 15);

/// The right to make one attempt; dropping it makes room for the next.
pub(super) struct Place {
    relay: Arc<Relay>,
    tenant: TenantId,
    endpoint: EndpointId,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.relay.places().leave(self.tenant, self.endpoint);
    }
}

impl Relay {
    /// Takes what is due, as far as there are places.
    pub(super) async fn take(self: &Arc<Self>) -> Result<Vec<(Claimed, Place)>, StoreError> {
        let deps = &self.inner.deps;
        let now = deps.clock.now();
        let mut granted = self.choose(now).await?;
        if granted.is_empty() {
            return Ok(Vec::new());
        }
        let lease_until = now.plus_s(LEASE.as_secs());
        let mut taken = Vec::new();
        let mut tx = deps.database.relay_tx().await?;
        for (queue, places) in &mut granted {
            let claimed = queues::claim(&mut tx, *queue, now, lease_until, places.len()).await?;
            taken.extend(claimed.into_iter().zip(places.drain(..)));
        }
        tx.commit().await?;
        Ok(taken)
    }

    /// Finds queues with something due and takes places for them. Looks at a bounded number of
    /// tenants, and begins where it ended the last time.
    async fn choose(
        self: &Arc<Self>,
        now: Timestamp,
    ) -> Result<Vec<(Queue, Vec<Place>)>, StoreError> {
        let mut reader = self.inner.deps.database.reader().await?;
        let is_due = queues::next_due(&mut reader).await?.is_some_and(|due| due <= now);
        if !is_due || self.places().free() == 0 {
            return Ok(Vec::new());
        }
        let mut turn = *self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut is_second_lap = turn.is_none();
        for _ in 0..WINDOWS_MAX {
            let Waiting { mut queues, last } =
                queues::waiting(&mut reader, turn, TENANTS_AT_ONCE).await?;
            queues.retain(|queue| queue.due_at <= now);
            let chosen = self.places().choose(&queues, |endpoint| self.allowed(endpoint));
            turn = chosen.turn.or(last);
            let granted = self.granted(chosen);
            let is_over = turn.is_none() && is_second_lap;
            is_second_lap |= turn.is_none();
            *self.turn.lock().unwrap_or_else(PoisonError::into_inner) = turn;
            if !granted.is_empty() && turn.is_some() {
                // There are more, and perhaps more places.
                self.inner.wake.notify_one();
            }
            if !granted.is_empty() || is_over {
                return Ok(granted);
            }
        }
        Ok(Vec::new())
    }

    fn granted(self: &Arc<Self>, chosen: Chosen) -> Vec<(Queue, Vec<Place>)> {
        let place = |queue: &Queue| Place {
            relay: Arc::clone(self),
            tenant: queue.tenant,
            endpoint: queue.endpoint,
        };
        let granted = chosen.queues.into_iter();
        granted.map(|(queue, count)| (queue, (0..count).map(|_| place(&queue)).collect())).collect()
    }

    /// How many attempts the endpoint's breaker would let through now.
    fn allowed(&self, endpoint: EndpointId) -> usize {
        match self.breakers.peek(&endpoint).map(|breaker| breaker.state()) {
            None | Some(BreakerState::Closed) => usize::MAX,
            Some(BreakerState::HalfOpen) => 1,
            Some(BreakerState::Open) => 0,
        }
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows how much waits, and settles and counts what found no room.
    pub(super) async fn measure(&self) -> Result<(), StoreError> {
        let deps = &self.inner.deps;
        let mut reader = deps.database.reader().await?;
        let depth = queues::depth(&mut reader).await?;
        gauge!(OUTBOX_DEPTH).set(f64::from(u32::try_from(depth).unwrap_or(u32::MAX)));
        let has_refused = queues::has_refused(&mut reader).await?;
        drop(reader);
        if has_refused {
            let mut tx = deps.database.relay_tx().await?;
            let refused = queues::settle_refused(&mut tx, deps.clock.now()).await?;
            tx.commit().await?;
            counter!(REFUSED_TOTAL).increment(refused);
        }
        Ok(())
    }
}
