//! The service's tables, and the one statement that decides.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;
use tokio::task::JoinSet;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Statement};

use crate::postgres::{connect, execute};

/// Half of a page is left free, so that a counter's next version fits beside it and no index changes.
const SCHEMA: &str = r#"
    DROP TABLE IF EXISTS accounts, usage, keys;
    CREATE TABLE accounts (
        api_key TEXT PRIMARY KEY,
        tenant BIGINT NOT NULL
    );
    CREATE TABLE usage (
        tenant BIGINT NOT NULL,
        meter TEXT NOT NULL,
        used BIGINT NOT NULL,
        "limit" BIGINT NOT NULL,
        PRIMARY KEY (tenant, meter)
    ) WITH (fillfactor = 50);
    CREATE TABLE keys (
        tenant BIGINT NOT NULL,
        key TEXT NOT NULL,
        meter TEXT NOT NULL,
        amount BIGINT NOT NULL,
        used BIGINT NOT NULL,
        "limit" BIGINT NOT NULL,
        PRIMARY KEY (tenant, key)
    );
"#;

/// Units that each tenant may use.
pub(super) const LIMIT: i64 = 60_000_000_000;

/// Charges once for a key and only below the limit; the key's row holds what to answer again. Of two
/// at the same time with one key, the second meets the first one's row and is undone as a whole.
const CONSUME: &str = r#"
    WITH spent AS (
        UPDATE usage
        SET used = used + $3
        WHERE tenant = $1 AND meter = $2 AND used + $3 <= "limit"
          AND NOT EXISTS (SELECT FROM keys WHERE tenant = $1 AND key = $4)
        RETURNING used, "limit"
    ), kept AS (
        INSERT INTO keys (tenant, key, meter, amount, used, "limit")
        SELECT $1, $4, $2, $3, used, "limit" FROM spent
    )
    SELECT used, "limit" FROM spent
"#;

/// What a key was answered before.
const RECALL: &str = r#"
    SELECT meter, amount, used, "limit"
    FROM keys
    WHERE tenant = $1 AND key = $2
"#;

/// One request for units.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spend<'a> {
    pub(super) tenant: i64,
    pub(super) meter: &'a str,
    pub(super) amount: i64,
    pub(super) key: &'a str,
}

/// What the statement decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Charged, now or when the key was first used.
    Admitted { used: i64, limit: i64 },
    /// Nothing was taken.
    Refused,
    /// The key belongs to another request.
    Reused,
}

/// Some connections with prepared statements, which take requests in turn. Several requests wait on
/// one connection without waiting for each other's answers to travel.
#[derive(Debug)]
pub(super) struct Store {
    connections: Vec<Prepared>,
    next: AtomicUsize,
}

#[derive(Debug)]
struct Prepared {
    client: Client,
    consume: Statement,
    recall: Statement,
}

impl Store {
    /// Opens so many connections.
    pub(super) async fn open(
        url: &str,
        count: usize,
        carriers: &mut JoinSet<()>,
    ) -> anyhow::Result<Self> {
        let mut connections = Vec::with_capacity(count);
        for _ in 0..count {
            let client = connect(url, carriers).await?;
            let consume = client.prepare(CONSUME).await.context("prepare the statement")?;
            let recall = client.prepare(RECALL).await.context("prepare the look-up of a key")?;
            connections.push(Prepared { client, consume, recall });
        }
        Ok(Self { connections, next: AtomicUsize::new(0) })
    }

    /// Reads all API keys.
    pub(super) async fn accounts(&self) -> anyhow::Result<HashMap<String, i64>> {
        let client = &self.connections[0].client;
        let rows = client.query("SELECT api_key, tenant FROM accounts", &[]).await;
        let rows = rows.context("read the accounts")?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// Decides, durably.
    pub(super) async fn consume(
        &self,
        spend: &Spend<'_>,
    ) -> Result<Decision, tokio_postgres::Error> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let connection = &self.connections[turn % self.connections.len()];
        let Spend { tenant, meter, amount, key } = spend;
        let spent =
            connection.client.query_opt(&connection.consume, &[tenant, meter, amount, key]).await;
        match spent {
            Ok(Some(row)) => Ok(Decision::Admitted { used: row.get(0), limit: row.get(1) }),
            Ok(None) => connection.recall(spend).await,
            Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
                connection.recall(spend).await
            }
            Err(error) => Err(error),
        }
    }
}

impl Prepared {
    async fn recall(&self, spend: &Spend<'_>) -> Result<Decision, tokio_postgres::Error> {
        let row = self.client.query_opt(&self.recall, &[&spend.tenant, &spend.key]).await?;
        Ok(match row {
            None => Decision::Refused,
            Some(row) if (row.get(0), row.get(1)) != (spend.meter, spend.amount) => {
                Decision::Reused
            }
            Some(row) => Decision::Admitted { used: row.get(2), limit: row.get(3) },
        })
    }
}

/// Makes the tables, with a tenant for each API key; those that were there are gone.
pub(crate) fn prepare(url: &str, api_keys: &[String]) -> anyhow::Result<()> {
    execute(url, SCHEMA).context("make the tables")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut carriers = JoinSet::new();
        let client = connect(url, &mut carriers).await?;
        let accounts = "INSERT INTO accounts (api_key, tenant)
            SELECT * FROM UNNEST($1::TEXT[]) WITH ORDINALITY";
        client.execute(accounts, &[&api_keys]).await.context("insert the accounts")?;
        let usage = r#"INSERT INTO usage (tenant, meter, used, "limit")
            SELECT tenant, 'tts_ms', 0, $1 FROM accounts"#;
        client.execute(usage, &[&LIMIT]).await.context("insert the counters")?;
        client.batch_execute("VACUUM ANALYZE").await.context("look at the tables")
    })
}

/// Tells the units and the keys of all tenants, which are the same number when each key is one unit.
pub(crate) fn spent(url: &str) -> anyhow::Result<(u64, u64)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut carriers = JoinSet::new();
        let client = connect(url, &mut carriers).await?;
        let sums = "SELECT (SELECT SUM(used) FROM usage)::BIGINT, (SELECT COUNT(*) FROM keys)";
        let row = client.query_one(sums, &[]).await.context("add up what was spent")?;
        let (units, keys): (i64, i64) = (row.get(0), row.get(1));
        Ok((u64::try_from(units)?, u64::try_from(keys)?))
    })
}
