//! One row of the journal: the lines of one commit and one shard, chained to the row before.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;

use crate::ids::TenantId;

/// A SHA-256 that chains a row to its predecessor.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RowHash([u8; 32]);

impl RowHash {
    /// What the first row of a shard is chained to.
    pub(crate) const START: Self = Self([0; 32]);

    /// Reads the 64 hexadecimal digits of a stored hash.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes = HEXLOWER.decode(text.as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for RowHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for RowHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A row as it is submitted. It is never changed once submitted: an unknown outcome is resolved
/// by submitting the same bytes again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) shard: u16,
    pub(crate) seq: i64,
    pub(crate) epoch: i64,
    pub(crate) batch_id: String,
    // Shared with the driver: binding it does not copy the lines.
    pub(crate) body: Arc<String>,
    pub(crate) hash: RowHash,
}

impl Row {
    /// Computes the hash of a row that follows `previous`.
    ///
    /// The digest is over text, so that anyone can recompute it without this program:
    /// `<previous hash>\n<shard> <seq> <epoch> <batch id>\n<body>`.
    pub(crate) fn chain(&self, previous: RowHash) -> RowHash {
        let head =
            format!("{previous}\n{} {} {} {}\n", self.shard, self.seq, self.epoch, self.batch_id);
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(head.as_bytes());
        context.update(self.body.as_bytes());
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        RowHash(hash)
    }
}

/// The shard that a tenant's entries belong to, for ever: by the random bits of its id.
pub(crate) fn shard_of(tenant: TenantId, shard_count: u16) -> u16 {
    u16::try_from(tenant.bits() % u128::from(shard_count.max(1))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        Row {
            shard: 0,
            seq: 1,
            epoch: 1,
            batch_id: "b".into(),
            body: Arc::new("line\n".into()),
            hash: RowHash::START,
        }
    }

    #[test]
    fn every_part_of_a_row_is_under_its_hash() {
        let hash = row().chain(RowHash::START);

        assert_ne!(hash, row().chain(hash));
        assert_ne!(hash, Row { shard: 1, ..row() }.chain(RowHash::START));
        assert_ne!(hash, Row { seq: 2, ..row() }.chain(RowHash::START));
        assert_ne!(hash, Row { epoch: 2, ..row() }.chain(RowHash::START));
        assert_ne!(hash, Row { batch_id: "c".into(), ..row() }.chain(RowHash::START));
        assert_ne!(hash, Row { body: Arc::new("line2\n".into()), ..row() }.chain(RowHash::START));
        assert_eq!(RowHash::parse(&hash.to_string()), Some(hash));
    }
}
