//! Runs of marks: joined by the projector, searched for keys and events.

mod stored;

use std::collections::{BTreeSet, HashSet};
use std::sync::LazyLock;

use sqlx::{Any, AnyConnection, Row as _};

pub(crate) use self::stored::Run;
use self::stored::{
    decode, drop_between, drop_parts, last_of, of_chunks, of_lines, parts_between, runs_between,
    signed, unsigned,
};
use super::many::{Many, Value};
use super::{Session, StoreError, SystemTx, TenantTx, placeholders};
use crate::ids::TenantId;
use crate::journal::changes::{Changes, Chunk};
use crate::journal::marks::{self, Mark, Span, within};

// In one statement: a run that was joined in the meantime begins at the same entry and stays.
const DROP_OLD: &str =
    "DELETE FROM mark_runs WHERE tenant_id = $1 AND last_at < $2 RETURNING first_seq";
static ADD_RUNS: Many = Many::new(
    "INSERT INTO mark_runs \
     (tenant_id, first_seq, last_seq, last_at, mark_count, digits, body) VALUES",
    7,
    "ON CONFLICT (tenant_id, first_seq) DO UPDATE SET last_seq = excluded.last_seq, \
     last_at = excluded.last_at, mark_count = excluded.mark_count, digits = excluded.digits, \
     body = excluded.body",
);
static ADD_PARTS: Many = Many::new(
    "INSERT INTO mark_parts (tenant_id, first_seq, part, body) VALUES",
    4,
    "ON CONFLICT (tenant_id, first_seq, part) DO UPDATE SET body = excluded.body",
);
/// Parts that one statement looks up, largest first: a few sizes, so that texts stay prepared.
const SIZES: [usize; 3] = [32, 4, 1];
static SOME_PARTS: LazyLock<[String; 3]> = LazyLock::new(|| {
    SIZES.map(|size| {
        // The tenant comes last, because the places are counted from 1. A list of values has no
        // column to take its types from: those of the first row tell.
        let typed = "CAST($1 AS BIGINT), CAST($2 AS BIGINT)";
        let places = placeholders(size, 2).replacen("$1, $2", typed, 1);
        let tenant = 2 * size + 1;
        // A join, because SQLite reads all parts of the tenant for a list of pairs.
        format!(
            "WITH wanted (first_seq, part) AS (VALUES {places}) \
             SELECT mark_parts.first_seq, mark_parts.body FROM wanted JOIN mark_parts \
             ON mark_parts.tenant_id = ${tenant} \
             AND mark_parts.first_seq = wanted.first_seq AND mark_parts.part = wanted.part"
        )
    })
});

/// The marks of entries in a span, and the latest time that a run of them was known to end.
struct Gathered {
    marks: Vec<Mark>,
    last_at: i64,
}

/// Lines that follow one another.
struct Lines {
    first: u64,
    last: u64,
    last_at: i64,
    /// In their order.
    marks: Vec<Mark>,
}

impl Lines {
    fn of(chunks: &[Chunk]) -> Option<Self> {
        let Chunk { last_seq: last, last_at, .. } = *chunks.last()?;
        let marks = chunks.iter().flat_map(|chunk| chunk.marks.iter().copied()).collect();
        Some(Self { first: chunks.first()?.first_seq, last, last_at, marks })
    }
}

