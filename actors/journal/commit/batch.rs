//! What goes into one commit: a body per shard, and who waits for it.

use tokio::sync::oneshot;

use crate::ids::TenantId;
use crate::journal::incarnation::Incarnation;
use crate::journal::room::{MAX_ROW_BYTES, Room};
use crate::journal::row::Row;
use crate::journal::tail::CommittedRow;
use crate::journal::{AppendError, Done, Handover, Line};

/// Everything that one commit decides.
#[derive(Debug)]
pub(super) struct Batch {
    /// Who waits, in the order of the hand-overs.
    pub(super) units: Vec<Unit>,
    shards: Vec<Share>,
}

/// What one shard contributes.
#[derive(Debug, Default)]
struct Share {
    body: String,
    lines: Vec<Line>,
}

/// One that waits for the commit.
#[derive(Debug)]
pub(super) enum Unit {
    Append { shard: u16, incarnation: Incarnation, room: Room, done: Done },
    Activate { tenant: TenantId, reply: oneshot::Sender<Result<Incarnation, AppendError>> },
}

impl Batch {
    pub(super) fn new(shard_count: usize) -> Self {
        Self { units: Vec::new(), shards: (0..shard_count).map(|_| Share::default()).collect() }
    }

    /// Adds a hand-over, or gives it back when its shard's row is full. A row takes at least one,
    /// whatever its size.
    pub(super) fn add(&mut self, shard: u16, handover: Handover) -> Result<(), Handover> {
        let share = &mut self.shards[usize::from(shard)];
        if !share.body.is_empty() && share.body.len() + handover.size() > MAX_ROW_BYTES {
            return Err(handover);
        }
        for line in &handover.lines {
            share.body.push_str(&line.text);
            share.body.push('\n');
        }
        share.lines.extend(handover.lines);
        let Handover { incarnation, room, done, .. } = handover;
        self.units.push(Unit::Append { shard, incarnation, room, done });
        Ok(())
    }

    /// Takes the text of a shard's row; none when it has no line.
    pub(super) fn take_body(&mut self, shard: u16) -> Option<String> {
        let body = std::mem::take(&mut self.shards[usize::from(shard)].body);
        (!body.is_empty()).then_some(body)
    }

    pub(super) fn line_count(&self) -> usize {
        self.shards.iter().map(|share| share.lines.len()).sum()
    }

    /// The rows as the projector reads them, without those of lost shards.
    pub(super) fn committed_rows(&mut self, rows: &[Row], lost: &[u16]) -> Vec<CommittedRow> {
        rows.iter()
            .filter(|row| !lost.contains(&row.shard))
            .map(|row| CommittedRow {
                shard: row.shard,
                seq: row.seq,
                hash: row.hash,
                bytes: row.body.len(),
                lines: std::mem::take(&mut self.shards[usize::from(row.shard)].lines),
                unreadable: Vec::new(),
            })
            .collect()
    }
}
