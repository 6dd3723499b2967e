//! Deliveries that projected lines owe, in the transaction that moves the watermark.

use std::collections::HashMap;
use std::sync::OnceLock;

use sqlx::{AnyConnection, AssertSqlSafe};

use super::super::many::{Many, Value};
use super::super::{StoreError, column, placeholders};
use crate::ids::EndpointId;
use crate::journal::changes::Changes;
use crate::webhooks::Subscription;

/// Tenants that are asked for their endpoints at once.
const TENANTS_AT_ONCE: usize = 64;
/// When a delivery is due first. Not at its entry's time: a tenant with a clock of its own may be
/// years away.
const AT_ONCE: i64 = 0;

const ANY: &str = "SELECT id FROM webhook_endpoints WHERE disabled_at IS NULL LIMIT 1";
static INSERT: Many = Many::new(
    "INSERT INTO webhook_deliveries (tenant_id, id, endpoint_id, event_id, kind, once, seq, \
     body, state, attempts, step, due_at, created_at) VALUES",
    13,
    "ON CONFLICT (tenant_id, endpoint_id, kind, once) DO NOTHING",
);

/// Where a tenant's events go.
struct Listener {
    endpoint: EndpointId,
    events: Subscription,
}

/// Inserts what the lines owe to the endpoints that there are; projecting a line again owes
/// nothing more.
pub(in crate::database) async fn insert(
    connection: &mut AnyConnection,
    names: &[String],
    changes: &[&Changes],
) -> Result<(), StoreError> {
    let telling: Vec<(&String, &Changes)> = names
        .iter()
        .zip(changes.iter().copied())
        .filter(|(_, it)| !it.notices.is_empty())
        .collect();
    // Most installations have no endpoint at all: they pay for one look.
    if telling.is_empty() || sqlx::query(ANY).fetch_optional(&mut *connection).await?.is_none() {
        return Ok(());
    }
    for some in telling.chunks(TENANTS_AT_ONCE) {
        let listeners = listeners(connection, some).await?;
        for (name, change) in some {
            let Some(listeners) = listeners.get(name.as_str()) else { continue };
            insert_of(connection, name, change, listeners).await?;
        }
    }
    Ok(())
}

async fn insert_of(
    connection: &mut AnyConnection,
    name: &str,
    change: &Changes,
    listeners: &[Listener],
) -> Result<(), StoreError> {
    for notice in &change.notices {
        let wanted: Vec<&Listener> =
            listeners.iter().filter(|listener| listener.events.wants(notice.kind)).collect();
        if wanted.is_empty() {
            continue;
        }
        let event = notice.event(change.tenant).to_string();
        let body = notice.body(change.tenant);
        let seq = i64::try_from(notice.seq).unwrap_or(i64::MAX);
        let at = notice.at.as_micros();
        for listener in wanted {
            let id = notice.delivery(change.tenant, listener.endpoint).to_string();
            let endpoint = listener.endpoint.to_string();
            let values = [
                name.into(),
                (&id).into(),
                (&endpoint).into(),
                (&event).into(),
                notice.kind.as_str().into(),
                (&notice.once).into(),
                Value::from(seq),
                (&body).into(),
                "pending".into(),
                Value::from(0),
                Value::from(0),
                AT_ONCE.into(),
                at.into(),
            ];
            INSERT.run(connection, &values).await?;
        }
    }
    Ok(())
}

async fn listeners(
    connection: &mut AnyConnection,
    tenants: &[(&String, &Changes)],
) -> Result<HashMap<String, Vec<Listener>>, StoreError> {
    let mut query = sqlx::query(AssertSqlSafe(of_tenants()));
    for place in 0..TENANTS_AT_ONCE {
        // The text always has the same places: the last tenant stands in those that are left.
        let (name, _) = tenants.get(place).unwrap_or(&tenants[tenants.len() - 1]);
        query = query.bind(name.as_str());
    }
    let mut found: HashMap<String, Vec<Listener>> = HashMap::new();
    for row in query.fetch_all(&mut *connection).await? {
        let listener = Listener {
            endpoint: column::parsed(&row, "webhook_endpoints", "id")?,
            events: column::parsed(&row, "webhook_endpoints", "events")?,
        };
        found.entry(column::plain(&row, "tenant_id")?).or_default().push(listener);
    }
    Ok(found)
}

fn of_tenants() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        format!(
            "SELECT tenant_id, id, events FROM webhook_endpoints \
             WHERE disabled_at IS NULL AND tenant_id IN {}",
            placeholders(1, TENANTS_AT_ONCE)
        )
    })
}

#[cfg(test)]
pub(super) fn statements() -> Vec<&'static str> {
    let mut all = vec![ANY, of_tenants()];
    all.extend(INSERT.texts().iter().map(String::as_str));
    all
}