/// What is to be written.
#[derive(Default)]
struct New<'n> {
    runs: Vec<(&'n String, Run)>,
    parts: Vec<(&'n String, u64, u64, String)>,
}

/// Makes the runs that some chunks complete; the chunks' own marks stand in their rows.
pub(super) async fn extend(
    connection: &mut AnyConnection,
    names: &[String],
    changes: &[&Changes],
) -> Result<(), StoreError> {
    let mut new = New::default();
    for (tenant, change) in names.iter().zip(changes) {
        let follows = |one: &Chunk, other: &Chunk| one.last_seq + 1 == other.first_seq;
        for (index, chunks) in change.chunks.chunk_by(follows).enumerate() {
            if index > 0 {
                // It may go on what those before the gap have made.
                std::mem::take(&mut new).write(connection).await?;
            }
            if let Some(lines) = Lines::of(chunks) {
                new.extend(connection, tenant, &lines).await?;
            }
        }
    }
    new.write(connection).await
}

/// Makes a tenant's runs anew where entries from `from` on came late.
pub(crate) async fn rebuild(
    tx: &mut SystemTx,
    tenant: TenantId,
    from: u64,
) -> Result<(), StoreError> {
    let (connection, tenant) = (tx.connection(), tenant.to_string());
    let runs = runs_between(connection, &tenant, 0, u64::MAX).await?;
    let late: Vec<&Run> = runs.iter().filter(|run| run.last >= from).collect();
    let first = late.iter().map(|run| run.first).min().unwrap_or(u64::MAX);
    let first = first.min(marks::complete_below(from.saturating_sub(1)));
    let last_at = late.iter().map(|run| run.last_at).max();
    drop_between(connection, &tenant, first, u64::MAX).await?;
    let Some(last) = last_of(connection, &tenant).await? else { return Ok(()) };
    let all = of_lines(connection, &tenant, first).await?;
    let (mut cursor, mut longest, mut new) = (first, u64::MAX, New::default());
    while let Some(span) = marks::next_run(cursor, last + 1, longest) {
        let own = within(&all, span);
        let is_large = usize::try_from(marks::MAX_JOINED).is_ok_and(|most| own.len() > most);
        if span.first < cursor || is_large && marks::shorter(span) > 0 {
            longest = marks::shorter(span);
            continue;
        }
        // Kept rather too long than not long enough.
        let last_at = last_at.unwrap_or(i64::MAX);
        new.add(&tenant, span, Gathered { marks: own.to_vec(), last_at });
        (cursor, longest) = (span.end, u64::MAX);
    }
    new.write(connection).await
}

/// Finds where digests stand among a tenant's projected entries: everywhere, or once each is
/// enough. The session has to hold one state in view.
pub(crate) async fn find(
    session: &mut impl Session,
    tenant: TenantId,
    digests: &[u64],
    is_once_enough: bool,
) -> Result<Vec<Mark>, StoreError> {
    let (connection, tenant) = (session.connection(), tenant.to_string());
    let wanted: HashSet<u64> = digests.iter().copied().collect();
    let Some(last) = last_of(connection, &tenant).await? else { return Ok(Vec::new()) };
    let mut found = Search { wanted, found: Vec::new(), is_once_enough };
    found.take(of_chunks(connection, &tenant, marks::complete_below(last), u64::MAX).await?);
    if found.is_over() {
        return Ok(found.found);
    }
    let mut parts = Vec::new();
    for run in runs_between(connection, &tenant, 0, u64::MAX).await?.iter().rev() {
        found.take(decode(&tenant, run.first, &run.body)?);
        if run.digits > 0 {
            let of = |digest: &u64| marks::part_of(*digest, run.digits);
            let wanted: BTreeSet<u64> = found.wanted.iter().map(of).collect();
            parts.extend(wanted.into_iter().map(|part| (run.first, part)));
        }
    }
    let mut rest = parts.as_slice();
    for (size, text) in SIZES.iter().zip(SOME_PARTS.iter()) {
        while rest.len() >= *size && !found.is_over() {
            let (now, later) = rest.split_at(*size);
            let query =
                now.iter().fold(sqlx::query::<Any>(text.as_str()), |query, (first, part)| {
                    query.bind(signed(*first)).bind(signed(*part))
                });
            for row in query.bind(&tenant).fetch_all(&mut *connection).await? {
                found.take(decode(&tenant, unsigned(&tenant, row.try_get(0)?)?, row.try_get(1)?)?);
            }
            rest = later;
        }
    }
    Ok(found.found)
}

/// Reads a tenant's runs in order.
pub(crate) async fn runs(session: &mut impl Session, tenant: &str) -> Result<Vec<Run>, StoreError> {
    runs_between(session.connection(), tenant, 0, u64::MAX).await
}

/// Reads the marks of a run.
pub(crate) async fn of_run(
    session: &mut impl Session,
    tenant: &str,
    run: &Run,
) -> Result<Vec<Mark>, StoreError> {
    let mut marks = decode(tenant, run.first, &run.body)?;
    if run.digits > 0 {
        let end = run.first + 1;
        marks.extend(parts_between(session.connection(), tenant, run.first, end).await?);
    }
    Ok(marks)
}

/// Forgets a tenant's runs of which every entry was made before `used_before`.
pub(crate) async fn forget(tx: &mut TenantTx, used_before: i64) -> Result<(), StoreError> {
    let tenant = tx.tenant().to_string();
    let query = sqlx::query(DROP_OLD).bind(&tenant).bind(used_before);
    for row in query.fetch_all(tx.connection()).await? {
        let first = unsigned(&tenant, row.try_get(0)?)?;
        drop_parts(tx.connection(), &tenant, first, first + 1).await?;
    }
    Ok(())
}

// === impl Search ===

/// What is searched for, and was found.
struct Search {
    wanted: HashSet<u64>,
    found: Vec<Mark>,
    is_once_enough: bool,
}

impl Search {
    fn take(&mut self, marks: Vec<Mark>) {
        for mark in marks {
            if self.wanted.contains(&mark.digest) {
                self.found.push(mark);
                if self.is_once_enough {
                    self.wanted.remove(&mark.digest);
                }
            }
        }
    }

    fn is_over(&self) -> bool {
        self.wanted.is_empty()
    }
}

// === impl New ===

impl<'n> New<'n> {
    async fn extend(
        &mut self,
        connection: &mut AnyConnection,
        tenant: &'n String,
        lines: &Lines,
    ) -> Result<(), StoreError> {
        let (mut cursor, mut longest) = (marks::complete_below(lines.first - 1), u64::MAX);
        // Where a span ends that is too large. Until then none as long is asked for again: what
        // it would join has left the table for a shorter one by then.
        let mut refused_until = 0;
        while let Some(span) = marks::next_run(cursor, lines.last + 1, longest) {
            let Some(gathered) = gather(connection, tenant, lines, span).await? else {
                longest = marks::shorter(span);
                refused_until = span.end.max(refused_until);
                continue;
            };
            self.add(tenant, span, gathered);
            cursor = span.end;
            if cursor >= refused_until {
                longest = u64::MAX;
            }
        }
        Ok(())
    }

    /// Adds a run; of lines without marks there is none.
    fn add(&mut self, tenant: &'n String, span: Span, gathered: Gathered) {
        let Gathered { mut marks, last_at } = gathered;
        if marks.is_empty() {
            return;
        }
        marks.sort_unstable();
        let Span { first, end } = span;
        let digits = marks::digits_for(marks.len());
        let mut body = String::new();
        if digits == 0 {
            body = marks::encode(first, &marks);
        } else {
            let part = |mark: &Mark| marks::part_of(mark.digest, digits);
            for own in marks.chunk_by(|one, other| part(one) == part(other)) {
                let text = marks::encode(first, own);
                self.parts.extend(own.first().map(|mark| (tenant, first, part(mark), text)));
            }
        }
        let mark_count = marks.len() as u64;
        self.runs.push((tenant, Run { first, last: end - 1, last_at, mark_count, digits, body }));
    }

    async fn write(self, connection: &mut AnyConnection) -> Result<(), StoreError> {
        let mut values = Vec::with_capacity(self.runs.len() * 7);
        for (tenant, run) in &self.runs {
            values.extend([
                Value::from(*tenant),
                signed(run.first).into(),
                signed(run.last).into(),
                run.last_at.into(),
                signed(run.mark_count).into(),
                i64::from(run.digits).into(),
                (&run.body).into(),
            ]);
        }
        ADD_RUNS.run(connection, &values).await?;
        values.clear();
        for (tenant, first, part, body) in &self.parts {
            let (first, part) = (signed(*first), signed(*part));
            values.extend([Value::from(*tenant), first.into(), part.into(), body.into()]);
        }
        ADD_PARTS.run(connection, &values).await
    }
}

/// Collects the marks of a span that lines complete, and removes the runs that they were in;
/// none if these are too large to be joined.
async fn gather(
    connection: &mut AnyConnection,
    tenant: &str,
    lines: &Lines,
    span: Span,
) -> Result<Option<Gathered>, StoreError> {
    let mut marks = Vec::new();
    if span.first < lines.first {
        let in_runs_below = marks::complete_below(lines.first - 1);
        if span.first < in_runs_below {
            let runs = runs_between(connection, tenant, span.first, in_runs_below).await?;
            if runs.iter().map(|run| run.mark_count).sum::<u64>() > marks::MAX_JOINED {
                return Ok(None);
            }
            for run in &runs {
                marks.extend(decode(tenant, run.first, &run.body)?);
            }
            if runs.iter().any(|run| run.digits > 0) {
                let parts = parts_between(connection, tenant, span.first, in_runs_below);
                marks.extend(parts.await?);
            }
            drop_between(connection, tenant, span.first, in_runs_below).await?;
        }
        let before = Span { first: span.first.max(in_runs_below), end: lines.first };
        let found = of_chunks(connection, tenant, before.first, before.end).await?;
        marks.extend(found.into_iter().filter(|mark| mark.seq >= before.first));
    }
    marks.extend_from_slice(within(&lines.marks, span));
    Ok(Some(Gathered { marks, last_at: lines.last_at }))
}

/// Every statement of this family, for the test that prepares them all.
#[cfg(test)]
pub(super) fn statements() -> Vec<&'static str> {
    let mut all = stored::STATEMENTS.to_vec();
    all.push(DROP_OLD);
    all.extend(SOME_PARTS.iter().map(String::as_str));
    all.extend([&ADD_RUNS, &ADD_PARTS].into_iter().flat_map(Many::texts).map(String::as_str));
    all
}
