//! What lines change in the projections: computed without the database, one tenant at a time.

use std::collections::BTreeMap;

use super::Line;
use super::entry::EntryBody;
use super::marks::{self, Mark};
use crate::clock::Timestamp;
use crate::ids::TenantId;
use crate::mail::UsageFacts;
use crate::tenant::quota::{Charge, Fact, RecordedEvent};
use crate::tenant::steps::{JobFact, JobState};
use crate::webhooks::Notice;

/// Microseconds of a day.
const DAY_MICROS: i64 = 86_400_000_000;

/// The subject of a period whose end somebody waits for: it is billed, or a plan comes with it.
const PERIOD_END: &str = "period";
/// The subject of a tenant whose time stands still: as long as it is there, nothing else that the
/// tenant has in the list wakes it.
pub(crate) const STANDS_STILL: &str = "test_clock";

/// Bytes of a run of lines: whoever looks for one of them reads the run. A longer line has one of
/// its own.
const MAX_CHUNK_BYTES: usize = 256 * 1024;

/// A run of lines in order, one a text line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
    /// When the last one was made.
    pub(crate) last_at: i64,
    pub(crate) body: String,
    /// Where their keys and events stand, in their order.
    pub(crate) marks: Vec<Mark>,
}

impl Chunk {
    fn has_room_for(&self, line: &Line) -> bool {
        self.body.len() + line.text.len() < MAX_CHUNK_BYTES
    }
}

/// A job's row in the listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JobRow {
    pub(crate) state: &'static str,
    pub(crate) created_at: i64,
    pub(crate) updated_at: i64,
}

/// A mail that is owed because a threshold was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Alert {
    pub(crate) seq: u64,
    pub(crate) at: Timestamp,
    pub(crate) facts: UsageFacts,
}

/// Everything that some lines of one tenant change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) tenant: TenantId,
    pub(crate) chunks: Vec<Chunk>,
    /// By meter and the day's start.
    pub(crate) usage: BTreeMap<(String, i64), i64>,
    /// By job; none removes it from the list.
    pub(crate) jobs: BTreeMap<String, Option<JobRow>>,
    /// By subject; none means that there is nothing to wake for any more.
    pub(crate) wakeups: BTreeMap<String, Option<i64>>,
    pub(crate) alerts: Vec<Alert>,
    /// What endpoints may want to know.
    pub(crate) notices: Vec<Notice>,
}

/// Why a line changes nothing in the projections.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unprojectable {
    /// A sum would pass the largest number that is stored.
    #[error("the day's usage of {meter} is too large")]
    TooMuch {
        /// The meter.
        meter: String,
    },
}

impl Changes {
    /// Starts without any.
    pub(crate) fn new(tenant: TenantId) -> Self {
        Self {
            tenant,
            chunks: Vec::new(),
            usage: BTreeMap::new(),
            jobs: BTreeMap::new(),
            wakeups: BTreeMap::new(),
            alerts: Vec::new(),
            notices: Vec::new(),
        }
    }

    /// Adds what a line changes. Its text is kept even if its meaning cannot be.
    pub(crate) fn add(&mut self, line: &Line) -> Result<(), Unprojectable> {
        self.add_text(line);
        self.alerts.extend(alert(line));
        self.notices.extend(Notice::all_of(line));
        match &line.body {
            EntryBody::Usage(fact) => self.add_usage_fact(fact, line.at),
            EntryBody::Job(fact) => self.add_job_fact(fact, line.at),
        }
    }

    fn add_text(&mut self, line: &Line) {
        let last_at = line.at.as_micros();
        match self.chunks.last_mut() {
            Some(chunk) if chunk.last_seq + 1 == line.seq && chunk.has_room_for(line) => {
                (chunk.last_seq, chunk.last_at) = (line.seq, last_at);
                chunk.body.push('\n');
                chunk.body.push_str(&line.text);
                chunk.marks.extend(marks::of_line(line));
            }
            _ => self.chunks.push(Chunk {
                first_seq: line.seq,
                last_seq: line.seq,
                last_at,
                body: line.text.clone(),
                marks: marks::of_line(line).collect(),
            }),
        }
    }

    fn add_usage_fact(&mut self, fact: &Fact, at: Timestamp) -> Result<(), Unprojectable> {
        match fact {
            Fact::Adjusted { items, delta, .. } if *delta < 0 => self.count(items, at, Sign::Minus),
            Fact::Consumed { items, .. }
            | Fact::PartCommitted { items, .. }
            | Fact::CommittedLate { items, .. }
            | Fact::Adjusted { items, .. } => self.count(items, at, Sign::Plus),
            Fact::Recorded { items, events, .. } => self.count_events(items, events),
            Fact::Freed { items, .. } => self.count(items, at, Sign::Minus),
            Fact::Committed { reservation, items, .. } => {
                self.wakeups.insert(reservation.to_string(), None);
                self.count(items, at, Sign::Plus)
            }
            Fact::Reserved { reservation, expires_at, .. }
            | Fact::Extended { reservation, expires_at, .. } => {
                self.wakeups.insert(reservation.to_string(), Some(expires_at.as_micros()));
                Ok(())
            }
            Fact::Released { reservation, .. } | Fact::Expired { reservation, .. } => {
                self.wakeups.insert(reservation.to_string(), None);
                Ok(())
            }
            Fact::PlanSet { wakes_at, .. } | Fact::PeriodRolled { wakes_at, .. } => {
                let wakes_at = wakes_at.map(Timestamp::as_micros);
                self.wakeups.insert(PERIOD_END.to_owned(), wakes_at);
                Ok(())
            }
            Fact::PlanScheduled { comes_at: at, .. } => {
                self.wakeups.insert(PERIOD_END.to_owned(), Some(at.as_micros()));
                Ok(())
            }
            Fact::ClockStarted {} => {
                self.wakeups.insert(STANDS_STILL.to_owned(), Some(i64::MAX));
                Ok(())
            }
            Fact::JobHeld { .. }
            | Fact::JobClosed { .. }
            | Fact::SpendCapSet { .. }
            | Fact::Granted { .. }
            | Fact::GrantRevoked { .. }
            | Fact::GrantExpired { .. }
            | Fact::EnforcementSet { .. }
            | Fact::FeatureSet { .. }
            | Fact::ClockAdvanced { .. }
            | Fact::ThresholdReached { .. } => Ok(()),
        }
    }

