//! Opens pools and single connections, checks the library, applies the migrations.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions, install_default_drivers};
use sqlx::migrate::Migrator;
use sqlx::{AnyConnection, AnyPool, Connection, Executor, Row};

use super::{Backend, DataDir, Database, DatabaseError, DatabaseSettings, Inner, StoreError};

/// Connections that read `tenantry.db` at once; each costs a thread.
const READERS: u32 = 4;
/// Connections that read `journal.db` at once: activation and `ledger` commands alone do.
const JOURNAL_READERS: u32 = 2;
/// How long a caller waits for a connection before it is told that the database is busy.
const ACQUIRE_FOR: Duration = Duration::from_secs(5);
/// The first version without the WAL-reset corruption bug.
const OLDEST_SQLITE: [u32; 3] = [3, 51, 3];

static JOURNAL_MIGRATIONS: Migrator = sqlx::migrate!("../migrations/journal");
static MAIN_MIGRATIONS: Migrator = sqlx::migrate!("../migrations/main");

/// How the files are opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// As their one owner: lock, create, migrate.
    Own,
    /// Beside the owner, for reading alone.
    Inspect,
}

impl Database {
    pub(super) async fn connect(
        settings: &DatabaseSettings,
        access: Access,
    ) -> Result<Self, DatabaseError> {
        install_default_drivers();
        let folder = match access {
            Access::Own => DataDir::lock(&settings.data_dir)?,
            Access::Inspect => DataDir::without_lock(&settings.data_dir)?,
        };
        let backend = Backend::Sqlite;
        let main_url = sqlite_url(&main_path(settings.url.as_deref(), &folder)?, access);
        let journal_url = sqlite_url(&folder.path().join("journal.db"), access);
        if access == Access::Inspect {
            folder.require("journal.db")?;
        }
        let mut journal = single(backend, &journal_url).await?;
        check_library(&mut journal).await?;
        if access == Access::Own {
            migrate("journal.db", &JOURNAL_MIGRATIONS, &mut journal).await?;
            let mut main = single(backend, &main_url).await?;
            migrate("tenantry.db", &MAIN_MIGRATIONS, &mut main).await?;
            main.close().await.map_err(StoreError::from)?;
            folder.flush().map_err(|source| DatabaseError::Folder {
                path: folder.path().to_path_buf(),
                source,
            })?;
        }
        journal.close().await.map_err(StoreError::from)?;
        Ok(Self {
            inner: Arc::new(Inner {
                backend,
                writer: pool(backend, &main_url, 1)?,
                readers: pool(backend, &main_url, READERS)?,
                journal_readers: pool(backend, &journal_url, JOURNAL_READERS)?,
                main_url,
                journal_url,
                fatal: settings.fatal.clone(),
                folder,
            }),
        })
    }
}

/// Where the main file is; the journal always lies in the data folder.
fn main_path(url: Option<&str>, folder: &DataDir) -> Result<PathBuf, DatabaseError> {
    let Some(url) = url else { return Ok(folder.path().join("tenantry.db")) };
    let Some(rest) = url.strip_prefix("sqlite:") else {
        let scheme = url.split(':').next().unwrap_or_default();
        let reason = format!("`{scheme}` databases are not served yet; use `sqlite://<path>`");
        return Err(DatabaseError::Url { reason });
    };
    let path = rest.strip_prefix("//").unwrap_or(rest);
    let path = path.split('?').next().unwrap_or_default();
    if path.is_empty() || path.contains(":memory:") {
        let reason = "the database must be a file: `sqlite://<path>`".into();
        return Err(DatabaseError::Url { reason });
    }
    std::path::absolute(path).map_err(|source| DatabaseError::Folder { path: path.into(), source })
}

/// A URL that leads to `path` whatever characters it has.
fn sqlite_url(path: &Path, access: Access) -> String {
    let mut url = String::from("sqlite://");
    for character in path.to_string_lossy().chars() {
        match character {
            '%' => url.push_str("%25"),
            '?' => url.push_str("%3F"),
            '#' => url.push_str("%23"),
            other => url.push(other),
        }
    }
    url.push_str(match access {
        Access::Own => "?mode=rwc",
        // Not `ro`: a reader of a WAL file must be able to write its shared index.
        Access::Inspect => "?mode=rw",
    });
    url
}

/// Opens one connection that belongs to no pool.
pub(super) async fn single(backend: Backend, url: &str) -> Result<AnyConnection, StoreError> {
    let options = AnyConnectOptions::from_str(url)?;
    let mut connection = AnyConnection::connect_with(&options).await?;
    connection.execute(sqlx::raw_sql(backend.connection_setup())).await?;
    Ok(connection)
}

fn pool(backend: Backend, url: &str, connections: u32) -> Result<AnyPool, StoreError> {
    let options = AnyConnectOptions::from_str(url)?;
    Ok(AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_FOR)
        // A ping on every acquire is one hop to another thread and back for nothing.
        .test_before_acquire(backend == Backend::Postgres)
        .idle_timeout(None)
        .max_lifetime(None)
        .after_connect(move |connection, _| {
            Box::pin(async move {
                connection.execute(sqlx::raw_sql(backend.connection_setup())).await?;
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
                if let Some(statement) = backend.release_statement() {
                    connection.execute(sqlx::raw_sql(statement)).await?;
                }
                Ok(true)
            })
        })
        .connect_lazy_with(options))
}

async fn check_library(connection: &mut AnyConnection) -> Result<(), DatabaseError> {
    let row = sqlx::query("SELECT sqlite_version()")
        .fetch_one(connection)
        .await
        .map_err(StoreError::from)?;
    let found: String = row.try_get(0).map_err(StoreError::from)?;
    if is_recent(&found) { Ok(()) } else { Err(DatabaseError::LibraryTooOld { found }) }
}

fn is_recent(version: &str) -> bool {
    let parts: Vec<u32> = version.split('.').map_while(|part| part.parse().ok()).collect();
    parts.as_slice() >= OLDEST_SQLITE.as_slice()
}

async fn migrate(
    file: &'static str,
    migrator: &Migrator,
    connection: &mut AnyConnection,
) -> Result<(), DatabaseError> {
    migrator.run(connection).await.map_err(|source| DatabaseError::Migrate { file, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_libraries_are_known() {
        assert!(is_recent("3.51.3"));
        assert!(is_recent("3.52.0"));
        assert!(is_recent("4.0"));
        assert!(!is_recent("3.51.2"));
        assert!(!is_recent("3.7.17"));
        assert!(!is_recent("garbage"));
    }

    #[test]
    fn a_path_may_hold_characters_that_mean_something_in_a_url() {
        let url = sqlite_url(Path::new("/tmp/a b?c#d%e.db"), Access::Own);

        assert_eq!(url, "sqlite:///tmp/a b%3Fc%23d%25e.db?mode=rwc");
    }
}
