//! Runs of marks: joined by the projector, searched for keys and events.

use std::collections::{BTreeSet, HashSet};
use std::sync::LazyLock;

use sqlx::{Any, AnyConnection, Row as _};

use super::many::{Many, Value};
use super::{Session, StoreError, SystemTx, TenantTx, placeholders};
use crate::ids::TenantId;
use crate::journal::Line;
use crate::journal::changes::{Changes, Chunk};
use crate::journal::entry::Entry;
use crate::journal::marks::{self, Mark, Span, within};

const LAST: &str = "SELECT last_seq FROM chunks WHERE tenant_id = $1 \
     ORDER BY first_seq DESC LIMIT 1";
/// The marks of chunks that reach to a number and begin before another.
const OF_CHUNKS: &str = "SELECT first_seq, marks FROM chunks \
     WHERE tenant_id = $1 AND last_seq >= $2 AND first_seq >= COALESCE(\
         (SELECT MAX(first_seq) FROM chunks WHERE tenant_id = $1 AND first_seq <= $2), 0) \
         AND first_seq < $3 AND marks IS NOT NULL \
     ORDER BY first_seq";
const BODIES: &str = "SELECT body FROM chunks \
     WHERE tenant_id = $1 AND last_seq >= $2 AND marks IS NOT NULL ORDER BY first_seq";
const RUNS: &str = "SELECT first_seq, last_seq, last_at, mark_count, digits, body FROM mark_runs \
     WHERE tenant_id = $1 AND first_seq >= $2 AND first_seq < $3 ORDER BY first_seq";
const OLD: &str = "SELECT first_seq FROM mark_runs WHERE tenant_id = $1 AND last_at < $2";
const PARTS: &str = "SELECT first_seq, body FROM mark_parts \
     WHERE tenant_id = $1 AND first_seq >= $2 AND first_seq < $3 ORDER BY first_seq, part";
const DROP_RUNS: &str = "DELETE FROM mark_runs \
     WHERE tenant_id = $1 AND first_seq >= $2 AND first_seq < $3";
const DROP_PARTS: &str = "DELETE FROM mark_parts \
     WHERE tenant_id = $1 AND first_seq >= $2 AND first_seq < $3";
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
const SIZES: [usize; 4] = [256, 32, 4, 1];
static SOME_PARTS: LazyLock<[String; 4]> = LazyLock::new(|| {
    SIZES.map(|size| {
        // The tenant comes last, because the places are counted from 1. A list of values has no
        // column to take its types from: those of the first row tell.
        let typed = "CAST($1 AS BIGINT), CAST($2 AS BIGINT)";
        let places = placeholders(size, 2).replacen("$1, $2", typed, 1);
        let tenant = 2 * size + 1;
        format!(
            "SELECT first_seq, body FROM mark_parts \
             WHERE tenant_id = ${tenant} AND (first_seq, part) IN (VALUES {places})"
        )
    })
});

/// A run without its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) first: u64,
    pub(crate) last: u64,
    last_at: i64,
    mark_count: u64,
    digits: u32,
    body: String,
}

