//! Signed positions of the journal. They stand beside the log, not in it: a tail that is cut off
//! leaves its signature behind.

use sqlx::Row;

use super::{Session, StoreError, SystemTx};

const ADD: &str = "INSERT INTO journal_heads (shard, seq, hash, signed_at, key_id, signature) \
     VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (shard, seq) DO NOTHING";
const OF_SHARD: &str = "SELECT shard, seq, hash, signed_at, key_id, signature \
     FROM journal_heads WHERE shard = $1 ORDER BY seq";

/// One signed position, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredHead {
    /// The shard.
    pub shard: i64,
    /// The last row that is covered.
    pub seq: i64,
    /// That row's hash, which covers all rows before.
    pub hash: String,
    /// When it was signed, in microseconds.
    pub signed_at: i64,
    /// Which key signed it.
    pub key_id: String,
    /// The signature in base64url.
    pub signature: String,
}

/// Keeps a signed position.
pub(crate) async fn add(tx: &mut SystemTx, head: &StoredHead) -> Result<(), StoreError> {
    sqlx::query(ADD)
        .bind(head.shard)
        .bind(head.seq)
        .bind(head.hash.as_str())
        .bind(head.signed_at)
        .bind(head.key_id.as_str())
        .bind(head.signature.as_str())
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Reads the signed positions of a shard in order.
pub(crate) async fn of_shard(
    session: &mut impl Session,
    shard: u16,
) -> Result<Vec<StoredHead>, StoreError> {
    let query = sqlx::query(OF_SHARD).bind(i64::from(shard));
    let rows = query.fetch_all(session.connection()).await?;
    rows.iter()
        .map(|row| {
            Ok(StoredHead {
                shard: row.try_get(0)?,
                seq: row.try_get(1)?,
                hash: row.try_get(2)?,
                signed_at: row.try_get(3)?,
                key_id: row.try_get(4)?,
                signature: row.try_get(5)?,
            })
        })
        .collect()
}

#[cfg(test)]
pub(super) fn statements() -> Vec<&'static str> {
    vec![ADD, OF_SHARD]
}
