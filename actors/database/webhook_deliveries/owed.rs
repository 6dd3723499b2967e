//! Deliveries that projected lines owe, in the transaction that moves the watermark.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use sqlx::{AnyConnection, AssertSqlSafe};

use super::super::many::{Many, Value};
use super::super::{StoreError, column, placeholders};
use crate::ids::EndpointId;
use crate::journal::changes::Changes;
use crate::webhooks::{Notice, Subscription};

/// Tenants that are asked for their endpoints at once.
const TENANTS_AT_ONCE: usize = 64;
/// Events whose deliveries are made at once.
const NOTICES_AT_ONCE: usize = 256;
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

/// One delivery that is owed.
struct Owed<'c> {
    tenant: &'c str,
    id: String,
    endpoint: String,
    event: Arc<str>,
    body: Arc<str>,
    notice: &'c Notice,
}

impl Owed<'_> {
    fn values(&self) -> [Value<'_>; 13] {
        [
            self.tenant.into(),
            self.id.as_str().into(),
            self.endpoint.as_str().into(),
            (&*self.event).into(),
            self.notice.kind.as_str().into(),
            (&self.notice.once).into(),
            i64::try_from(self.notice.seq).unwrap_or(i64::MAX).into(),
            (&*self.body).into(),
            "pending".into(),
            Value::from(0),
            Value::from(0),
            AT_ONCE.into(),
            self.notice.at.as_micros().into(),
        ]
    }
}

/// Inserts what one tenant's lines owe: a thousand holds that lapse at once are owed to each of its
/// endpoints, so many rows share a statement.
async fn insert_of(
    connection: &mut AnyConnection,
    name: &str,
    change: &Changes,
    listeners: &[Listener],
) -> Result<(), StoreError> {
    for notices in change.notices.chunks(NOTICES_AT_ONCE) {
        let mut owed = Vec::new();
        for notice in notices {
            let event: Arc<str> = notice.event(change.tenant).to_string().into();
            let body: Arc<str> = notice.body(change.tenant).into();
            let wanted = listeners.iter().filter(|listener| listener.events.wants(notice.kind));
            owed.extend(wanted.map(|listener| Owed {
                tenant: name,
                id: notice.delivery(change.tenant, listener.endpoint).to_string(),
                endpoint: listener.endpoint.to_string(),
                event: Arc::clone(&event),
                body: Arc::clone(&body),
                notice,
            }));
        }
        let values: Vec<_> = owed.iter().flat_map(Owed::values).collect();
        INSERT.run(connection, &values).await?;
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
        let events: String = column::plain(&row, "events")?;
        let listener = Listener {
            endpoint: column::parsed(&row, "webhook_endpoints", "id")?,
            // A newer version may have let it subscribe to what this one does not know.
            events: events.parse().unwrap_or(Subscription::All),
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
