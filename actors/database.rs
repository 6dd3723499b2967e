//! The embedded database: one folder, two files, typed transactions.
//!
//! `journal.db` has one writer, the committer; everything else lives in `tenantry.db`, whose writers
//! take turns through a pool of one connection (it is fair, SQLite's own busy handler is not).
//! **Invariant:** only this module and its children name sqlx; others hold [`SystemTx`],
//! [`TenantTx`] or a [`Reader`] and call the query functions of a family.

pub mod error;

mod column;
mod connect;
mod dialect;
mod files;
mod many;
mod upkeep;

// The families: each is the only place of its tables' SQL.
pub(crate) mod api_keys;
pub(crate) mod audit;
pub(crate) mod chunks;
pub(crate) mod heads;
pub mod intents;
pub(crate) mod journal;
pub(crate) mod kept;
pub(crate) mod listings;
pub(crate) mod magic_links;
pub(crate) mod mail_outbox;
pub(crate) mod projections;
pub(crate) mod revocations;
pub(crate) mod sessions;
pub(crate) mod tenants;
pub(crate) mod users;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool, Transaction};
use tenantry_supervision::Tasks;

use crate::ids::TenantId;

pub use dialect::{Backend, placeholders};
pub use error::StoreError;
pub use files::DataDir;

/// Where the database is and what happens when it can no longer be trusted.
#[derive(Debug, Clone)]
pub struct DatabaseSettings {
    /// `sqlite://<path>`; without it `tenantry.db` in the data folder.
    pub url: Option<String>,
    /// The folder of the journal, the lock and, unless `url` says otherwise, everything else.
    pub data_dir: PathBuf,
    /// Called once the storage failed in a way that no retry can mend.
    pub fatal: FatalHook,
}

/// Why the process must end: what it would answer from now on could be wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    /// The device failed under the journal or the projections.
    #[error("the device failed under {file}: {reason}")]
    Device {
        /// The file that was being written.
        file: &'static str,
        /// What the database said.
        reason: String,
    },
    /// A file was removed or replaced under the running process.
    #[error("{} was removed or replaced while in use", path.display())]
    FileReplaced {
        /// The path that no longer leads to the open file.
        path: PathBuf,
    },
    /// Another owner has written to a shard of ours.
    #[error("shard {shard} has another owner")]
    Fenced {
        /// The shard that was lost.
        shard: u16,
    },
    /// A task ended that must not.
    #[error("the task {name} ended")]
    TaskEnded {
        /// The task.
        name: &'static str,
    },
    /// The projector failed again and again.
    #[error("the projector gave up: {reason}")]
    Projector {
        /// The last failure.
        reason: String,
    },
}

/// What the root does on a [`Fatal`]; it ends the process, nothing below it does.
#[derive(Clone)]
pub struct FatalHook(Arc<dyn Fn(&Fatal) + Send + Sync>);

impl FatalHook {
    /// Wraps what the root wants to happen.
    pub fn new(hook: impl Fn(&Fatal) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hook))
    }

    /// Reports that the storage cannot be trusted any more.
    pub fn raise(&self, fatal: &Fatal) {
        tracing::error!(reason = %fatal, "storage failed for good");
        (self.0)(fatal);
    }
}

impl Default for FatalHook {
    fn default() -> Self {
        Self::new(|_| {})
    }
}

impl fmt::Debug for FatalHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FatalHook")
    }
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
    backend: Backend,
    writer: AnyPool,
    readers: AnyPool,
    journal_readers: AnyPool,
    main_url: String,
    journal_url: String,
    fatal: FatalHook,
    // Held for its lock: dropping it lets another process in.
    folder: DataDir,
}

impl Database {
    /// Locks the data folder, opens both files, brings their schema up to date and starts the
    /// checkpointers among `tasks`.
    pub async fn open(settings: &DatabaseSettings, tasks: &Tasks) -> Result<Self, DatabaseError> {
        let database = Self::connect(settings, connect::Access::Own).await?;
        upkeep::start(&database, tasks).await?;
        Ok(database)
    }

    /// Opens both files for reading beside a running server: no lock, no migration.
    pub async fn inspect(settings: &DatabaseSettings) -> Result<Self, DatabaseError> {
        Self::connect(settings, connect::Access::Inspect).await
    }

