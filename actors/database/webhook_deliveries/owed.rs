//! Deliveries that projected lines owe, in the transaction that moves the watermark.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, AnyConnection};

use super::super::many::{Many, Value};
use super::super::{StoreError, column, placeholders};
use crate::ids::EndpointId;
use crate::journal::changes::Changes;
use crate::webhooks::{Notice, Subscription};

/// Tenants that are asked for their endpoints at once.
const TENANTS_AT_ONCE: usize = 64;
/// Events whose deliveries are made at once.
const NOTICES_AT_ONCE: usize = 256;
/// Deliveries of one endpoint that may wait at once; what comes then has failed at once. An endpoint
/// that is away for a day at seven events a minute has room.
const WAITING_MAX: usize = 10_000;
/// Why such a one failed.
const TOO_MANY_WAITING: &str = "too-many-waiting";
/// When it was settled, until the relay has counted it.
const NOT_COUNTED: i64 = 0;
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

static INSERT_REFUSED: Many = Many::new(
    "INSERT INTO webhook_deliveries (tenant_id, id, endpoint_id, event_id, kind, once, seq, \
     body, state, attempts, step, due_at, created_at, last_error, settled_at) VALUES",
    15,
    "ON CONFLICT (tenant_id, endpoint_id, kind, once) DO NOTHING",
);

/// Where a tenant's events go.
struct Listener {
    endpoint: EndpointId,
    events: Subscription,
    /// How many more may wait for it.
    room: usize,
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
        let mut listeners = listeners(connection, some).await?;
        if listeners.is_empty() {
            continue;
        }
        measure(connection, some, &mut listeners).await?;
        for (name, change) in some {
            let Some(listeners) = listeners.get_mut(name.as_str()) else { continue };
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
    fn values(&self, state: &'static str) -> [Value<'_>; 13] {
        [
            self.tenant.into(),
            self.id.as_str().into(),
            self.endpoint.as_str().into(),
            (&*self.event).into(),
            self.notice.kind.as_str().into(),
            (&self.notice.once).into(),
            i64::try_from(self.notice.seq).unwrap_or(i64::MAX).into(),
            (&*self.body).into(),
            state.into(),
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
    listeners: &mut [Listener],
) -> Result<(), StoreError> {
    for notices in change.notices.chunks(NOTICES_AT_ONCE) {
        let (mut owed, mut refused) = (Vec::new(), Vec::new());
        for notice in notices {
            let event: Arc<str> = notice.event(change.tenant).to_string().into();
            let body: Arc<str> = notice.body(change.tenant).into();
            for listener in listeners.iter_mut().filter(|it| it.events.wants(notice.kind)) {
                let room = listener.room.checked_sub(1);
                listener.room = room.unwrap_or(0);
                let rows = if room.is_some() { &mut owed } else { &mut refused };
                rows.push(Owed {
                    tenant: name,
                    id: notice.delivery(change.tenant, listener.endpoint).to_string(),
                    endpoint: listener.endpoint.to_string(),
                    event: Arc::clone(&event),
                    body: Arc::clone(&body),
                    notice,
                });
            }
        }
        let values: Vec<_> = owed.iter().flat_map(|row| row.values("pending")).collect();
        INSERT.run(connection, &values).await?;
        let end = || [Value::from(TOO_MANY_WAITING), Value::from(NOT_COUNTED)];
        let refused = refused.iter().flat_map(|row| row.values("failed").into_iter().chain(end()));
        INSERT_REFUSED.run(connection, &refused.collect::<Vec<_>>()).await?;
    }
    Ok(())
}

/// Measures how much room each endpoint's queue has.
async fn measure(
    connection: &mut AnyConnection,
    tenants: &[(&String, &Changes)],
    listeners: &mut HashMap<String, Vec<Listener>>,
) -> Result<(), StoreError> {
    for row in of_each(waiting_of_tenants(), tenants).fetch_all(&mut *connection).await? {
        let (tenant, waiting): (String, i64) =
            (column::plain(&row, "tenant_id")?, column::plain(&row, "waiting")?);
        let endpoint: EndpointId = column::parsed(&row, "webhook_deliveries", "endpoint_id")?;
        let waiting = usize::try_from(waiting).unwrap_or(0);
        let listeners = listeners.get_mut(&tenant).into_iter().flatten();
        for listener in listeners.filter(|listener| listener.endpoint == endpoint) {
            listener.room = WAITING_MAX.saturating_sub(waiting);
        }
    }
    Ok(())
}

async fn listeners(
    connection: &mut AnyConnection,
    tenants: &[(&String, &Changes)],
) -> Result<HashMap<String, Vec<Listener>>, StoreError> {
    let mut found: HashMap<String, Vec<Listener>> = HashMap::new();
    for row in of_each(of_tenants(), tenants).fetch_all(&mut *connection).await? {
        let events: String = column::plain(&row, "events")?;
        let listener = Listener {
            endpoint: column::parsed(&row, "webhook_endpoints", "id")?,
            // A newer version may have let it subscribe to what this one does not know.
            events: events.parse().unwrap_or(Subscription::All),
            room: WAITING_MAX,
        };
        found.entry(column::plain(&row, "tenant_id")?).or_default().push(listener);
    }
    Ok(found)
}

/// A statement about some tenants. Its text always has the same places: the last tenant stands in
/// those that are left.
fn of_each<'q>(
    text: &'static str,
    tenants: &[(&'q String, &Changes)],
) -> Query<'q, Any, AnyArguments> {
    let places = 0..TENANTS_AT_ONCE;
    let tenants = places.filter_map(|place| tenants.get(place).or(tenants.last()));
    tenants.fold(sqlx::query(text), |query, (name, _)| query.bind(name.as_str()))
}

fn waiting_of_tenants() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        format!(
            "SELECT tenant_id, endpoint_id, COUNT(*) AS waiting FROM webhook_deliveries \
             WHERE state = 'pending' AND tenant_id IN {} GROUP BY tenant_id, endpoint_id",
            placeholders(1, TENANTS_AT_ONCE)
        )
    })
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
    let mut all = vec![ANY, of_tenants(), waiting_of_tenants()];
    all.extend(INSERT_REFUSED.texts().iter().map(String::as_str));
    all.extend(INSERT.texts().iter().map(String::as_str));
    all
}
