//! What identity does by itself: reading revocations of other nodes, removing what is over.

use std::sync::Arc;
use std::time::Duration;

use tenantry_supervision::spawn::{Tasks, spawn};

use super::links::micros;
use super::{IdentityError, Inner};
use crate::clock::Timestamp;
use crate::database::{magic_links, revocations, sessions};

/// How often the revocations of other nodes are read.
pub(super) const POLL_EVERY: Duration = Duration::from_millis(300);
/// How many revocations are read at once.
const POLL_ROWS: i64 = 1_000;
/// How often what is over is removed.
const PURGE_EVERY: Duration = Duration::from_mins(10);
/// How long links are kept after they are over: the attempts of a day are counted on them.
const KEEP_LINKS: Duration = Duration::from_hours(25);
/// How long sessions are kept after they are over, so that a late cookie is told from a forged one.
const KEEP_SESSIONS: Duration = Duration::from_hours(30 * 24);
/// How long revocations are kept for nodes that fell behind.
const KEEP_REVOCATIONS: Duration = Duration::from_hours(25);

/// Starts the tasks that end with their owner.
pub(super) fn start(inner: &Arc<Inner>, tasks: &Tasks) {
    let (polling, owner) = (Arc::clone(inner), tasks.clone());
    spawn("identity-revocations", tasks, async move {
        let mut ticks = tokio::time::interval(POLL_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut has_failed = false;
        loop {
            tokio::select! {
                () = owner.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let result = polling.catch_up().await;
            // Logged on a change alone: three times a second would drown the log.
            if let Err(error) = &result
                && !has_failed
            {
                tracing::warn!(%error, "revocations cannot be read");
            }
            has_failed = result.is_err();
        }
    });
    let (purging, owner) = (Arc::clone(inner), tasks.clone());
    spawn("identity-purge", tasks, async move {
        let mut ticks = tokio::time::interval(PURGE_EVERY);
        loop {
            tokio::select! {
                () = owner.cancelled() => return,
                _ = ticks.tick() => {}
            }
            if let Err(error) = purging.purge().await {
                tracing::warn!(%error, "what is over could not be removed");
            }
        }
    });
}

impl Inner {
    /// Reads what this node itself has just revoked. The change is committed whatever comes of
    /// this, so a failure is not the caller's: the next poll reads it.
    pub(super) async fn catch_up_now(&self) {
        if let Err(error) = self.catch_up().await {
            tracing::warn!(%error, "a revocation is seen with the next poll only");
        }
    }

    /// Reads the revocations that are not known yet, in their order.
    pub(super) async fn catch_up(&self) -> Result<(), IdentityError> {
        loop {
            let mut reader = self.db.reader().await?;
            let rows =
                revocations::after(&mut reader, self.revocations.latest(), POLL_ROWS).await?;
            drop(reader);
            let count = rows.len();
            self.revocations.add(rows.into_iter().map(|(seq, subject)| (seq, subject.parse())));
            if i64::try_from(count).unwrap_or(0) < POLL_ROWS {
                return Ok(());
            }
        }
    }

    async fn purge(&self) -> Result<(), IdentityError> {
        let now = self.clock.now();
        let ago = |keep| Timestamp::from_micros(now.as_micros().saturating_sub(micros(keep)));
        let mut tx = self.db.system_tx().await?;
        magic_links::purge(&mut tx, ago(KEEP_LINKS)).await?;
        sessions::purge(&mut tx, ago(KEEP_SESSIONS)).await?;
        revocations::purge(&mut tx, ago(KEEP_REVOCATIONS)).await?;
        Ok(tx.commit().await?)
    }
}
