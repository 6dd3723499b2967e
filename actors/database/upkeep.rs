//! Keeps SQLite's files small and watches that the files are still the ones that were opened.
//!
//! Checkpoints run here, on connections of their own, so that no commit pays for one. A file that
//! was removed or replaced under the server would swallow writes without an error: that ends it.

use std::path::PathBuf;
use std::time::Duration;

use sqlx::{AnyConnection, Row};
use tenantry_supervision::{Tasks, spawn};

use super::dialect::Role;
use super::files::Identity;
use super::{Backend, Database, Fatal, StoreError, connect};

/// How often the write-ahead logs are copied into their files.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(500);
/// Bytes in a write-ahead log beyond which writers wait once for it to start anew: a passive
/// checkpoint under steady load never finds the moment.
const RESTART_AT_BYTES: i64 = 256 * 1024 * 1024;

const PAGE_SIZE: &str = "PRAGMA page_size";
const PASSIVE: &str = "PRAGMA wal_checkpoint(PASSIVE)";
const RESTART: &str = "PRAGMA wal_checkpoint(RESTART)";

/// Starts the upkeep of the files; it ends with `tasks`.
pub(super) async fn start(database: &Database, tasks: &Tasks) -> Result<(), StoreError> {
    let inner = &database.inner;
    let mut connections = Vec::new();
    if inner.place.backend == Backend::Sqlite {
        let place = &inner.place;
        for (url, role) in
            [(&place.journal_url, Role::JournalUpkeep), (&place.main_url, Role::Upkeep)]
        {
            connections.push(connect::single(Backend::Sqlite, url, role).await?);
        }
    }
    let watched = watched_files(&mut connections, database).await?;
    let cancel = tasks.token();
    let fatal = inner.fatal.clone();
    spawn("database.upkeep", tasks, async move {
        let mut beat = tokio::time::interval(CHECKPOINT_EVERY);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                _ = beat.tick() => {}
            }
            for connection in &mut connections {
                if let Err(error) = checkpoint(connection).await {
                    tracing::warn!(%error, "checkpoint failed");
                }
            }
            if let Some((path, _)) =
                watched.iter().find(|(path, was)| Identity::of_path(path).ok() != Some(*was))
            {
                fatal.raise(&Fatal::FileReplaced { path: path.clone() });
                return;
            }
        }
    });
    Ok(())
}

async fn watched_files(
    connections: &mut [AnyConnection],
    database: &Database,
) -> Result<Vec<(PathBuf, Identity)>, StoreError> {
    let mut watched: Vec<_> = database.inner.folder.lock_identity().into_iter().collect();
    for connection in connections {
        let row = sqlx::query("SELECT file FROM pragma_database_list WHERE name = 'main'")
            .fetch_one(connection)
            .await?;
        let path = PathBuf::from(row.try_get::<String, _>(0)?);
        let identity = Identity::of_path(&path).map_err(sqlx::Error::Io)?;
        watched.push((path, identity));
    }
    Ok(watched)
}

async fn restart_at_pages(connection: &mut AnyConnection) -> Result<i64, StoreError> {
    let row = sqlx::query(PAGE_SIZE).fetch_one(connection).await?;
    Ok(RESTART_AT_BYTES / row.try_get::<i64, _>(0)?.max(1))
}

async fn checkpoint(connection: &mut AnyConnection) -> Result<(), StoreError> {
    // (busy, pages in the log, pages copied)
    let row = sqlx::query(PASSIVE).fetch_one(&mut *connection).await?;
    let pages: i64 = row.try_get(1)?;
    if pages > 0 && pages > restart_at_pages(connection).await? {
        sqlx::query(RESTART).fetch_one(&mut *connection).await?;
    }
    Ok(())
}
