//! What the journal's tests share: lines of tenants that do nothing but consume.

use std::collections::HashMap;

use super::Line;
use super::entry::{Author, EntryBody, EntryHash, Place};
use crate::clock::Timestamp;
use crate::ids::TenantId;
use crate::tenant::quota::Fact;

/// Makes chained lines for any number of tenants.
#[derive(Debug, Default)]
pub(crate) struct Scribe {
    last: HashMap<TenantId, (u64, EntryHash)>,
}

/// A tenant; the first few live in the first shard of any database, so that a test knows their rows.
pub(crate) fn tenant(number: u128) -> TenantId {
    const NEIGHBOURS: u128 = 10;
    TenantId::from_bits(if number < NEIGHBOURS { number << 70 } else { number })
}

impl Scribe {
    /// The tenant's next line.
    pub(crate) fn line(&mut self, tenant: TenantId) -> Line {
        self.line_of(tenant, consumed(), None)
    }

    /// The tenant's next line, saying something else.
    pub(crate) fn line_of(
        &mut self,
        tenant: TenantId,
        body: EntryBody,
        idem: Option<&str>,
    ) -> Line {
        let (last, prev) = self.last.get(&tenant).copied().unwrap_or((0, EntryHash::GENESIS));
        let seq = last + 1;
        let at = Timestamp::from_micros(i64::try_from(seq).unwrap());
        let author = Author { by: "key_x", req: None, idem, fp: None };
        let line = Line::seal(body, &Place { tenant, seq, at, prev }, &author);
        self.last.insert(tenant, (seq, line.hash));
        line
    }

    /// Goes on after the tenant's last committed line.
    pub(crate) fn rewind(&mut self, tenant: TenantId, last: Option<(u64, EntryHash)>) {
        match last {
            Some(last) => self.last.insert(tenant, last),
            None => self.last.remove(&tenant),
        };
    }
}

/// A fact as small as can be.
pub(crate) fn consumed() -> EntryBody {
    let period = serde_json::from_str("\"2026-11\"").unwrap();
    EntryBody::Usage(Fact::Consumed { items: Vec::new(), period })
}
