//! A tenant's usage plane: quota, jobs, and the place in the tenant's journal.
//!
//! One command is one entry. What was due before it (expiries, the period's end, jobs that were
//! open for too long) and what it reached (thresholds) are entries of their own. A refusal may
//! come with such entries too. Entries are numbered without gaps and chained by hashes here, so
//! the actor's shell only hands over finished lines.
#![deny(clippy::float_arithmetic, clippy::arithmetic_side_effects, clippy::indexing_slicing)]

mod clock;
mod error;
mod turn;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use self::clock::MAX_ADVANCE_S;
use self::clock::TestClock;
pub use self::error::{ReplayError, SnapshotError};
pub use self::turn::{Line, TenantCommand, TenantOutcome, Turn};
use crate::clock::Timestamp;
use crate::ids::{ReservationId, TenantId};
use crate::journal::entry::{Author, Entry, EntryBody, EntryHash, Place, seal};
use crate::tenant::plan::PlanTerms;
use crate::tenant::quota::{
    Command, Fact, Inconsistent, Judged, MAX_EXPIRIES_PER_TURN, Quota, Refusal, Reservation,
    UsageReport, Verdict,
};
use crate::tenant::steps::{JobCommand, JobFact, JobState, Jobs};

/// The form of snapshots that this version reads and writes.
const SNAPSHOT_VERSION: u32 = 3;

/// A tenant's state. Its durable form is the journal; this is what the entries come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantState {
    tenant: TenantId,
    quota: Quota,
    jobs: Jobs,
    /// The last entry's number; 0 before the first.
    seq: u64,
    /// The last entry's time.
    last_at: Timestamp,
    /// The last entry's hash.
    head: EntryHash,
    /// The time that the tenant lives in, if it is not the machine's.
    clock: Option<TestClock>,
}

impl TenantState {
    /// Makes the state of a tenant without any entry.
    pub fn new(tenant: TenantId, default_terms: Arc<PlanTerms>) -> Self {
        Self {
            tenant,
            quota: Quota::new(default_terms),
            jobs: Jobs::default(),
            seq: 0,
            last_at: Timestamp::MIN,
            head: EntryHash::GENESIS,
            clock: None,
        }
    }

    /// Applies a command and seals what it comes to.
    ///
    /// An entry's time is the tenant's present; what was due before carries the time at which it
    /// was.
    pub fn apply(&mut self, command: &TenantCommand, author: &Author<'_>, now: Timestamp) -> Turn {
        let mut turn = Turn { lines: Vec::with_capacity(1), own: None, verdict: Verdict::MoreDue };
        match command {
            TenantCommand::Usage(Command::StartTestClock { at }) => {
                self.start_clock(*at, author, &mut turn);
                return turn;
            }
            TenantCommand::Usage(Command::AdvanceClock { to }) => {
                self.advance_clock(*to, author, &mut turn);
                return turn;
            }
            _ => {}
        }
        let now = self.present(now);
        let mut left = MAX_EXPIRIES_PER_TURN;
        if self.record_due(now, &mut turn.lines, &mut left) {
            match command {
                TenantCommand::Usage(command) => self.apply_usage(command, author, now, &mut turn),
                TenantCommand::Job(command) => self.apply_job(command, author, now, &mut turn),
            }
        }
        turn
    }

