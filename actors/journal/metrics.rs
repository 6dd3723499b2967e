//! What the journal tells about itself.

use std::time::Duration;

use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use super::row::Row;

/// Lines in one commit.
pub const BATCH_ENTRIES: &str = "tenantry_journal_batch_entries";
/// Bytes in one commit.
pub const BATCH_BYTES: &str = "tenantry_journal_batch_bytes";
/// Time from the first submission of a batch to its known outcome.
pub const COMMIT_DURATION: &str = "tenantry_journal_commit_duration_seconds";
/// Committed entries by kind.
pub const ENTRIES: &str = "tenantry_journal_entries_total";
/// Hand-overs that the database refused.
pub const REFUSED: &str = "tenantry_journal_refused_total";
/// Hand-overs that wait for a commit or are in one.
pub const QUEUE_DEPTH: &str = "tenantry_journal_queue_depth";
/// Committed rows that are not projected yet.
pub const PROJECTOR_LAG: &str = "tenantry_projector_lag_rows";
/// Committed bytes that are not projected yet.
pub const PROJECTOR_LAG_BYTES: &str = "tenantry_projector_lag_bytes";
/// Shards that another server has taken.
pub const SHARDS_LOST: &str = "tenantry_journal_shards_lost";
/// Entries that could not be projected.
pub const PROJECTION_FAILURES: &str = "tenantry_projection_failures_total";

/// Describes the metrics to the recorder.
pub fn describe() {
    describe_histogram!(BATCH_ENTRIES, Unit::Count, "Entries written by one commit.");
    describe_histogram!(BATCH_BYTES, Unit::Bytes, "Bytes written by one commit.");
    describe_histogram!(COMMIT_DURATION, Unit::Seconds, "Time until a batch's outcome is known.");
    describe_counter!(ENTRIES, Unit::Count, "Committed entries by kind.");
    describe_counter!(REFUSED, Unit::Count, "Hand-overs that the database refused.");
    describe_gauge!(QUEUE_DEPTH, Unit::Count, "Hand-overs that wait for their commit.");
    describe_gauge!(PROJECTOR_LAG, Unit::Count, "Committed rows that are not projected yet.");
    describe_gauge!(PROJECTOR_LAG_BYTES, Unit::Bytes, "Committed bytes not projected yet.");
    describe_gauge!(SHARDS_LOST, Unit::Count, "Shards that another server has taken.");
    describe_counter!(PROJECTION_FAILURES, Unit::Count, "Entries that could not be projected.");
}

/// A batch's outcome is known.
#[expect(clippy::cast_precision_loss, reason = "a histogram's buckets are far below 2^52")]
pub(super) fn committed(rows: &[Row], entries: usize, took: Duration) {
    let bytes: usize = rows.iter().map(|row| row.body.len()).sum();
    histogram!(BATCH_ENTRIES).record(entries as f64);
    histogram!(BATCH_BYTES).record(bytes as f64);
    histogram!(COMMIT_DURATION).record(took);
}

/// Lines of one kind are in the log.
pub(super) fn entries(kind: &'static str, count: u64) {
    counter!(ENTRIES, "kind" => kind).increment(count);
}

/// A hand-over was refused by the database; its batch was committed without it.
pub(super) fn refused() {
    counter!(REFUSED).increment(1);
}

/// How much waits, seen by the projector whenever it looks.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(super) fn waiting(queued: usize, rows: usize, bytes: usize) {
    gauge!(QUEUE_DEPTH).set(queued as f64);
    gauge!(PROJECTOR_LAG).set(rows as f64);
    gauge!(PROJECTOR_LAG_BYTES).set(bytes as f64);
}

/// An entry could not be projected.
pub(super) fn projection_failed() {
    counter!(PROJECTION_FAILURES).increment(1);
}

/// So many shards are somebody else's.
pub(super) fn lost(count: u32) {
    gauge!(SHARDS_LOST).set(f64::from(count));
}