/// The marks of entries in a span, and the latest time that a run of them was known to end.
struct Gathered {
    marks: Vec<Mark>,
    last_at: i64,
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
        for (index, chunk) in change.chunks.iter().enumerate() {
            if index > 0 {
                // It may go on what the one before has made.
                std::mem::take(&mut new).write(connection).await?;
            }
            new.extend(connection, tenant, chunk).await?;
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
    let query = sqlx::query(OLD).bind(&tenant).bind(used_before);
    for row in query.fetch_all(tx.connection()).await? {
        let first = unsigned(&tenant, row.try_get(0)?)?;
        drop_between(tx.connection(), &tenant, first, first + 1).await?;
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
        chunk: &Chunk,
    ) -> Result<(), StoreError> {
        let (mut cursor, mut longest) = (marks::complete_below(chunk.first_seq - 1), u64::MAX);
        while let Some(span) = marks::next_run(cursor, chunk.last_seq + 1, longest) {
            let Some(gathered) = gather(connection, tenant, chunk, span).await? else {
                longest = marks::shorter(span);
                continue;
            };
            self.add(tenant, span, gathered);
            (cursor, longest) = (span.end, u64::MAX);
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

/// Collects the marks of a span that a chunk completes, and removes the runs that they were in;
/// none if these are too large to be joined.
async fn gather(
    connection: &mut AnyConnection,
    tenant: &str,
    chunk: &Chunk,
    span: Span,
) -> Result<Option<Gathered>, StoreError> {
    let mut marks = Vec::new();
    if span.first < chunk.first_seq {
        let in_runs_below = marks::complete_below(chunk.first_seq - 1);
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
        let before = Span { first: span.first.max(in_runs_below), end: chunk.first_seq };
        let found = of_chunks(connection, tenant, before.first, before.end).await?;
        marks.extend(found.into_iter().filter(|mark| mark.seq >= before.first));
    }
    marks.extend_from_slice(within(&chunk.marks, span));
    Ok(Some(Gathered { marks, last_at: chunk.last_at }))
}

async fn last_of(connection: &mut AnyConnection, tenant: &str) -> Result<Option<u64>, StoreError> {
    let row = sqlx::query(LAST).bind(tenant).fetch_optional(connection).await?;
    row.map(|row| unsigned(tenant, row.try_get(0)?)).transpose()
}

/// The marks of chunks that reach to `first` and begin before `end`, in the order of entries.
async fn of_chunks(
    connection: &mut AnyConnection,
    tenant: &str,
    first: u64,
    end: u64,
) -> Result<Vec<Mark>, StoreError> {
    let query = sqlx::query(OF_CHUNKS).bind(tenant).bind(signed(first)).bind(signed(end));
    let mut marks = Vec::new();
    for row in query.fetch_all(connection).await? {
        marks.extend(decode(tenant, unsigned(tenant, row.try_get(0)?)?, row.try_get(1)?)?);
    }
    Ok(marks)
}

/// The marks of the lines of chunks that reach to `first`, in the order of entries.
async fn of_lines(
    connection: &mut AnyConnection,
    tenant: &str,
    first: u64,
) -> Result<Vec<Mark>, StoreError> {
    let query = sqlx::query(BODIES).bind(tenant).bind(signed(first));
    let mut marks = Vec::new();
    for row in query.fetch_all(connection).await? {
        let body: &str = row.try_get(0)?;
        let entries = body.lines().filter_map(|text| Some((Entry::parse(text).ok()?, text)));
        marks.extend(
            entries.flat_map(|(entry, text)| {
                marks::of_line(&Line::of(entry, text)).collect::<Vec<_>>()
            }),
        );
    }
    Ok(marks)
}

async fn runs_between(
    connection: &mut AnyConnection,
    tenant: &str,
    first: u64,
    end: u64,
) -> Result<Vec<Run>, StoreError> {
    let query = sqlx::query(RUNS).bind(tenant).bind(signed(first)).bind(signed(end));
    let rows = query.fetch_all(connection).await?;
    let run = |row: &sqlx::any::AnyRow| {
        Ok(Run {
            first: unsigned(tenant, row.try_get(0)?)?,
            last: unsigned(tenant, row.try_get(1)?)?,
            last_at: row.try_get(2)?,
            mark_count: unsigned(tenant, row.try_get(3)?)?,
            digits: u32::try_from(row.try_get::<i64, _>(4)?).map_err(|_| corrupt(tenant))?,
            body: row.try_get(5)?,
        })
    };
    rows.iter().map(run).collect()
}

async fn parts_between(
    connection: &mut AnyConnection,
    tenant: &str,
    first: u64,
    end: u64,
) -> Result<Vec<Mark>, StoreError> {
    let query = sqlx::query(PARTS).bind(tenant).bind(signed(first)).bind(signed(end));
    let mut marks = Vec::new();
    for row in query.fetch_all(connection).await? {
        marks.extend(decode(tenant, unsigned(tenant, row.try_get(0)?)?, row.try_get(1)?)?);
    }
    Ok(marks)
}

async fn drop_between(
    connection: &mut AnyConnection,
    tenant: &str,
    first: u64,
    end: u64,
) -> Result<(), StoreError> {
    for text in [DROP_RUNS, DROP_PARTS] {
        let query = sqlx::query(text).bind(tenant).bind(signed(first)).bind(signed(end));
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

fn decode(tenant: &str, first: u64, text: &str) -> Result<Vec<Mark>, StoreError> {
    marks::decode(first, text).ok_or_else(|| corrupt(tenant))
}

fn corrupt(tenant: &str) -> StoreError {
    StoreError::Corrupt { table: "mark_runs", id: tenant.to_owned(), column: "body" }
}

fn unsigned(tenant: &str, number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| corrupt(tenant))
}

/// What is beyond every number that is stored stays so.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Every statement of this family, for the test that prepares them all.
#[cfg(test)]
pub(super) fn statements() -> Vec<&'static str> {
    let mut all = vec![LAST, OF_CHUNKS, BODIES, RUNS, OLD, PARTS, DROP_RUNS, DROP_PARTS];
    all.extend(SOME_PARTS.iter().map(String::as_str));
    all.extend([&ADD_RUNS, &ADD_PARTS].into_iter().flat_map(Many::texts).map(String::as_str));
    all
}
