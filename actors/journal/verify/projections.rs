//! Compares the tables that follow the log with what the log says, one tenant after another.
//!
//! A tenant's lines in `chunks` are followed to the end of its chain: equal ends of whole chains
//! are equal chains. What its other rows should say is told from these lines.

use std::collections::VecDeque;

use super::expected::Expected;
use super::marking::Marking;
use super::{Chain, Fault, Limits, Tenants, Wrong};
use crate::clock::Timestamp;
use crate::database::chunks::{self, StoredChunk};
use crate::database::kept::{self, Kept, Place, Table};
use crate::database::{Frozen, StoreError, marks};
use crate::ids::TenantId;
use crate::journal::Line;
use crate::journal::entry::Head;
use crate::journal::marks::{encode, loose, of_line as marks_of};
use crate::journal::recover::KEEP_KEYS_FOR;

/// Rows of a table that are read at once.
const PAGE_ROWS: i64 = 256;
/// Runs of lines that are read at once: each is a quarter of a mebibyte, or older and larger.
const PAGE_CHUNKS: i64 = 8;

/// Finds the first difference between the projections and the log.
pub(super) async fn compare(
    view: &mut Frozen<'_>,
    tenants: &Tenants,
    now: Timestamp,
    limits: Limits,
) -> Result<Option<Fault>, StoreError> {
    let start = tenants.start().map(TenantId::to_string);
    let end = tenants.next_start().map(TenantId::to_string);
    let mut comparison = Comparison {
        view,
        runs: Runs::starting_at(start.as_deref()),
        tables: Table::ALL.map(|table| Cursor::starting_at(table, start.as_deref())),
        now,
        limits,
    };
    for (tenant, chain) in tenants.iter() {
        if let Some(fault) = comparison.strays(Some(&tenant.to_string())).await? {
            return Ok(Some(fault));
        }
        if let Some(fault) = comparison.tenant(*tenant, chain).await? {
            return Ok(Some(fault));
        }
    }
    comparison.strays(end.as_deref()).await
}

/// All tables side by side, each read once.
struct Comparison<'v, 'c> {
    view: &'v mut Frozen<'c>,
    runs: Runs,
    tables: [Cursor; Table::ALL.len()],
    now: Timestamp,
    limits: Limits,
}

impl Comparison<'_, '_> {
    /// Finds a row of a tenant before `end` that the log has no entry of.
    async fn strays(&mut self, end: Option<&str>) -> Result<Option<Fault>, StoreError> {
        let is_stray = |tenant: &str| end.is_none_or(|end| tenant < end);
        let chunk = self.runs.peek(self.view).await?.map(|chunk| chunk.tenant.clone());
        let mut found = chunk.map(|tenant| ("chunks", tenant));
        for cursor in &mut self.tables {
            if found.as_ref().is_some_and(|(_, tenant)| is_stray(tenant)) {
                break;
            }
            let name = cursor.table.name();
            found = cursor.peek(self.view).await?.map(|row| (name, row.tenant.clone()));
        }
        let found = found.filter(|(_, tenant)| is_stray(tenant));
        Ok(found.map(|(table, tenant)| {
            differs(table, format!("the log has no projected entry of `{tenant}`"))
        }))
    }

    async fn tenant(
        &mut self,
        tenant: TenantId,
        chain: &Chain,
    ) -> Result<Option<Fault>, StoreError> {
        let name = tenant.to_string();
        let mut expected = Expected::new(tenant, None, self.limits);
        if let Some(fault) = self.claims(tenant, &name, chain, &mut expected).await? {
            return Ok(Some(fault));
        }
        let runs = marks::runs(self.view, &name).await?;
        let mut marking = Marking::new(tenant, runs, chain.projected.seq);
        let mut head = Head::GENESIS;
        while let Some(chunk) = self.runs.take_of(self.view, &name).await? {
            if let Err(fault) = follow(tenant, &mut head, &chunk, &mut expected, Some(&mut marking))
            {
                return Ok(Some(fault));
            }
            let since = expected.kept_since(self.now, KEEP_KEYS_FOR);
            if let Some(fault) = marking.settle(self.view, head.seq, since).await? {
                return Ok(Some(fault));
            }
        }
        if chain.projected != head {
            let (ends, log) = (head.seq, chain.projected.seq);
            let entry = Some((tenant, ends.min(log) + 1));
            let detail = format!("it ends with entry {ends}, the log with {log}");
            return Ok(Some(Fault { entry, ..differs("chunks", detail) }));
        }
        if let Some(fault) = marking.finish(expected.kept_since(self.now, KEEP_KEYS_FOR)) {
            return Ok(Some(fault));
        }
        for index in 0..self.tables.len() {
            while let Some(row) = self.tables[index].take_of(self.view, &name).await? {
                let table = self.tables[index].table;
                // Looked at with the lines.
                if table == Table::Runs {
                    continue;
                }
                if let Some(fault) = contradicts(tenant, table, &row, &mut expected) {
                    return Ok(Some(fault));
                }
            }
        }
        while let Some(from) = expected.next_keys().cloned() {
            if let Some(fault) = missing(tenant, &expected, self.now) {
                return Ok(Some(fault));
            }
            match self.more_keys(tenant, &name, from).await? {
                Ok(next) => expected = next,
                Err(fault) => return Ok(Some(fault)),
            }
        }
        Ok(missing(tenant, &expected, self.now))
    }

