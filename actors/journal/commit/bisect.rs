//! Finds the hand-overs that the database refuses, so that they fail alone.
//!
//! A refused statement says nothing about which of its lines is to blame. Halves of the batch are
//! tried in their order until what is refused is one hand-over. **Invariant:** nothing of an
//! incarnation is committed after something of it was refused: its chain would have a gap.

use std::collections::HashSet;

use super::batch::{Batch, Unit};
use super::{Committer, Log, call, fail, metrics};
use crate::database::Fatal;
use crate::journal::{AppendError, Line};

/// Refused statements that one batch may cost. Fifteen find one culprit among the most that can
/// queue up; a database that refuses everything is not asked for each of them.
const MAX_REFUSALS: usize = 256;

impl<L: Log> Committer<L> {
    /// Commits a batch; of one that is refused, everything that is not itself to blame.
    pub(super) async fn commit(&mut self, batch: Batch) -> Result<(), Fatal> {
        let mut refused = self.try_commit(batch).await?;
        if refused.is_none() {
            return Ok(());
        }
        let mut search = Search::default();
        let mut parts = Vec::new();
        loop {
            if let Some(batch) = refused.take() {
                search.refusals += 1;
                if batch.append_count() > 1 && search.refusals < MAX_REFUSALS {
                    let (first, second) = self.halves(batch);
                    parts.extend([second, first]);
                } else {
                    parts.push(search.blame(batch, self.heads.len()));
                }
            }
            let Some(part) = parts.pop() else { return Ok(()) };
            let part = self.without_failed(part, &search);
            match self.try_commit(part).await {
                Ok(batch) => refused = batch,
                Err(fatal) => {
                    for part in parts {
                        fail(part, AppendError::Failed);
                    }
                    return Err(fatal);
                }
            }
        }
    }

    /// Cuts a batch in two, each with half of its hand-overs.
    fn halves(&self, batch: Batch) -> (Batch, Batch) {
        let mut left = batch.append_count() / 2;
        let (mut first, mut second) = (Batch::new(self.heads.len()), Batch::new(self.heads.len()));
        for (unit, lines) in batch.into_units() {
            if left > 0 {
                left -= usize::from(matches!(unit, Unit::Append { .. }));
                first.push(unit, lines);
            } else {
                second.push(unit, lines);
            }
        }
        (first, second)
    }

    /// Answers what cannot be committed any more: its incarnation or its shard was lost meanwhile.
    fn without_failed(&self, batch: Batch, search: &Search) -> Batch {
        let mut rest = Batch::new(self.heads.len());
        for (unit, lines) in batch.into_units() {
            let error = match &unit {
                Unit::Append { incarnation, .. }
                    if search.failed.contains(&incarnation.number()) =>
                {
                    AppendError::Failed
                }
                Unit::Append { shard, .. } if self.heads[usize::from(*shard)].is_lost => {
                    AppendError::Fenced
                }
                _ => {
                    rest.push(unit, lines);
                    continue;
                }
            };
            refuse(unit, error);
        }
        rest
    }
}

/// What is known about a refused batch so far.
#[derive(Debug, Default)]
struct Search {
    refusals: usize,
    // By number, not by whether they are retired: a barrier in the same batch retires as well, and
    // what stands before it is still good.
    failed: HashSet<u64>,
}

impl Search {
    /// Fails every hand-over of a batch and leaves those that only wait for its end.
    fn blame(&mut self, batch: Batch, shard_count: usize) -> Batch {
        let mut rest = Batch::new(shard_count);
        for (unit, lines) in batch.into_units() {
            let Unit::Append { incarnation, .. } = &unit else {
                rest.push(unit, lines);
                continue;
            };
            self.failed.insert(incarnation.number());
            tell(&lines);
            refuse(unit, AppendError::Failed);
        }
        rest
    }
}

/// Says whose entry it was: nobody else notices.
fn tell(lines: &[Line]) {
    metrics::refused();
    if let Some(line) = lines.first() {
        let kind = line.body.kind();
        tracing::error!(tenant.id = %line.tenant, seq = line.seq, kind, "an entry was refused");
    }
}

fn refuse(unit: Unit, error: AppendError) {
    if let Unit::Append { incarnation, room, done, .. } = unit {
        incarnation.retire();
        drop(room);
        call(done, Err(error));
    }
}