    fn apply_usage(
        &mut self,
        command: &Command,
        author: &Author<'_>,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        turn.verdict = match self.quota.judge(command, now) {
            Err(refusal) => Verdict::Refused(refusal),
            Ok(Judged::Already(outcome)) => Verdict::Admitted(TenantOutcome::Usage(outcome)),
            Ok(Judged::New { fact, crossed }) => {
                let line = self.seal(EntryBody::Usage(fact), author, now);
                let outcome = TenantOutcome::of(&line.body, line.seq, line.at);
                self.push(turn, line, crossed);
                Verdict::Admitted(outcome)
            }
        };
    }

    /// Adds the command's own line, and after it the thresholds that it reached.
    fn push(&mut self, turn: &mut Turn, own: Line, crossed: Vec<Fact>) {
        let at = own.at;
        turn.own = Some(turn.lines.len());
        turn.lines.push(own);
        for fact in crossed {
            turn.lines.push(self.seal(EntryBody::Usage(fact), &Author::SYSTEM, at));
        }
    }

    fn apply_job(
        &mut self,
        command: &JobCommand,
        author: &Author<'_>,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        // Steps run in real time: their deadlines would never come in a time that stands still.
        if self.clock.is_some() && matches!(command, JobCommand::Submit { .. }) {
            turn.verdict = Verdict::Refused(Refusal::InTestMode);
            return;
        }
        let fact = match self.jobs.decide(command, &self.quota, now) {
            Ok(fact) => fact,
            Err(refusal) => {
                turn.verdict = Verdict::Refused(refusal);
                return;
            }
        };
        let Some(fact) = fact else {
            let JobCommand::Cancel { job } = command else { return };
            let state = Some(JobState::Cancelled);
            turn.verdict = Verdict::Admitted(TenantOutcome::Job { id: *job, state });
            return;
        };
        let crossed = self.admit_job(&fact, now);
        let line = self.seal(EntryBody::Job(fact), author, now);
        turn.verdict = Verdict::Admitted(TenantOutcome::of(&line.body, line.seq, line.at));
        self.push(turn, line, crossed);
    }

    /// Records a decided job fact with its charges; returns the thresholds that it reached.
    fn admit_job(&mut self, fact: &JobFact, at: Timestamp) -> Vec<Fact> {
        let mut crossed = Vec::new();
        for charge in fact.quota_facts() {
            self.quota.admit(&charge, at);
            crossed.extend(self.quota.crossings(&charge));
        }
        self.jobs.record(fact, at).expect("a fact fits the jobs that it was decided on");
        crossed
    }

    /// Records what is due, oldest first, and the thresholds that it reached, but begins nothing
    /// beyond `left` of both. Says whether nothing more is due.
    fn record_due(&mut self, now: Timestamp, lines: &mut Vec<Line>, left: &mut usize) -> bool {
        self.quota.open_at(now);
        loop {
            let usage = self.quota.due(now);
            let job = self.jobs.due(&self.quota, now);
            let (at, body) = match (usage, job) {
                (None, None) => return true,
                (Some((at, fact)), None) => (at, EntryBody::Usage(fact)),
                (Some((at, fact)), Some((job_at, _))) if at <= job_at => {
                    (at, EntryBody::Usage(fact))
                }
                (_, Some((at, fact))) => (at, EntryBody::Job(fact)),
            };
            let Some(fewer) = left.checked_sub(1) else { return false };
            let at = at.max(self.last_at);
            let crossed = match &body {
                EntryBody::Usage(fact) => {
                    self.quota.admit(fact, at);
                    self.quota.crossings_due(fact, at)
                }
                EntryBody::Job(fact) => self.admit_job(fact, at),
            };
            *left = fewer.saturating_sub(crossed.len());
            lines.push(self.seal(body, &Author::SYSTEM, at));
            for fact in crossed {
                lines.push(self.seal(EntryBody::Usage(fact), &Author::SYSTEM, at));
            }
        }
    }

    /// Numbers, chains and writes an entry that the state already contains.
    fn seal(&mut self, body: EntryBody, author: &Author<'_>, at: Timestamp) -> Line {
        self.seq = self.seq.checked_add(1).expect("no journal is that long");
        let place = Place { tenant: self.tenant, seq: self.seq, at, prev: self.head };
        let (text, hash) = seal(&body, &place, author);
        // What is written must be read again: every test that writes a line proves it for its kind.
        #[cfg(test)]
        assert_eq!(Entry::parse(&text).map(|entry| entry.body), Ok(body.clone()), "{text}");
        self.head = hash;
        self.last_at = at;
        self.note_on_the_way(self.seq, at);
        Line { seq: self.seq, at, kind: body.kind(), hash, text, body }
    }

    /// Records an entry of the journal: the next one, or the journal is damaged.
    pub fn replay(&mut self, entry: &Entry) -> Result<(), ReplayError> {
        let expected = self.seq.saturating_add(1);
        if entry.tenant != self.tenant || entry.seq != expected {
            return Err(ReplayError::Gap { expected, found: entry.seq });
        }
        if entry.prev != self.head || entry.at < self.last_at {
            return Err(ReplayError::Unchained { seq: entry.seq });
        }
        let inconsistent = |source| ReplayError::Inconsistent { seq: entry.seq, source };
        match &entry.body {
            EntryBody::Usage(fact) => {
                self.quota.replay_fact(fact, entry.at).map_err(inconsistent)?;
                self.replay_clock(fact, entry.at)
                    .map_err(|reason| inconsistent(Inconsistent { kind: fact.kind(), reason }))?;
            }
            EntryBody::Job(fact) => {
                for charge in fact.quota_facts() {
                    self.quota.replay_fact(&charge, entry.at).map_err(inconsistent)?;
                }
                self.jobs.record(fact, entry.at).map_err(inconsistent)?;
            }
        }
        self.seq = entry.seq;
        self.last_at = entry.at;
        self.head = entry.hash;
        self.note_on_the_way(entry.seq, entry.at);
        Ok(())
    }

    /// Writes the state as a snapshot.
    #[expect(clippy::missing_panics_doc, reason = "plain data has a JSON form")]
    pub fn snapshot(&self) -> Vec<u8> {
        let snapshot = Snapshot { v: SNAPSHOT_VERSION, state: self };
        serde_json::to_vec(&snapshot).expect("plain data has a JSON form")
    }

    /// Reads a snapshot, and gives the tenant the catalogue's present default plan.
    pub fn restore(bytes: &[u8], default_terms: Arc<PlanTerms>) -> Result<Self, SnapshotError> {
        let Snapshot { v, mut state }: Snapshot<Self> = serde_json::from_slice(bytes)
            .map_err(|error| SnapshotError::Malformed(error.to_string()))?;
        if v != SNAPSHOT_VERSION {
            return Err(SnapshotError::Version(v));
        }
        state.quota = state.quota.with_default_terms(default_terms);
        Ok(state)
    }

    /// Returns the tenant.
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Returns the last entry's number; 0 before the first.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Returns the last entry's hash.
    pub fn head(&self) -> EntryHash {
        self.head
    }

    /// Returns the last entry's time.
    pub fn last_at(&self) -> Timestamp {
        self.last_at
    }

    /// Returns the quota.
    pub fn quota(&self) -> &Quota {
        &self.quota
    }

    /// Returns the jobs.
    pub fn jobs(&self) -> &Jobs {
        &self.jobs
    }

    /// Reports where the tenant stands.
    pub fn report(&self, now: Timestamp) -> UsageReport {
        self.quota.report(self.present(now))
    }

    /// Describes a hold, open or ended.
    pub fn reservation(&self, id: ReservationId, now: Timestamp) -> Option<Reservation> {
        self.quota.reservation(id, self.present(now))
    }

    /// Returns when something becomes due by itself: an expiry, a period's end, a job's end.
    /// Steps' deadlines and retries are not entries by themselves: see [`Jobs`]. Nothing becomes
    /// due by itself in a time that stands still.
    pub fn next_due(&self) -> Option<Timestamp> {
        if self.clock.is_some() {
            return None;
        }
        self.quota.next_due().into_iter().chain(self.jobs.next_expiry()).min()
    }

    /// Checks every invariant; see [`Quota::check`].
    pub fn check(&self) {
        self.quota.check();
        self.jobs.check();
    }
}

#[derive(Serialize, Deserialize)]
struct Snapshot<S> {
    v: u32,
    state: S,
}

#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]
mod edges;
#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test that panics has failed")]
mod tests;