    /// Looks at what is known of the tenant before its lines are read: a failure, a snapshot.
    async fn claims(
        &mut self,
        tenant: TenantId,
        name: &str,
        chain: &Chain,
        expected: &mut Expected,
    ) -> Result<Option<Fault>, StoreError> {
        for cursor in &mut self.tables {
            let is_claim = matches!(cursor.table, Table::Snapshots | Table::Failures);
            if !is_claim || !cursor.stands_at(self.view, name).await? {
                continue;
            }
            let Some(row) = cursor.peek(self.view).await?.cloned() else { continue };
            if cursor.table == Table::Failures {
                let seq = row.key.parse().unwrap_or_default();
                let wrong = Wrong::Unprojected { reason: row.value };
                return Ok(Some(Fault::of_entry(tenant, seq, wrong)));
            }
            let (seq, hash) = row.value.split_once(' ').unwrap_or_default();
            let seq: u64 = seq.parse().unwrap_or(u64::MAX);
            if seq <= chain.projected.seq {
                expected.expect_snapshot(seq);
                continue;
            }
            // It was taken of entries that are not projected yet.
            cursor.take_of(self.view, name).await?;
            if seq > chain.end.seq || seq == chain.end.seq && chain.end.hash.to_string() != hash {
                let detail = format!("{tenant}: the log has no entry {seq} with the hash {hash}");
                return Ok(Some(differs("snapshots", detail)));
            }
        }
        Ok(None)
    }

    /// Reads a tenant's lines again, for the keys that did not fit before.
    async fn more_keys(
        &mut self,
        tenant: TenantId,
        name: &str,
        from: String,
    ) -> Result<Result<Expected, Fault>, StoreError> {
        let mut expected = Expected::new(tenant, Some(from), self.limits);
        let (mut runs, mut head) = (Runs::starting_at(Some(name)), Head::GENESIS);
        while let Some(chunk) = runs.take_of(self.view, name).await? {
            if let Err(fault) = follow(tenant, &mut head, &chunk, &mut expected, None) {
                return Ok(Err(fault));
            }
        }
        expected.keep_keys_alone();
        for table in [Table::Keys, Table::Events, Table::Webhooks] {
            let mut keys = Cursor::starting_at(table, Some(name));
            while let Some(row) = keys.take_of(self.view, name).await? {
                if let Some(fault) = contradicts(tenant, table, &row, &mut expected) {
                    return Ok(Err(fault));
                }
            }
        }
        Ok(Ok(expected))
    }
}

fn follow(
    tenant: TenantId,
    head: &mut Head,
    chunk: &StoredChunk,
    expected: &mut Expected,
    mut marking: Option<&mut Marking>,
) -> Result<(), Fault> {
    let begins = i64::try_from(head.seq + 1) == Ok(chunk.first_seq);
    let mut own = Vec::new();
    for text in chunk.body.lines() {
        match head.follow(tenant, text) {
            Ok(entry) => {
                let line = Line::of(entry, text);
                expected.add(&line, chunk.marks.is_some());
                if let Some((seq, wrong)) = expected.counted_twice() {
                    return Err(Fault::of_entry(tenant, seq, wrong));
                }
                if chunk.marks.is_some()
                    && let Some(marking) = &mut marking
                {
                    own.extend(marks_of(&line));
                    marking.add(&line);
                }
            }
            Err(error) => {
                let entry = Some((tenant, head.seq + 1));
                return Err(Fault { entry, ..differs("chunks", error.to_string()) });
            }
        }
    }
    let entry = Some((tenant, head.seq));
    let fault = |detail: &str| Err(Fault { entry, ..differs("chunks", detail.to_owned()) });
    if !begins || i64::try_from(head.seq) != Ok(chunk.last_seq) {
        return fault("the chunk's numbers are not its lines'");
    }
    let first = u64::try_from(chunk.first_seq).unwrap_or(0);
    match &chunk.marks {
        Some(text) if marking.is_some() && *text != encode(first, loose(&own, head.seq)) => {
            fault("the chunk's marks are not its lines'")
        }
        _ => Ok(()),
    }
}

