//! Removes rows that stand in files: between two commits, because the journal has one writer.

use tokio::sync::oneshot;

use super::{Committer, Log};
use crate::database::StoreError;

/// Rows of a shard that are to go.
#[derive(Debug)]
pub(in crate::journal) struct Forget {
    pub(in crate::journal) shard: u16,
    /// The last of them; the last row of all never goes.
    pub(in crate::journal) through: i64,
    pub(in crate::journal) reply: oneshot::Sender<Result<(), StoreError>>,
}

impl<L: Log> Committer<L> {
    /// Removes what was asked for; a failure is the asker's.
    pub(super) async fn forget(&mut self) {
        for Forget { shard, through, reply } in std::mem::take(&mut self.forgetting) {
            let head = self.heads.get(usize::from(shard));
            if head.is_some_and(|head| through < head.seq && !head.is_lost) {
                let _ = reply.send(self.log.forget(shard, through).await);
            }
        }
    }
}
