//! Looks whether the shards are still ours, also those that nobody writes to.
//!
//! The fence itself is `(shard, seq)`: a lost shard takes no row of ours. But reads and refusals
//! come from memory, so an owner that was paused must notice soon that it was replaced, and one
//! whose server lost its newest rows must not go on as if they were there.

use std::time::Duration;

use super::{Committer, Log};
use crate::database::{Fatal, StoreError};
use crate::journal::commit::chain_of;
use crate::journal::room::Gate;
use crate::journal::row::shard_of;

/// How often an owner that can be replaced looks whether it was.
pub(in crate::journal) const LOOK_EVERY: Duration = Duration::from_secs(1);

impl<L: Log> Committer<L> {
    /// Looks at every shard's last row and at the place after it. Call it between two commits.
    pub(super) async fn look(&mut self) -> Result<(), Fatal> {
        let owned = || (0_u16..).zip(&self.heads).filter(|(_, head)| !head.is_lost);
        let last = owned().map(|(shard, head)| (shard, head.seq));
        let next = owned().map(|(shard, head)| (shard, head.seq + 1));
        let places: Vec<_> = last.chain(next).collect();
        if places.is_empty() {
            return Ok(());
        }
        let found = match self.log.hashes(&places).await {
            Ok(found) => found,
            Err(error) => {
                self.unreachable(&error).await;
                return Ok(());
            }
        };
        self.admission.set_gate(Gate::Open);
        self.regressed(&found)?;
        let ends: Vec<_> = self.heads.iter().map(|head| head.seq).collect();
        for (shard, seq, _) in found {
            if seq > ends[usize::from(shard)] {
                self.lose(shard);
            }
        }
        Ok(())
    }

    /// Refuses to go on when a committed row is not in the log any more.
    pub(super) fn regressed(
        &self,
        found: &[(u16, i64, crate::journal::row::RowHash)],
    ) -> Result<(), Fatal> {
        for (shard, head) in (0_u16..).zip(&self.heads).filter(|(_, head)| !head.is_lost) {
            let is_there = |place: &&(u16, i64, _)| (place.0, place.1) == (shard, head.seq);
            if found.iter().find(is_there).is_none_or(|(_, _, hash)| *hash != head.hash) {
                return Err(Fatal::Regressed { shard, seq: head.seq });
            }
        }
        Ok(())
    }

    /// Looks, after a connection was lost, whether what was committed is still there.
    pub(super) async fn look_back(&mut self) -> Result<Result<(), Fatal>, StoreError> {
        let owned = (0_u16..).zip(&self.heads).filter(|(_, head)| !head.is_lost);
        let places: Vec<_> = owned.map(|(shard, head)| (shard, head.seq)).collect();
        let found = self.log.hashes(&places).await?;
        Ok(self.regressed(&found))
    }

    /// Stops everything of a shard that has another owner.
    pub(super) fn lose(&mut self, shard: u16) {
        self.heads[usize::from(shard)].is_lost = true;
        self.lost.add(shard);
        let count = self.shard_count();
        for (tenant, incarnation) in &self.live {
            if shard_of(*tenant, count) == shard {
                incarnation.retire();
            }
        }
        self.published.send_modify(|published| published.clone_from(&self.heads));
    }

    async fn unreachable(&mut self, error: &StoreError) {
        tracing::warn!(error = chain_of(error), "the journal does not answer");
        self.admission.set_gate(Gate::Unavailable);
        if let Err(error) = self.log.reopen().await {
            tracing::warn!(error = chain_of(&error), "the journal cannot be reached");
        }
    }
}