/// Compares a row with what the entries say.
fn contradicts(
    tenant: TenantId,
    table: Table,
    row: &Kept,
    expected: &mut Expected,
) -> Option<Fault> {
    if !expected.covers(table, &row.key) {
        return None;
    }
    let wanted = expected.take(table, &row.key);
    if wanted.as_ref() == Some(&row.value) {
        return None;
    }
    let (key, value) = (&row.key, &row.value);
    let wanted = wanted.as_deref().unwrap_or("nothing");
    let detail = format!("{tenant} {key}: it says {value}, the log says {wanted}");
    Some(differs(table.name(), detail))
}

/// Finds what the entries say and no row does.
fn missing(tenant: TenantId, expected: &Expected, now: Timestamp) -> Option<Fault> {
    let (table, key, wanted) = expected.left_over(now)?;
    let detail = format!("{tenant} {key}: it says nothing, the log says {wanted}");
    Some(differs(table.name(), detail))
}

pub(super) fn differs(table: &'static str, detail: String) -> Fault {
    Fault { shard: None, row: None, entry: None, wrong: Wrong::Projection { table, detail } }
}

/// Begins before every tenant that comes with or after `start`.
fn prefix(start: Option<&str>) -> &str {
    start.and_then(|start| start.get(..start.len() - 1)).unwrap_or_default()
}

/// One table, page by page.
struct Cursor {
    table: Table,
    start: String,
    place: Place,
    page: VecDeque<Kept>,
}

impl Cursor {
    fn starting_at(table: Table, start: Option<&str>) -> Self {
        let place = Place::before(prefix(start));
        let start = start.unwrap_or_default().to_owned();
        Self { table, start, place, page: VecDeque::new() }
    }

    async fn peek(&mut self, view: &mut Frozen<'_>) -> Result<Option<&Kept>, StoreError> {
        while self.page.is_empty() {
            let page = kept::page(view, self.table, &self.place, PAGE_ROWS).await?;
            let Some(last) = page.last() else { return Ok(None) };
            self.place = last.place().clone();
            self.page = page.into_iter().filter(|row| row.tenant >= self.start).collect();
        }
        Ok(self.page.front())
    }

    async fn stands_at(&mut self, view: &mut Frozen<'_>, tenant: &str) -> Result<bool, StoreError> {
        Ok(self.peek(view).await?.is_some_and(|row| row.tenant == tenant))
    }

    /// The tenant's next row.
    async fn take_of(
        &mut self,
        view: &mut Frozen<'_>,
        tenant: &str,
    ) -> Result<Option<Kept>, StoreError> {
        let is_its = self.stands_at(view, tenant).await?;
        Ok(self.page.pop_front_if(|_| is_its))
    }
}

/// The runs of lines, page by page.
struct Runs {
    start: String,
    place: (String, i64),
    page: VecDeque<StoredChunk>,
}

impl Runs {
    fn starting_at(start: Option<&str>) -> Self {
        let place = (prefix(start).to_owned(), i64::MIN);
        Self { start: start.unwrap_or_default().to_owned(), place, page: VecDeque::new() }
    }

    async fn peek(&mut self, view: &mut Frozen<'_>) -> Result<Option<&StoredChunk>, StoreError> {
        while self.page.is_empty() {
            let after = (self.place.0.as_str(), self.place.1);
            let page = chunks::page(view, after, PAGE_CHUNKS).await?;
            let Some(last) = page.last() else { return Ok(None) };
            self.place = (last.tenant.clone(), last.first_seq);
            self.page = page.into_iter().filter(|chunk| chunk.tenant >= self.start).collect();
        }
        Ok(self.page.front())
    }

    async fn take_of(
        &mut self,
        view: &mut Frozen<'_>,
        tenant: &str,
    ) -> Result<Option<StoredChunk>, StoreError> {
        let is_its = self.peek(view).await?.is_some_and(|chunk| chunk.tenant == tenant);
        Ok(self.page.pop_front_if(|_| is_its))
    }
}
