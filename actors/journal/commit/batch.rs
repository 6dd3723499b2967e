//! What goes into one commit: a body per shard, and who waits for it.

use tokio::sync::oneshot;

use crate::ids::TenantId;
use crate::journal::incarnation::Incarnation;
use crate::journal::room::{MAX_BATCH_BYTES, MAX_ROW_BYTES, Room};
use crate::journal::row::Row;
use crate::journal::tail::CommittedRow;
use crate::journal::{AppendError, Done, Handover, Line};
use crate::planted::{self, Bug};

/// Everything that one commit decides.
#[derive(Debug)]
pub(super) struct Batch {
    /// Who waits, in the order of the hand-overs.
    pub(super) units: Vec<Unit>,
    shards: Vec<Share>,
    bytes: usize,
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
    /// `line_count` of its shard's lines are its own, in the order of the hand-overs.
    Append {
        shard: u16,
        incarnation: Incarnation,
        room: Room,
        done: Done,
        line_count: usize,
    },
    Activate {
        tenant: TenantId,
        reply: oneshot::Sender<Result<Incarnation, AppendError>>,
    },
}

impl Batch {
    pub(super) fn new(shard_count: usize) -> Self {
        let shards = (0..shard_count).map(|_| Share::default()).collect();
        Self { units: Vec::new(), shards, bytes: 0 }
    }

    /// Adds a hand-over, or gives it back when its shard's row or the batch is full. A batch takes
    /// at least one, whatever its size.
    pub(super) fn add(&mut self, shard: u16, handover: Handover) -> Result<(), Handover> {
        let (row, size) = (self.shards[usize::from(shard)].body.len(), handover.size());
        if row > 0 && row + size > MAX_ROW_BYTES
            || self.bytes > 0 && self.bytes + size > MAX_BATCH_BYTES
        {
            return Err(handover);
        }
        let Handover { incarnation, room, done, lines, .. } = handover;
        let line_count = lines.len();
        self.push(Unit::Append { shard, incarnation, room, done, line_count }, lines);
        Ok(())
    }

    /// Adds one that waits, with its lines.
    pub(super) fn push(&mut self, unit: Unit, lines: Vec<Line>) {
        if let Unit::Append { shard, .. } = unit {
            let share = &mut self.shards[usize::from(shard)];
            for line in &lines {
                if planted::is(Bug::LostLine) && !share.body.is_empty() {
                    continue;
                }
                share.body.push_str(&line.text);
                share.body.push('\n');
                self.bytes += line.text.len() + 1;
            }
            share.lines.extend(lines);
        }
        self.units.push(unit);
    }

    /// Takes the batch apart again: each that waits, with its lines, in order.
    pub(super) fn into_units(self) -> impl Iterator<Item = (Unit, Vec<Line>)> {
        let mut lines: Vec<_> =
            self.shards.into_iter().map(|share| share.lines.into_iter()).collect();
        self.units.into_iter().map(move |unit| {
            let own = match &unit {
                Unit::Append { shard, line_count, .. } => {
                    lines[usize::from(*shard)].by_ref().take(*line_count).collect()
                }
                Unit::Activate { .. } => Vec::new(),
            };
            (unit, own)
        })
    }

    /// How many hand-overs are in it.
    pub(super) fn append_count(&self) -> usize {
        self.units.iter().filter(|unit| matches!(unit, Unit::Append { .. })).count()
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
            .map(|row| {
                let lines = std::mem::take(&mut self.shards[usize::from(row.shard)].lines);
                CommittedRow::new(row, lines, Vec::new())
            })
            .collect()
    }
}
