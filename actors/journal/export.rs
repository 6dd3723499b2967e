//! The log of a month as JSON Lines, exactly as it was committed.

use std::io;

use serde::Deserialize;

use super::source::LogReader;
use crate::database::{Database, StoreError};
use crate::ids::TenantId;

/// Rows that are read at once: each is up to a mebibyte.
const PAGE_ROWS: i64 = 16;

/// Why an export ended early.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The month is not `YYYY-MM`.
    #[error("`{0}` is not a month; write it as `2026-11`")]
    Month(String),
    /// The log could not be read.
    #[error("the journal cannot be read")]
    Store(#[from] StoreError),
    /// The lines could not be written.
    #[error("the lines cannot be written")]
    Write(#[from] io::Error),
}

/// What decides whether a line is wanted; everything else is passed on unread.
#[derive(Debug, Deserialize)]
struct Stamp<'l> {
    tenant: Option<TenantId>,
    #[serde(borrow)]
    at: Option<&'l str>,
}

/// Writes the lines of a month (`YYYY-MM`, UTC), of one tenant or of all, in the order of the
/// log; returns how many.
pub async fn export(
    database: &Database,
    month: &str,
    tenant: Option<TenantId>,
    mut sink: impl FnMut(&str) -> io::Result<()> + Send,
) -> Result<u64, ExportError> {
    if !is_month(month) {
        return Err(ExportError::Month(month.to_owned()));
    }
    let mut log = LogReader::open(database).await?;
    let mut count = 0;
    for shard in 0..database.backend().shard_count() {
        let mut seq = 0;
        loop {
            let page = log.after(shard, seq, PAGE_ROWS).await?;
            let Some(last) = page.last() else { break };
            seq = last.seq;
            for line in page.iter().flat_map(|row| row.body.lines()) {
                if is_wanted(line, month, tenant) {
                    sink(line)?;
                    count += 1;
                }
            }
        }
    }
    Ok(count)
}

fn is_wanted(line: &str, month: &str, wanted: Option<TenantId>) -> bool {
    serde_json::from_str::<Stamp<'_>>(line).is_ok_and(|stamp| {
        stamp.tenant.is_some()
            && wanted.is_none_or(|tenant| stamp.tenant == Some(tenant))
            && stamp.at.is_some_and(|at| at.starts_with(month))
    })
}

fn is_month(text: &str) -> bool {
    let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    text.split_once('-').is_some_and(|(year, month)| {
        year.len() == 4
            && is_digits(year)
            && month.len() == 2
            && is_digits(month)
            && month.parse().is_ok_and(|month: u8| (1..=12).contains(&month))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_written_in_one_way() {
        assert!(is_month("2026-11"));
        for wrong in ["2026-13", "2026-00", "26-11", "2026-1", "2026-+1", "november", "2026"] {
            assert!(!is_month(wrong), "{wrong}");
        }
    }
}