    fn add_job_fact(&mut self, fact: &JobFact, at: Timestamp) -> Result<(), Unprojectable> {
        let job = fact.job().to_string();
        match fact {
            JobFact::JobSubmitted { .. } | JobFact::JobRetried { .. } => {
                // Due at once: after a restart nobody else remembers that it has to go on.
                self.wakeups.insert(job.clone(), Some(at.as_micros()));
                self.set_job(job, JobState::Queued, at);
            }
            JobFact::StepStarted { .. } => self.set_job(job, JobState::Running, at),
            JobFact::JobDeleted { items, .. } => {
                self.wakeups.insert(job.clone(), None);
                self.jobs.insert(job, None);
                return self.count(items, at, Sign::Minus);
            }
            JobFact::StepSucceeded { .. }
            | JobFact::StepFailed { .. }
            | JobFact::JobCancelled { .. }
            | JobFact::JobExpired { .. } => {
                if let Some(end) = fact.end() {
                    self.wakeups.insert(job.clone(), None);
                    self.set_job(job, end.state, at);
                } else {
                    self.set_job(job, JobState::Running, at);
                }
            }
        }
        match fact {
            JobFact::StepSucceeded { items, .. } => self.count(items, at, Sign::Plus),
            _ => Ok(()),
        }
    }

    fn set_job(&mut self, job: String, state: JobState, at: Timestamp) {
        let (state, at) = (state.as_str(), at.as_micros());
        // Only a row that is new takes its creation from here.
        let row = self.jobs.entry(job).or_default();
        let created_at = row.as_ref().map_or(at, |row| row.created_at);
        *row = Some(JobRow { state, created_at, updated_at: at });
    }

    fn count(&mut self, items: &[Charge], at: Timestamp, sign: Sign) -> Result<(), Unprojectable> {
        let day_at = day_of(at);
        for item in items {
            let meter = item.meter.as_str();
            let too_much = || Unprojectable::TooMuch { meter: meter.to_owned() };
            let amount = i64::try_from(item.amount).map_err(|_| too_much())?;
            let amount = match sign {
                Sign::Plus => Some(amount),
                Sign::Minus => amount.checked_neg(),
            };
            self.add_to_day(meter, day_at, amount.ok_or_else(too_much)?)?;
        }
        Ok(())
    }

    /// Counts each event on the day on which it happened.
    fn count_events(
        &mut self,
        items: &[Charge],
        events: &[RecordedEvent],
    ) -> Result<(), Unprojectable> {
        let mut sums: BTreeMap<(u16, i64), Option<i64>> = BTreeMap::new();
        for event in events {
            let sum = sums.entry((event.item, day_of(event.at))).or_insert(Some(0));
            let amount = i64::try_from(event.amount).ok();
            *sum = sum.zip(amount).and_then(|(sum, amount)| sum.checked_add(amount));
        }
        for ((item, day_at), sum) in sums {
            let meter = items.get(usize::from(item)).map_or("", |item| item.meter.as_str());
            let too_much = || Unprojectable::TooMuch { meter: meter.to_owned() };
            self.add_to_day(meter, day_at, sum.ok_or_else(too_much)?)?;
        }
        Ok(())
    }

    fn add_to_day(&mut self, meter: &str, day_at: i64, amount: i64) -> Result<(), Unprojectable> {
        let sum = self.usage.entry((meter.to_owned(), day_at)).or_default();
        let too_much = || Unprojectable::TooMuch { meter: meter.to_owned() };
        *sum = sum.checked_add(amount).ok_or_else(too_much)?;
        Ok(())
    }
}

/// The start of a time's day, in UTC.
fn day_of(at: Timestamp) -> i64 {
    at.as_micros() - at.as_micros() % DAY_MICROS
}

/// Returns the mail that a line owes.
fn alert(line: &Line) -> Option<Alert> {
    let EntryBody::Usage(Fact::ThresholdReached { meter, percent, used, limit, .. }) = &line.body
    else {
        return None;
    };
    let (percent, used, limit) = (*percent, *used, *limit);
    let facts = UsageFacts { meter: meter.as_str().to_owned(), percent, used, limit };
    Some(Alert { seq: line.seq, at: line.at, facts })
}

/// Whether units came or went: a level's day is the change of its level.
#[derive(Debug, Clone, Copy)]
enum Sign {
    Plus,
    Minus,
}
