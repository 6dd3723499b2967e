//! Reads stored text back into lines.

use serde::Deserialize;

use super::Line;
use super::entry::Entry;
use super::row::Row;
use super::tail::{CommittedRow, Unreadable};
use crate::ids::TenantId;

/// What is still legible of a line that is no entry.
#[derive(Debug, Deserialize)]
struct Legible {
    kind: Option<String>,
    tenant: Option<TenantId>,
    seq: Option<u64>,
}

impl Line {
    /// A stored entry as the projector wants it.
    pub(crate) fn of(entry: Entry, text: &str) -> Self {
        let Entry { tenant, seq, at, hash, idem, body, .. } = entry;
        Self { tenant, seq, at, hash, idem, body, text: text.to_owned() }
    }
}

/// One stored line.
#[derive(Debug)]
pub(super) enum Read {
    Entry(Box<Entry>),
    /// The journal's own line: it belongs to no tenant.
    Control,
    Unreadable(Unreadable),
}

/// Reads one line of a row.
pub(super) fn line(text: &str) -> Read {
    match Entry::parse(text) {
        Ok(entry) => Read::Entry(Box::new(entry)),
        Err(error) => {
            let legible = serde_json::from_str::<Legible>(text).ok();
            match legible {
                Some(Legible { tenant: None, kind: Some(kind), .. }) if kind == "epoch" => {
                    Read::Control
                }
                legible => Read::Unreadable(Unreadable {
                    tenant: legible.as_ref().and_then(|legible| legible.tenant),
                    seq: legible.and_then(|legible| legible.seq).unwrap_or(0),
                    reason: super::commit::chain_of(&error),
                }),
            }
        }
    }
}

/// Reads a stored row as the projector wants it.
pub(super) fn committed_row(row: &Row) -> CommittedRow {
    let (mut lines, mut unreadable) = (Vec::new(), Vec::new());
    for text in row.body.lines() {
        match line(text) {
            Read::Entry(entry) => lines.push(Line::of(*entry, text)),
            Read::Control => {}
            Read::Unreadable(found) => unreadable.push(found),
        }
    }
    CommittedRow::new(row, lines, unreadable)
}
