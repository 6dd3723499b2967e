//! The time that a tenant lives in: the machine's, or in test mode its own.
//!
//! A test clock stands still until it is advanced. What is due on the way is recorded one by one,
//! each at its own time, before the clock stands at its new place: so nobody sees a month's end
//! half done, and an advance that was cut off goes on where it was.
#![deny(clippy::float_arithmetic, clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use serde::{Deserialize, Serialize};

use super::{EntryBody, TenantOutcome, TenantState, Turn};
use crate::clock::Timestamp;
use crate::journal::entry::Author;
use crate::tenant::quota::{Fact, MAX_EXPIRIES_PER_TURN, Outcome, Refusal, Verdict};

/// How far one advance may take a clock: 120 months' ends are as many as one answer should list.
pub const MAX_ADVANCE_S: u64 = 3_660 * 86_400;

/// A clock that stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TestClock {
    now: Timestamp,
    /// The first entry of an advance that is under way.
    first: Option<u64>,
}

impl TenantState {
    /// Returns the tenant's present, given the machine's.
    ///
    /// The machine's clock may step back. Time does not: neither behind the last entry, nor behind
    /// the period that was opened for commands which left no entry, since replay opens it by the
    /// first one.
    pub fn present(&self, now: Timestamp) -> Timestamp {
        let now = if self.clock.is_some() { Timestamp::MIN } else { now };
        now.max(self.last_at).max(self.quota.opened_at())
    }

    /// Says whether the tenant is in test mode.
    pub fn has_test_clock(&self) -> bool {
        self.clock.is_some()
    }

    pub(super) fn start_clock(&mut self, at: Timestamp, author: &Author<'_>, turn: &mut Turn) {
        if self.clock.is_some() {
            turn.verdict = Verdict::Admitted(TenantOutcome::Usage(Outcome::Done {}));
            return;
        }
        if self.jobs.open().next().is_some() {
            turn.verdict = Verdict::Refused(Refusal::InTestMode);
            return;
        }
        let at = if self.seq == 0 {
            // Commands that left no entry opened a period of real time.
            self.quota.reopen_at(at);
            at
        } else {
            at.max(self.present(Timestamp::MIN))
        };
        let mut left = MAX_EXPIRIES_PER_TURN;
        if self.record_due(at, &mut turn.lines, &mut left) {
            self.admit_clock(Fact::ClockStarted {}, author, at, turn);
        }
    }

    pub(super) fn advance_clock(&mut self, to: Timestamp, author: &Author<'_>, turn: &mut Turn) {
        let Some(clock) = self.clock else {
            turn.verdict = Verdict::Refused(Refusal::NotInTestMode);
            return;
        };
        let now = self.present(Timestamp::MIN);
        let latest = clock.now.plus_s(MAX_ADVANCE_S);
        if to < now || to > latest {
            turn.verdict = Verdict::Refused(Refusal::InvalidClock { now, latest });
            return;
        }
        let mut left = MAX_EXPIRIES_PER_TURN;
        // A tenant asleep may skip periods; one that is shown its time goes through each.
        while let Some(due) = self.quota.next_due().filter(|due| *due <= to) {
            let before = turn.lines.len();
            if !self.record_due(due, &mut turn.lines, &mut left) {
                return;
            }
            if turn.lines.len() == before {
                break;
            }
        }
        if self.record_due(to, &mut turn.lines, &mut left) {
            let first = self.clock.and_then(|clock| clock.first);
            self.admit_clock(Fact::ClockAdvanced { from: clock.now, to, first }, author, to, turn);
        }
    }

    fn admit_clock(&mut self, fact: Fact, author: &Author<'_>, at: Timestamp, turn: &mut Turn) {
        let line = self.seal(EntryBody::Usage(fact), author, at);
        self.set_clock(at);
        turn.verdict = Verdict::Admitted(TenantOutcome::of(&line.body, line.seq, line.at));
        self.push(turn, line, Vec::new());
    }

    pub(super) fn set_clock(&mut self, at: Timestamp) {
        self.clock = Some(TestClock { now: at, first: None });
    }

    /// Notes an entry that an advance made on its way.
    pub(super) fn note_on_the_way(&mut self, seq: u64, at: Timestamp) {
        if let Some(clock) = &mut self.clock
            && at > clock.now
        {
            clock.first.get_or_insert(seq);
        }
    }

    /// Replays what the clock's entries say of it.
    pub(super) fn replay_clock(&mut self, fact: &Fact, at: Timestamp) -> Result<(), String> {
        match (fact, self.clock) {
            (Fact::ClockStarted {}, None) => self.set_clock(at),
            (Fact::ClockAdvanced { from, to, first }, Some(clock))
                if *from == clock.now && *to == at && *first == clock.first =>
            {
                self.set_clock(at);
            }
            (Fact::ClockStarted {} | Fact::ClockAdvanced { .. }, _) => {
                return Err("the test clock stands elsewhere".to_owned());
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test that panics has failed")]
mod tests;
