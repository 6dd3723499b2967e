//! Opens pools and single connections on either database.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions, install_default_drivers};
use sqlx::{AnyConnection, AnyPool, Connection, Executor};
use tokio::time::{Instant, sleep, timeout};

use super::dialect::Role;
use super::place::Place;
use super::{
    Backend, DataDir, Database, DatabaseError, DatabaseSettings, Inner, StoreError, schema,
};
use crate::planted::{self, Bug};

/// How long a caller waits for a connection before it is told that the database is busy.
const ACQUIRE_FOR: Duration = Duration::from_secs(5);
/// How long one connection may take to be made, and a returned one to be cleaned.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long a start waits for a server that cannot be reached yet: both may have been started at
/// the same moment.
const REACH_WITHIN: Duration = Duration::from_secs(30);
/// How often it tries.
const REACH_EVERY: Duration = Duration::from_millis(250);
/// How long a start waits for another one that migrates the same database.
const WAIT_FOR_MIGRATIONS: &str = "SET lock_timeout = '2min'";

/// How the database is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// As its one owner: lock, create, migrate.
    Own,
    /// Beside the owner, for reading alone.
    Inspect,
}

impl Database {
    pub(super) async fn connect(
        settings: &DatabaseSettings,
        access: Access,
    ) -> Result<Self, DatabaseError> {
        #[cfg(feature = "planted-bugs")]
        planted::plant_from(&settings.data_dir);
        install_default_drivers();
        let folder = match access {
            Access::Own => DataDir::lock(&settings.data_dir)?,
            Access::Inspect => DataDir::without_lock(&settings.data_dir)?,
        };
        let place = Place::of(settings.url.as_deref(), &folder, access)?;
        match place.backend {
            Backend::Sqlite => prepare_sqlite(&place, &folder, access).await?,
            Backend::Postgres => prepare_postgres(&place, access).await?,
        }
        let (backend, main_url) = (place.backend, place.main_url.as_str());
        let writer = pool(backend, main_url, Role::Identity)?;
        Ok(Self {
            inner: Arc::new(Inner {
                background: match backend {
                    // One file has one writer.
                    Backend::Sqlite => writer.clone(),
                    Backend::Postgres => pool(backend, main_url, Role::Background)?,
                },
                writer,
                readers: pool(backend, main_url, Role::Reader)?,
                journal_readers: pool(backend, &place.journal_url, Role::JournalReader)?,
                place,
                fatal: settings.fatal.clone(),
                folder,
            }),
        })
    }
}

/// What a database is, and what of its settings risks what was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// Its kind and version.
    pub what: String,
    /// What to mend.
    pub warnings: Vec<String>,
}

/// Looks at the configured database without changing anything.
pub(super) async fn examine(settings: &DatabaseSettings) -> Result<Examined, DatabaseError> {
    install_default_drivers();
    let Some(url) = settings.url.as_deref().filter(|url| Place::is_a_server(url)) else {
        return Ok(Examined { what: "files, embedded".to_owned(), warnings: Vec::new() });
    };
    let mut connection = single(Backend::Postgres, url, Role::Upkeep).await?;
    let (version, warnings) = schema::check_postgres(&mut connection).await?;
    connection.close().await.map_err(StoreError::from)?;
    Ok(Examined { what: format!("PostgreSQL {version}"), warnings })
}

async fn prepare_sqlite(
    place: &Place,
    folder: &DataDir,
    access: Access,
) -> Result<(), DatabaseError> {
    if access == Access::Inspect {
        folder.require("journal.db")?;
    }
    let mut journal = single(Backend::Sqlite, &place.journal_url, Role::JournalUpkeep).await?;
    schema::check_sqlite(&mut journal).await?;
    if access == Access::Own {
        let mut main = single(Backend::Sqlite, &place.main_url, Role::Upkeep).await?;
        schema::migrate_sqlite(&mut journal, &mut main).await?;
        main.close().await.map_err(StoreError::from)?;
        folder.flush().map_err(|source| DatabaseError::Folder {
            path: folder.path().to_path_buf(),
            source,
        })?;
    }
    Ok(journal.close().await.map_err(StoreError::from)?)
}

async fn prepare_postgres(place: &Place, access: Access) -> Result<(), DatabaseError> {
    let mut connection = reach(&place.main_url).await?;
    let (_, warnings) = schema::check_postgres(&mut connection).await?;
    for warning in warnings {
        tracing::warn!(warning, "the database server is not set up to keep what it is given");
    }
    if access == Access::Own {
        let patient = sqlx::raw_sql(WAIT_FOR_MIGRATIONS);
        connection.execute(patient).await.map_err(StoreError::from)?;
        schema::migrate_postgres(&mut connection).await?;
    }
    Ok(connection.close().await.map_err(StoreError::from)?)
}

/// Connects to a server that may still be starting.
async fn reach(url: &str) -> Result<AnyConnection, DatabaseError> {
    let until = Instant::now() + REACH_WITHIN;
    loop {
        match single(Backend::Postgres, url, Role::Upkeep).await {
            Err(error @ StoreError::Unavailable(_)) if Instant::now() < until => {
                tracing::warn!(%error, "the database is tried again");
                sleep(REACH_EVERY).await;
            }
            tried => return Ok(tried?),
        }
    }
}

/// Opens one connection that belongs to no pool.
pub(super) async fn single(
    backend: Backend,
    url: &str,
    role: Role,
) -> Result<AnyConnection, StoreError> {
    let options = AnyConnectOptions::from_str(url)?;
    let connected = timeout(CONNECT_WITHIN, async {
        let mut connection = AnyConnection::connect_with(&options).await?;
        connection.execute(sqlx::raw_sql(backend.connection_setup(role))).await?;
        if planted::is(Bug::NoFlush) && backend == Backend::Sqlite {
            connection.execute(sqlx::raw_sql("PRAGMA synchronous = OFF")).await?;
        }
        Ok::<_, sqlx::Error>(connection)
    });
    Ok(connected.await.map_err(|_| StoreError::timed_out())??)
}

fn pool(backend: Backend, url: &str, role: Role) -> Result<AnyPool, DatabaseError> {
    let options = AnyConnectOptions::from_str(url)
        .map_err(|_| DatabaseError::Url { reason: "the database's URL cannot be read".into() })?;
    Ok(AnyPoolOptions::new()
        .max_connections(backend.connections(role))
        .acquire_timeout(ACQUIRE_FOR)
        // A ping on every acquire is one hop to another thread and back for nothing; a connection
        // to a server may have died in the pool.
        .test_before_acquire(backend == Backend::Postgres)
        .idle_timeout(None)
        .max_lifetime(None)
        .after_connect(move |connection, _| {
            Box::pin(async move {
                connection.execute(sqlx::raw_sql(backend.connection_setup(role))).await?;
                Ok(())
            })
        })
        // SQLite ends the transaction of a statement that finds the disk full by itself. The
        // driver's rollback fails then and it counts the transaction as open ever after.
        .before_acquire(|connection, _| {
            Box::pin(async move { Ok(!connection.is_in_transaction()) })
        })
        .after_release(move |connection, _| {
            Box::pin(async move {
                let Some(statement) = backend.release_statement() else { return Ok(true) };
                // A server that does not answer must not keep the connection's place in the pool.
                let cleaned = connection.execute(sqlx::raw_sql(statement));
                match timeout(CONNECT_WITHIN, cleaned).await {
                    Ok(cleaned) => cleaned.map(|_| true),
                    Err(_) => Err(sqlx::Error::PoolTimedOut),
                }
            })
        })
        .connect_lazy_with(options))
}