    /// Starts a writing transaction of the identity plane or of housekeeping.
    pub async fn system_tx(&self) -> Result<SystemTx, StoreError> {
        Ok(SystemTx { tx: self.begin().await? })
    }

    /// Starts a writing transaction that may touch the rows of `tenant` alone.
    pub async fn tenant_tx(&self, tenant: TenantId) -> Result<TenantTx, StoreError> {
        Ok(TenantTx { tenant, tx: self.begin().await? })
    }

    /// Takes a connection for reading `tenantry.db`.
    pub async fn reader(&self) -> Result<Reader, StoreError> {
        Ok(Reader { connection: self.inner.readers.acquire().await? })
    }

    /// Takes a connection for reading `journal.db`.
    pub async fn journal_reader(&self) -> Result<Reader, StoreError> {
        Ok(Reader { connection: self.inner.journal_readers.acquire().await? })
    }

    /// Opens the one connection that writes to `journal.db`; the committer owns it.
    pub async fn journal_writer(&self) -> Result<JournalWriter, StoreError> {
        let (backend, url) = (self.inner.backend, self.inner.journal_url.clone());
        let connection = connect::single(backend, &url).await?;
        Ok(JournalWriter { backend, url, connection })
    }

    /// Says which database this is.
    pub fn backend(&self) -> Backend {
        self.inner.backend
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
        self.inner.writer.close().await;
    }

    // `begin_with` may be cancelled: SQLite's driver rolls back a BEGIN that nobody waits for,
    // and PostgreSQL's connections are rolled back when they return to their pool.
    async fn begin(&self) -> Result<Transaction<'static, Any>, StoreError> {
        Ok(self.inner.writer.begin_with(self.inner.backend.begin_statement()).await?)
    }
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

/// What a query function runs on; implemented by the transactions and the reader.
pub trait Session: Send {
    /// The connection, for the query functions of a family alone.
    fn connection(&mut self) -> &mut AnyConnection;
}

/// A writing transaction over all rows; rolled back unless committed.
#[derive(Debug)]
pub struct SystemTx {
    tx: Transaction<'static, Any>,
}

impl SystemTx {
    /// Makes the changes durable.
    pub async fn commit(self) -> Result<(), StoreError> {
        Ok(self.tx.commit().await?)
    }
}

/// A writing transaction for one tenant; rolled back unless committed.
#[derive(Debug)]
pub struct TenantTx {
    tenant: TenantId,
    tx: Transaction<'static, Any>,
}

impl TenantTx {
    /// The tenant whose rows may be touched.
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Makes the changes durable.
    pub async fn commit(self) -> Result<(), StoreError> {
        Ok(self.tx.commit().await?)
    }
}

/// A connection for reading; it sees the last committed state.
#[derive(Debug)]
pub struct Reader {
    connection: PoolConnection<Any>,
}

impl Reader {
    /// Holds one committed state in view until dropped, however many statements follow.
    pub async fn freeze(&mut self) -> Result<Frozen<'_>, StoreError> {
        use sqlx::Connection;
        Ok(Frozen { tx: self.connection.begin().await? })
    }
}

/// One committed state of the database, held in view.
#[derive(Debug)]
pub struct Frozen<'c> {
    tx: Transaction<'c, Any>,
}

/// The only connection that writes to the journal.
#[derive(Debug)]
pub struct JournalWriter {
    backend: Backend,
    url: String,
    connection: AnyConnection,
}

impl Session for SystemTx {
    fn connection(&mut self) -> &mut AnyConnection {
        &mut self.tx
    }
}

impl Session for TenantTx {
    fn connection(&mut self) -> &mut AnyConnection {
        &mut self.tx
    }
}

impl Session for Reader {
    fn connection(&mut self) -> &mut AnyConnection {
        &mut self.connection
    }
}

impl Session for Frozen<'_> {
    fn connection(&mut self) -> &mut AnyConnection {
        &mut self.tx
    }
}

impl Session for JournalWriter {
    fn connection(&mut self) -> &mut AnyConnection {
        &mut self.connection
    }
}

/// Refuses a change that did not touch exactly the rows that it was meant for.
pub fn ensure_rows(table: &'static str, found: u64, expected: u64) -> Result<(), StoreError> {
    if found == expected { Ok(()) } else { Err(StoreError::Changed { table }) }
}
