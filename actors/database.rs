//! The database: two files in a folder or one PostgreSQL database, and typed transactions on it.
//!
//! The journal has one writer, the committer. Embedded, it is a file of its own; everything else
//! lives in `tenantry.db`, whose writers take turns through a pool of one connection (it is fair,
//! SQLite's own busy handler is not). One SQL text serves both; `dialect` has what differs.
//! **Invariant:** only this module and its children name sqlx; others hold [`SystemTx`],
//! [`TenantTx`] or a [`Reader`] and call the query functions of a family.

pub mod error;

mod column;
mod connect;
mod dialect;
mod fatal;
mod files;
mod handles;
mod many;
mod place;
mod schema;
mod upkeep;

// The families: each is the only place of its tables' SQL.
pub(crate) mod api_keys;
pub(crate) mod audit;
pub(crate) mod chunks;
pub(crate) mod event_keys;
pub(crate) mod heads;
pub mod intents;
pub(crate) mod journal;
pub(crate) mod kept;
pub(crate) mod listings;
pub(crate) mod magic_links;
pub(crate) mod mail_outbox;
pub(crate) mod marks;
pub(crate) mod notes;
pub(crate) mod projections;
pub(crate) mod revocations;
pub(crate) mod sessions;
pub(crate) mod tenants;
pub(crate) mod users;
pub(crate) mod webhook_deliveries;
pub(crate) mod webhook_endpoints;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use sqlx::{Any, AnyPool, Transaction};
use tenantry_supervision::Tasks;

use self::dialect::Role;
use self::place::Place;
use crate::ids::TenantId;

pub use connect::Examined;
pub use dialect::{Backend, placeholders};
pub use error::StoreError;
pub use fatal::{Fatal, FatalHook};
pub use files::DataDir;
pub use handles::{Frozen, JournalWriter, Reader, Session, SystemTx, TenantTx, ensure_rows};

/// Where the database is and what happens when it can no longer be trusted.
#[derive(Debug, Clone)]
pub struct DatabaseSettings {
    /// `sqlite://<path>` or `postgres://…`; without it `tenantry.db` in the data folder.
    pub url: Option<String>,
    /// The folder of the lock and the keys and, unless `url` says otherwise, everything else.
    pub data_dir: PathBuf,
    /// Called once the storage failed in a way that no retry can mend.
    pub fatal: FatalHook,
}

/// Why the database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// Another process holds the data folder.
    #[error("the data folder {} is in use by another process", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The folder cannot be made, read or locked.
    #[error("the data folder {} cannot be used", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The URL names a database that this version does not serve.
    #[error("{reason}")]
    Url {
        /// What is wrong and what to write in its place.
        reason: String,
    },
    /// A library with a known corruption bug.
    #[error("SQLite {found} can corrupt a WAL file; at least 3.51.3 is needed")]
    LibraryTooOld {
        /// The version that is linked.
        found: String,
    },
    /// A server that cannot serve.
    #[error("the database server cannot be used: {reason}")]
    Server {
        /// What is wrong and what to do about it.
        reason: String,
    },
    /// The schema could not be brought up to date.
    #[error("the migrations of {file} failed")]
    Migrate {
        /// The file being migrated.
        file: &'static str,
        /// What the migrator said.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
    /// A statement failed while opening.
    #[error("the database could not be opened")]
    Store(#[from] StoreError),
}

/// The open database; a cheap handle.
#[derive(Debug, Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    place: Place,
    // The identity plane and housekeeping: they check what they read, one after the other.
    writer: AnyPool,
    // Projections and snapshots, whose statements each stand alone; the same pool in one file.
    background: AnyPool,
    readers: AnyPool,
    journal_readers: AnyPool,
    fatal: FatalHook,
    // Held for its lock: dropping it lets another process in.
    folder: DataDir,
}

impl Database {
    /// Locks the data folder, opens the database, brings its schema up to date and starts its
    /// upkeep among `tasks`.
    pub async fn open(settings: &DatabaseSettings, tasks: &Tasks) -> Result<Self, DatabaseError> {
        let database = Self::connect(settings, connect::Access::Own).await?;
        upkeep::start(&database, tasks).await?;
        Ok(database)
    }

