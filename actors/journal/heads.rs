//! Signs the end of the log, so that a tail that was cut off leaves its signature behind.

use std::sync::Arc;
use std::time::Duration;

use tenantry_supervision::{Tasks, spawn};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::commit::{Head, chain_of};
use crate::clock::{SharedClock, Timestamp};
use crate::database::heads::{self, StoredHead};
use crate::database::{Database, StoreError};
use crate::privacy::keys::SigningKey;

/// What is signed: `tenantry head v1\n<shard> <seq> <row hash> <time>\n`.
pub fn head_message(shard: i64, seq: i64, hash: &str, at: Timestamp) -> String {
    format!("tenantry head v1\n{shard} {seq} {hash} {at}\n")
}

/// Signs what has grown.
#[derive(Debug, Clone)]
pub(super) struct Signing {
    database: Database,
    clock: SharedClock,
    heads: watch::Receiver<Vec<Head>>,
    signer: Option<Arc<SigningKey>>,
}

impl Signing {
    pub(super) fn new(
        database: &Database,
        clock: &SharedClock,
        heads: watch::Receiver<Vec<Head>>,
        signer: Option<Arc<SigningKey>>,
    ) -> Self {
        Self { database: database.clone(), clock: Arc::clone(clock), heads, signer }
    }

    /// Signs now and then until `tasks` are told to end.
    pub(super) fn start(&self, tasks: &Tasks, every: Duration) {
        if self.signer.is_none() {
            return;
        }
        let (signing, cancel) = (self.clone(), tasks.token());
        spawn("journal.signing", tasks, async move {
            let mut beat = tokio::time::interval(every);
            beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = cancel.cancelled() => return,
                    _ = beat.tick() => {}
                }
                if let Err(error) = signing.sign().await {
                    tracing::warn!(error = chain_of(&error), "the journal's end was not signed");
                }
            }
        });
    }

    /// Signs the end of every shard. A position that is signed already stays as it is.
    pub(super) async fn sign(&self) -> Result<(), StoreError> {
        let Some(signer) = &self.signer else { return Ok(()) };
        let heads = self.heads.borrow().clone();
        let signed_at = self.clock.now();
        let mut tx = self.database.system_tx().await?;
        for (shard, head) in (0_i64..).zip(heads).filter(|(_, head)| !head.is_lost) {
            let hash = head.hash.to_string();
            let message = head_message(shard, head.seq, &hash, signed_at);
            let signature = signer.sign(message.as_bytes());
            // In the log as well: who keeps logs elsewhere has a witness outside this machine.
            tracing::info!(shard, seq = head.seq, hash, "the journal's end is signed");
            let head = StoredHead {
                shard,
                seq: head.seq,
                hash,
                signed_at: signed_at.as_micros(),
                key_id: signer.kid().to_owned(),
                signature,
            };
            heads::add(&mut tx, &head).await?;
        }
        tx.commit().await
    }
}
