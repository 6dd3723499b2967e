//! Takes the shards of the log: from then on the append of an older owner fails.

use std::sync::Arc;

use super::commit::Head;
use super::row::{Row, RowHash};
use super::{AppendError, JournalError};
use crate::clock::SharedClock;
use crate::database::JournalWriter;

/// Rounds of taking what is still missing: an owner that is busy appends between our look and our
/// row, but rarely twice in the same two milliseconds.
const MAX_ROUNDS: u32 = 1_000;

/// Appends, to every shard, the row that begins a new epoch. Nothing of a shard may be read or
/// decided before.
pub(super) async fn all(
    log: &mut JournalWriter,
    shard_count: u16,
    run: &str,
    clock: &SharedClock,
) -> Result<Vec<Head>, JournalError> {
    let mut heads: Vec<Option<Head>> = vec![None; usize::from(shard_count)];
    for round in 0..MAX_ROUNDS {
        let mut rows = Vec::new();
        for (shard, _) in (0_u16..).zip(&heads).filter(|(_, head)| head.is_none()) {
            rows.push(epoch_row(log, shard, &format!("{run}-epoch-{round}"), clock).await?);
        }
        if rows.is_empty() {
            break;
        }
        let taken = log.append(&rows).await?;
        for row in rows.iter().filter(|row| taken.contains(&(row.shard, row.seq))) {
            let Row { seq, epoch, hash, .. } = *row;
            heads[usize::from(row.shard)] = Some(Head { seq, epoch, hash, is_lost: false });
        }
    }
    heads.into_iter().collect::<Option<_>>().ok_or_else(|| AppendError::Fenced.into())
}

async fn epoch_row(
    log: &mut JournalWriter,
    shard: u16,
    batch_id: &str,
    clock: &SharedClock,
) -> Result<Row, JournalError> {
    let (seq, epoch, hash) = log.end(shard).await?.unwrap_or((0, 0, RowHash::START));
    let (seq, epoch) = (seq + 1, epoch + 1);
    let body = format!(
        "{{\"v\":1,\"kind\":\"epoch\",\"shard\":{shard},\"epoch\":{epoch},\"at\":\"{}\"}}\n",
        clock.now()
    );
    let mut row = Row {
        shard,
        seq,
        epoch,
        batch_id: batch_id.to_owned(),
        body: Arc::new(body),
        hash: RowHash::START,
    };
    row.hash = row.chain(hash);
    Ok(row)
}
