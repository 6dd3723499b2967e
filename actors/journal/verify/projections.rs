//! Compares the tables that follow the log with what the log says.

use std::collections::{BTreeMap, HashSet};

use super::{Fault, Ledger, Wrong};
use crate::database::{Session, StoreError, chunks, listings};
use crate::ids::TenantId;
use crate::journal::Line;
use crate::journal::changes::Changes;
use crate::journal::entry::Head;

/// Rows of a table that are read at once.
const PAGE_ROWS: i64 = 256;

/// Adds what a line means for the usage by day.
pub(super) fn count(usage: &mut BTreeMap<(String, String, i64), i64>, line: &Line) {
    let mut changes = Changes::new(line.tenant);
    // A line without a meaning is in `projection_failures`; here it counts as nothing.
    let _ = changes.add(line);
    for ((meter, day_at), amount) in changes.usage {
        *usage.entry((line.tenant.to_string(), meter, day_at)).or_default() += amount;
    }
}

/// Finds the first difference between the projections and the log.
pub(super) async fn compare(
    view: &mut impl Session,
    ledger: &Ledger,
) -> Result<Option<Fault>, StoreError> {
    if let Some(fault) = compare_chunks(view, ledger).await? {
        return Ok(Some(fault));
    }
    compare_usage(view, ledger).await
}

async fn compare_chunks(
    view: &mut impl Session,
    ledger: &Ledger,
) -> Result<Option<Fault>, StoreError> {
    let mut seen = HashSet::new();
    let mut place = (String::new(), 0);
    let mut current: Option<(TenantId, Head)> = None;
    loop {
        let page = chunks::page(view, (&place.0, place.1), PAGE_ROWS).await?;
        let Some(last) = page.last() else { break };
        place = (last.tenant.clone(), last.first_seq);
        for chunk in page {
            let Ok(tenant) = chunk.tenant.parse::<TenantId>() else {
                return Ok(Some(differs("chunks", format!("`{}` is no tenant", chunk.tenant))));
            };
            if let Some((before, head)) = current
                && before != tenant
                && let Some(fault) = ends_elsewhere(before, head, ledger)
            {
                return Ok(Some(fault));
            }
            let (_, head) =
                current.filter(|(before, _)| *before == tenant).unwrap_or((tenant, Head::GENESIS));
            let mut head = head;
            for text in chunk.body.lines() {
                if let Err(error) = head.follow(tenant, text) {
                    let entry = Some((tenant, head.seq + 1));
                    return Ok(Some(Fault { entry, ..differs("chunks", error.to_string()) }));
                }
            }
            if i64::try_from(head.seq) != Ok(chunk.last_seq) {
                let entry = Some((tenant, head.seq));
                let detail = "the chunk's numbers are not its lines'".into();
                return Ok(Some(Fault { entry, ..differs("chunks", detail) }));
            }
            current = Some((tenant, head));
            seen.insert(tenant);
        }
    }
    if let Some((tenant, head)) = current
        && let Some(fault) = ends_elsewhere(tenant, head, ledger)
    {
        return Ok(Some(fault));
    }
    let missing = ledger
        .tenants
        .iter()
        .find(|(tenant, chain)| chain.projected.seq > 0 && !seen.contains(tenant));
    Ok(missing.map(|(tenant, _)| {
        let entry = Some((*tenant, 1));
        Fault { entry, ..differs("chunks", "the tenant is missing".into()) }
    }))
}

/// Equal ends of two whole chains mean equal chains.
fn ends_elsewhere(tenant: TenantId, head: Head, ledger: &Ledger) -> Option<Fault> {
    let expected = ledger.tenants.get(&tenant).map_or(Head::GENESIS, |chain| chain.projected);
    (expected != head).then(|| {
        let entry = Some((tenant, head.seq.min(expected.seq) + 1));
        let detail = format!("it ends with entry {}, the log with {}", head.seq, expected.seq);
        Fault { entry, ..differs("chunks", detail) }
    })
}

async fn compare_usage(
    view: &mut impl Session,
    ledger: &Ledger,
) -> Result<Option<Fault>, StoreError> {
    let mut expected = ledger.usage.clone();
    let mut place = (String::new(), String::new(), 0);
    loop {
        let after = (place.0.as_str(), place.1.as_str(), place.2);
        let page = listings::usage_page(view, after, PAGE_ROWS).await?;
        let Some((tenant, meter, day_at, _)) = page.last() else { break };
        place = (tenant.clone(), meter.clone(), *day_at);
        for (tenant, meter, day_at, found) in page {
            let amount =
                expected.remove(&(tenant.clone(), meter.clone(), day_at)).unwrap_or_default();
            if amount != found {
                let detail = format!(
                    "{tenant} used {amount} of {meter} on the day {day_at}, it says {found}"
                );
                return Ok(Some(differs("usage_days", detail)));
            }
        }
    }
    let missing = expected.into_iter().find(|(_, amount)| *amount != 0);
    Ok(missing.map(|((tenant, meter, day_at), amount)| {
        let detail = format!("{tenant} used {amount} of {meter} on the day {day_at}, it has none");
        differs("usage_days", detail)
    }))
}

fn differs(table: &'static str, detail: String) -> Fault {
    Fault { shard: None, row: None, entry: None, wrong: Wrong::Projection { table, detail } }
}
