//! A tenant's lines: numbered without gaps, each chained to the one before it.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};

use super::{Broken, Entry, Faults};

/// `,"hash":"` and 64 digits and `"}`.
const HASH_TAIL_BYTES: usize = 75;

/// What a tenant's first line follows.
const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

pub(super) fn check(entries: &[Entry], faults: &mut Faults<'_>) {
    let mut prev = GENESIS;
    let mut last_at = "";
    for (number, entry) in (1..).zip(entries) {
        if entry.seq() != number {
            faults.add(Broken::Chain, format!("number {number} is expected: {}", entry.line));
            return;
        }
        if entry.text("prev") != prev || hash_of(prev, &entry.line) != entry.text("hash") {
            faults.add(Broken::Chain, format!("does not follow: {}", entry.line));
            return;
        }
        if entry.text("at") < last_at {
            faults.add(Broken::Chain, format!("is older than the one before: {}", entry.line));
        }
        (prev, last_at) = (entry.text("hash"), entry.text("at"));
    }
}

/// The hash that a line must have after `prev`.
pub(super) fn hash_of(prev: &str, line: &str) -> String {
    let head = line.get(..line.len().saturating_sub(HASH_TAIL_BYTES)).unwrap_or_default();
    let hash = digest(&SHA256, format!("{prev}{head}}}").as_bytes());
    hash.as_ref().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
