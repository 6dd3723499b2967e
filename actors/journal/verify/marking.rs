//! Compares a tenant's runs of marks with its lines, which come in order.

use std::collections::{HashSet, VecDeque};

use super::Fault;
use super::projections::differs;
use crate::database::marks::{self, Run};
use crate::database::{Frozen, StoreError};
use crate::ids::TenantId;
use crate::journal::Line;
use crate::journal::marks::{Mark, complete_below, of_line};

/// The name of the table whose rows are the runs.
const RUNS: &str = "mark_runs";

/// What the lines so far say, and no run was compared with yet.
#[derive(Debug)]
pub(super) struct Marking {
    tenant: TenantId,
    runs: VecDeque<Run>,
    // From here on no line is in a run.
    end: u64,
    /// With the time of each.
    marks: VecDeque<(Mark, i64)>,
}

impl Marking {
    /// Begins with the runs that a tenant has, whose last projected entry is `last`.
    pub(super) fn new(tenant: TenantId, runs: Vec<Run>, last: u64) -> Self {
        Self { tenant, runs: runs.into(), end: complete_below(last), marks: VecDeque::new() }
    }

    /// Adds a line's marks.
    pub(super) fn add(&mut self, line: &Line) {
        self.marks.extend(of_line(line).map(|mark| (mark, line.at.as_micros())));
    }

    /// Compares the runs that end by `last`. What was used before `since` may be forgotten.
    pub(super) async fn settle(
        &mut self,
        view: &mut Frozen<'_>,
        last: u64,
        since: i64,
    ) -> Result<Option<Fault>, StoreError> {
        while let Some(run) = self.runs.pop_front_if(|run| run.last <= last) {
            if let Some(fault) = self.uncovered(run.first, since) {
                return Ok(Some(fault));
            }
            let found = match marks::of_run(view, &self.tenant.to_string(), &run).await {
                Ok(found) => found,
                Err(StoreError::Corrupt { .. }) => {
                    return Ok(Some(self.fault(run.first, "the run cannot be read")));
                }
                Err(error) => return Err(error),
            };
            let mut found: HashSet<(u64, u64)> =
                found.iter().map(|mark| (mark.digest, mark.seq)).collect();
            while let Some((mark, at)) = self.marks.pop_front_if(|(mark, _)| mark.seq <= run.last) {
                if !found.remove(&(mark.digest, mark.seq)) && at >= since {
                    return Ok(Some(self.fault(mark.seq, "its mark is missing in its run")));
                }
            }
            if let Some((_, seq)) = found.iter().next() {
                return Ok(Some(self.fault(*seq, "the log has no such mark")));
            }
        }
        Ok(None)
    }

    /// Compares what is left once all lines have come.
    pub(super) fn finish(mut self, since: i64) -> Option<Fault> {
        if let Some(run) = self.runs.front() {
            return Some(self.fault(run.first, "the run is of entries that are not complete"));
        }
        self.uncovered(self.end, since)
    }

    /// Finds a mark below a number that should be in a run and is in none.
    fn uncovered(&mut self, below: u64, since: i64) -> Option<Fault> {
        let below = below.min(self.end);
        while let Some((mark, at)) = self.marks.pop_front_if(|(mark, _)| mark.seq < below) {
            if at >= since {
                return Some(self.fault(mark.seq, "its mark is in no run"));
            }
        }
        None
    }

    fn fault(&self, seq: u64, detail: &str) -> Fault {
        let detail = format!("{} {seq}: {detail}", self.tenant);
        Fault { entry: Some((self.tenant, seq)), ..differs(RUNS, detail) }
    }
}
