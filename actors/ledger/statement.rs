//! What the entries of one period come to, in a text that anyone can recompute and check.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::month::digits;
use crate::clock::{Date, Timestamp};
use crate::ids::TenantId;
use crate::journal::entry::{EntryHash, Head};
use crate::journal::{Journal, JournalError};
use crate::privacy::keys::SigningKey;
use crate::tenant::period::Period;

/// A period may begin earlier than its name says in UTC: time zones reach that far.
const MARGIN: Duration = Duration::from_hours(48);
/// The longest period (36 months) and two days: where the first entry of one must stand by then.
const LONGEST: Duration = Duration::from_hours(24 * (3 * 366 + 2));
/// How long after its end a period's holds and jobs may still be settled.
const SETTLED_AFTER: Duration = Duration::from_hours(48);

/// A period's name, as entries carry it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementPeriod {
    name: String,
    about: Timestamp,
}

/// The text is not the name of a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a period's name, as `2026-11` or `2026-11-23`")]
pub struct InvalidPeriod;

impl FromStr for StatementPeriod {
    type Err = InvalidPeriod;

    fn from_str(text: &str) -> Result<Self, InvalidPeriod> {
        let parts: Vec<&str> = text.split('-').collect();
        let (year, month, day) = match parts[..] {
            [year, month] => (year, month, "01"),
            [year, month, day] => (year, month, day),
            _ => return Err(InvalidPeriod),
        };
        let wrong = |_| InvalidPeriod;
        let (year, month, day) =
            (digits(year, 4).map_err(wrong)?, digits(month, 2), digits(day, 2));
        let (month, day) = (month.map_err(wrong)?, day.map_err(wrong)?);
        if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day)
        {
            return Err(InvalidPeriod);
        }
        let about = Timestamp::from_date(Date { year, month, day });
        Ok(Self { name: text.to_owned(), about })
    }
}

/// Whether more may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// The period goes on.
    Open,
    /// It has ended; holds and jobs of it may still be settled.
    Settling,
    /// Nothing of it can change any more.
    Final,
}

/// What is signed, as JSON.
#[derive(Debug, Serialize)]
pub(super) struct Statement {
    v: u32,
    tenant: TenantId,
    period: String,
    state: State,
    issued_at: Timestamp,
    /// The first entry of the period, and the hash before it.
    first_seq: u64,
    prev: EntryHash,
    /// The last entry of the period, and its hash.
    last_seq: u64,
    hash: EntryHash,
    /// Entries of the period among those.
    entries: u64,
    meters: Vec<MeterSum>,
    /// What the period's end says about the counters' bill; none before.
    closed: Option<Box<RawValue>>,
    /// And about the levels': how long how much was there.
    levels: Option<Box<RawValue>>,
}

/// What the entries of a period did to one meter.
#[derive(Debug, Default, Serialize)]
struct MeterSum {
    meter: String,
    /// Entries that used units or gave them back.
    entries: u64,
    /// The sum of what they used, less what they gave back.
    amount: i128,
    /// Where the last of them says that the meter stood.
    used: u64,
}

/// A statement and its signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SignedStatement {
    /// The text that is signed: a JSON object.
    pub statement: String,
    /// How.
    pub algorithm: &'static str,
    /// By which key.
    pub key_id: String,
    /// The signature over the text's bytes, in base64url.
    pub signature: String,
}

impl SignedStatement {
    pub(super) fn sign(statement: &Statement, key: &SigningKey) -> Self {
        let statement = serde_json::to_string(statement).unwrap_or_default();
        let signature = key.sign(statement.as_bytes());
        Self { statement, algorithm: "Ed25519", key_id: key.kid().to_owned(), signature }
    }
}

/// What a line says about its period.
#[derive(Deserialize)]
struct Movement<'l> {
    #[serde(borrow)]
    kind: Cow<'l, str>,
    #[serde(default)]
    period: Option<PeriodField>,
    #[serde(default)]
    items: Vec<Moved>,
    #[serde(default)]
    delta: i64,
    #[serde(default)]
    from: Option<Value>,
    #[serde(default, borrow)]
    closed: Option<&'l RawValue>,
    #[serde(default, borrow)]
    levels: Option<&'l RawValue>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum PeriodField {
    Name(String),
    Span(Period),
}

#[derive(Deserialize)]
struct Moved {
    meter: String,
    amount: u64,
    used: u64,
}

impl Movement<'_> {
    /// 1 if its items were used, -1 if they came back, 0 if they were held or let go.
    fn sign(&self) -> i128 {
        match self.kind.as_ref() {
            "freed" | "job_deleted" => -1,
            "adjusted" if self.delta < 0 => -1,
            "consumed" | "committed" | "part_committed" | "committed_late" | "recorded"
            | "step_succeeded" | "adjusted" => 1,
            _ => 0,
        }
    }

    fn is_of(&self, name: &str) -> bool {
        matches!(&self.period, Some(PeriodField::Name(own)) if own == name)
    }
}