    /// Opens the database for reading beside a running server: no lock, no migration.
    pub async fn inspect(settings: &DatabaseSettings) -> Result<Self, DatabaseError> {
        Self::connect(settings, connect::Access::Inspect).await
    }

    /// Looks whether the configured database can be used, without changing anything.
    pub async fn examine(settings: &DatabaseSettings) -> Result<Examined, DatabaseError> {
        connect::examine(settings).await
    }

    /// Starts a writing transaction of the identity plane or of housekeeping.
    pub async fn system_tx(&self) -> Result<SystemTx, StoreError> {
        let begin = self.backend().begin_statement();
        Ok(SystemTx { tx: begin_on(&self.inner.writer, begin).await? })
    }

    /// Starts the projector's transaction: it has no rival but one that its watermark fences off.
    pub(crate) async fn projector_tx(&self) -> Result<SystemTx, StoreError> {
        let begin = self.backend().begin_background_statement();
        Ok(SystemTx { tx: begin_on(&self.inner.background, begin).await? })
    }

    /// Starts a transaction of a relay: each statement changes rows that are still as it needs them,
    /// so that relays of two servers never fail for each other's sake.
    pub(crate) async fn relay_tx(&self) -> Result<SystemTx, StoreError> {
        self.projector_tx().await
    }

    /// Starts a writing transaction that may touch the rows of `tenant` alone.
    pub async fn tenant_tx(&self, tenant: TenantId) -> Result<TenantTx, StoreError> {
        let begin = self.backend().begin_background_statement();
        Ok(TenantTx { tenant, tx: begin_on(&self.inner.background, begin).await? })
    }

    /// Takes a connection for reading everything but the log.
    pub async fn reader(&self) -> Result<Reader, StoreError> {
        let connection = self.inner.readers.acquire().await?;
        Ok(Reader { backend: self.backend(), connection })
    }

    /// Takes a connection for reading the log.
    pub async fn journal_reader(&self) -> Result<Reader, StoreError> {
        let connection = self.inner.journal_readers.acquire().await?;
        Ok(Reader { backend: self.backend(), connection })
    }

    /// Opens the one connection that writes to the log; the committer owns it.
    pub async fn journal_writer(&self) -> Result<JournalWriter, StoreError> {
        let (backend, url) = (self.backend(), self.inner.place.journal_url.clone());
        let connection = connect::single(backend, &url, Role::Journal).await?;
        Ok(JournalWriter { backend, url, connection })
    }

    /// Says which database this is.
    pub fn backend(&self) -> Backend {
        self.inner.place.backend
    }

    /// The locked data folder.
    pub fn folder(&self) -> &DataDir {
        &self.inner.folder
    }

    /// What happens when the storage cannot be trusted any more.
    pub fn fatal(&self) -> &FatalHook {
        &self.inner.fatal
    }

    /// Reports a failure that ends the process.
    pub fn raise(&self, fatal: &Fatal) {
        self.inner.fatal.raise(fatal);
    }

    /// Waits until every connection is given back, and closes them.
    pub async fn close(&self) {
        self.inner.readers.close().await;
        self.inner.journal_readers.close().await;
        self.inner.background.close().await;
        self.inner.writer.close().await;
    }
}

// `begin_with` may be cancelled: SQLite's driver rolls back a BEGIN that nobody waits for, and
// PostgreSQL's connections are rolled back when they return to their pool.
async fn begin_on(
    pool: &AnyPool,
    statement: &'static str,
) -> Result<Transaction<'static, Any>, StoreError> {
    Ok(pool.begin_with(statement).await?)
}

/// Changes by hand, as somebody with access to the files could make them.
#[cfg(test)]
impl Database {
    pub(crate) async fn tamper(&self, sql: &str) {
        let mut tx = self.system_tx().await.expect("a transaction begins");
        Self::tamper_with(&mut tx, sql).await;
        tx.commit().await.expect("it commits");
    }

    pub(crate) async fn tamper_journal(&self, sql: &str) {
        let mut writer = self.journal_writer().await.expect("the journal opens");
        Self::tamper_with(&mut writer, sql).await;
    }

    async fn tamper_with(session: &mut impl Session, sql: &str) {
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        sqlx::raw_sql(sql).execute(session.connection()).await.expect("the statement runs");
    }
}