/// Reads a period's entries and adds them up; none if there is no such entry.
pub(super) async fn draw_up(
    journal: &Journal,
    tenant: TenantId,
    period: &StatementPeriod,
    now: Timestamp,
) -> Result<Option<Statement>, JournalError> {
    let from = period.about.as_micros().saturating_sub(micros(MARGIN));
    let first = journal.first_since(tenant, Timestamp::from_micros(from)).await?;
    let mut sum = Sum::new(tenant, period);
    let mut at = first.saturating_sub(1);
    loop {
        let lines = journal.lines_after(tenant, at).await?;
        let Some((last, _)) = lines.last() else { break };
        at = *last;
        for (seq, text) in &lines {
            if !sum.add(*seq, text)? {
                return Ok(sum.statement(now));
            }
        }
    }
    Ok(sum.statement(now))
}

/// The entries so far.
pub(super) struct Sum<'p> {
    tenant: TenantId,
    period: &'p StatementPeriod,
    // The chain from the entry before the first that was read.
    head: Option<Head>,
    first: Option<(u64, EntryHash)>,
    last: Option<Head>,
    entries: u64,
    meters: BTreeMap<String, MeterSum>,
    ended_at: Option<Timestamp>,
    closed: Option<Box<RawValue>>,
    levels: Option<Box<RawValue>>,
}

impl<'p> Sum<'p> {
    pub(super) fn new(tenant: TenantId, period: &'p StatementPeriod) -> Self {
        Self {
            tenant,
            period,
            head: None,
            first: None,
            last: None,
            entries: 0,
            meters: BTreeMap::new(),
            ended_at: None,
            closed: None,
            levels: None,
        }
    }

    /// Adds a line; false once nothing of the period can come any more.
    pub(super) fn add(&mut self, seq: u64, text: &str) -> Result<bool, JournalError> {
        let tenant = self.tenant;
        let broken = |source| JournalError::Broken { tenant, source };
        let (head, prev) = if let Some(mut head) = self.head {
            let prev = head.hash;
            head.pass(tenant, text).map_err(broken)?;
            (head, prev)
        } else {
            Head::at(tenant, text).map_err(broken)?
        };
        self.head = Some(head);
        if self.is_over(head.at) {
            return Ok(false);
        }
        let movement: Movement<'_> = serde_json::from_str(text).map_err(|error| {
            broken(crate::journal::entry::EntryError::Malformed(error.to_string()))
        })?;
        if movement.is_of(&self.period.name) {
            self.first.get_or_insert((seq, prev));
            (self.last, self.entries) = (Some(head), self.entries + 1);
            self.count(&movement);
        } else if self.first.is_some() && self.ended_at.is_none() {
            self.end(&movement, head);
        }
        Ok(true)
    }

    /// Whether no entry of the period can come after this time.
    fn is_over(&self, at: Timestamp) -> bool {
        let since = |start: Timestamp| at.as_micros().saturating_sub(start.as_micros());
        match (self.ended_at, self.first) {
            (Some(ended_at), _) => since(ended_at) > micros(SETTLED_AFTER),
            (None, Some(_)) => false,
            (None, None) => since(self.period.about) > micros(LONGEST),
        }
    }

    /// Sees the period end: by its roll, or by a plan with periods of its own.
    fn end(&mut self, movement: &Movement<'_>, head: Head) {
        if let Some(PeriodField::Span(next)) = &movement.period {
            self.ended_at = Some(next.start);
        } else if movement.kind == "period_rolled" {
            let ended = movement.from.as_ref().and_then(|from| Period::deserialize(from).ok());
            self.ended_at = Some(ended.map_or(head.at, |ended| ended.end));
            self.closed = movement.closed.map(ToOwned::to_owned);
            self.levels = movement.levels.map(ToOwned::to_owned);
            (self.last, self.entries) = (Some(head), self.entries + 1);
        }
    }

    fn count(&mut self, movement: &Movement<'_>) {
        let sign = movement.sign();
        if sign == 0 {
            return;
        }
        for item in &movement.items {
            let sum = self.meters.entry(item.meter.clone()).or_default();
            sum.entries += 1;
            sum.amount += sign * i128::from(item.amount);
            sum.used = item.used;
        }
    }

    /// What was used of a meter so far.
    #[cfg(test)]
    pub(super) fn amount(&self, meter: &str) -> i128 {
        self.meters.get(meter).map_or(0, |sum| sum.amount)
    }

    pub(super) fn statement(self, now: Timestamp) -> Option<Statement> {
        let ((first_seq, prev), last) = (self.first?, self.last?);
        let state = match self.ended_at {
            None => State::Open,
            // The tenant's own time, should it have one, is told by its last entry.
            Some(_) if self.head.is_some_and(|head| self.is_over(head.at.max(now))) => State::Final,
            Some(_) => State::Settling,
        };
        let named = |(meter, sum): (String, MeterSum)| MeterSum { meter, ..sum };
        Some(Statement {
            v: 1,
            tenant: self.tenant,
            period: self.period.name.clone(),
            state,
            issued_at: now,
            first_seq,
            prev,
            last_seq: last.seq,
            hash: last.hash,
            entries: self.entries,
            meters: self.meters.into_iter().map(named).collect(),
            closed: self.closed,
            levels: self.levels,
        })
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
