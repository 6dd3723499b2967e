use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::task::Poll;
use std::time::Duration;

use futures_util::poll;
use sqlx::{Executor, Row};
use tempfile::TempDir;

use super::*;
use crate::journal::row::{Row as LogRow, RowHash};

const PATIENCE: Duration = Duration::from_secs(20);

async fn settings(folder: &TempDir) -> DatabaseSettings {
    testing::settings(folder.path()).await
}

async fn open(folder: &TempDir) -> Database {
    Database::open(&settings(folder).await, &Tasks::new()).await.unwrap()
}

#[tokio::test]
async fn a_folder_held_by_another_process_is_refused() {
    let folder = TempDir::new().unwrap();
    let lock = folder.path().join("lock");
    let mut holder = Command::new("flock")
        .arg(&lock)
        .args(["sh", "-c", "echo held; exec cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();

    let refused = Database::open(&settings(&folder).await, &Tasks::new()).await.unwrap_err();
    drop(holder.stdin.take());
    holder.wait().unwrap();

    assert!(matches!(refused, DatabaseError::InUse { .. }), "{refused}");
    open(&folder).await;
}

#[tokio::test]
async fn a_folder_is_free_again_once_its_owner_is_gone() {
    let folder = TempDir::new().unwrap();
    let tasks = Tasks::new();
    let first = Database::open(&settings(&folder).await, &tasks).await.unwrap();

    assert!(matches!(
        Database::open(&settings(&folder).await, &tasks).await,
        Err(DatabaseError::InUse { .. })
    ));
    first.close().await;
    drop(first);

    open(&folder).await;
}

#[tokio::test]
async fn a_folder_without_a_journal_is_not_inspected() {
    if testing::backend() != Backend::Sqlite {
        return; // It is about files.
    }
    let folder = TempDir::new().unwrap();

    let error = Database::inspect(&settings(&folder).await).await.unwrap_err();

    assert!(matches!(error, DatabaseError::Folder { .. }), "{error}");
    assert!(!folder.path().join("journal.db").exists(), "nothing is made by looking");
}

#[tokio::test]
async fn other_databases_are_refused_by_name() {
    let folder = TempDir::new().unwrap();
    let settings =
        DatabaseSettings { url: Some("mysql://host/name".into()), ..settings(&folder).await };

    let error = Database::open(&settings, &Tasks::new()).await.unwrap_err();

    assert_eq!(
        error.to_string(),
        "`mysql` databases are not served; use `sqlite://<path>` or `postgres://…`"
    );
}

#[tokio::test]
async fn every_connection_waits_for_the_disk_and_leaves_checkpoints_to_upkeep() {
    if testing::backend() != Backend::Sqlite {
        return; // It is about files.
    }
    let folder = TempDir::new().unwrap();
    let database = open(&folder).await;
    let mut tx = database.system_tx().await.unwrap();
    let mut journal = database.journal_writer().await.unwrap();

    for session in [tx.connection(), journal.connection()] {
        for (pragma, expected) in [("synchronous", 2), ("wal_autocheckpoint", 0)] {
            let sql = sqlx::AssertSqlSafe(format!("PRAGMA {pragma}"));
            let row = session.fetch_one(sqlx::query(sql)).await.unwrap();
            assert_eq!(row.get::<i64, _>(0), expected, "{pragma}");
        }
    }
}

#[tokio::test]
async fn every_statement_can_be_prepared() {
    let folder = TempDir::new().unwrap();
    let database = open(&folder).await;
    let mut log = database.journal_writer().await.unwrap();
    let mut main = database.reader().await.unwrap();

    for sql in journal::statements() {
        log.connection().prepare(sqlx::SqlStr::from_static(sql)).await.expect(sql);
    }
    let families = [
        api_keys::statements(),
        audit::statements(),
        chunks::statements(),
        event_keys::statements(),
        heads::statements(),
        intents::statements(),
        kept::statements(),
        listings::statements(),
        magic_links::statements(),
        marks::statements(),
        mail_outbox::statements(),
        notes::statements(),
        projections::statements(),
        revocations::statements(),
        sessions::statements(),
        tenants::statements(),
        users::statements(),
        webhook_deliveries::statements(),
        webhook_endpoints::statements(),
    ];
    for sql in families.concat() {
        main.connection().prepare(sqlx::SqlStr::from_static(sql)).await.expect(sql);
    }
}

#[tokio::test]
async fn a_full_disk_is_told_apart_and_leaves_the_place_free() {
    if testing::backend() != Backend::Sqlite {
        return; // It is about files.
    }
    let folder = TempDir::new().unwrap();
    let database = open(&folder).await;
    let mut log = database.journal_writer().await.unwrap();
    let row = LogRow {
        shard: 0,
        seq: 1,
        epoch: 1,
        batch_id: "batch".into(),
        body: Arc::new("x".repeat(1_000_000)),
        hash: RowHash::START,
    };

    log.connection().execute("PRAGMA max_page_count = 10").await.unwrap();
    let full = log.append(std::slice::from_ref(&row)).await.unwrap_err();
    let found = log.batch_at(0, 1).await.unwrap();
    log.connection().execute("PRAGMA max_page_count = 1000000").await.unwrap();
    let appended = log.append(std::slice::from_ref(&row)).await.unwrap();
    let again = log.append(std::slice::from_ref(&row)).await.unwrap();

    assert!(matches!(full, StoreError::DiskFull), "{full}");
    assert_eq!(found, None);
    assert_eq!(appended, [(0, 1)]);
    assert_eq!(again, [], "the place is taken, by the same batch");
    assert_eq!(log.batch_at(0, 1).await.unwrap().as_deref(), Some("batch"));
}

#[tokio::test]
async fn a_transaction_on_a_full_disk_leaves_the_next_one_free() {
    if testing::backend() != Backend::Sqlite {
        return; // It is about files.
    }
    let folder = TempDir::new().unwrap();
    let database = open(&folder).await;
    let insert = "INSERT INTO journal_watermarks (shard, seq, hash) \
                  VALUES (7, 1, printf('%.1000000c', 'x'))";

    let mut cut = database.system_tx().await.unwrap();
    cut.connection().execute("PRAGMA max_page_count = 10").await.unwrap();
    let full = StoreError::from(cut.connection().execute(insert).await.unwrap_err());
    drop(cut);
    let mut kept = database.system_tx().await.unwrap();
    kept.connection().execute(insert).await.unwrap();
    kept.commit().await.unwrap();

    assert!(matches!(full, StoreError::DiskFull), "{full}");
}

#[tokio::test]
async fn a_transaction_is_rolled_back_unless_committed() {
    let folder = TempDir::new().unwrap();
    let database = open(&folder).await;
    let insert = "INSERT INTO journal_watermarks (shard, seq, hash) VALUES (7, 1, '')";

    let mut dropped = database.system_tx().await.unwrap();
    dropped.connection().execute(insert).await.unwrap();
    drop(dropped);
    let mut kept = database.system_tx().await.unwrap();
    kept.connection().execute(insert).await.unwrap();
    kept.commit().await.unwrap();

    let mut reader = database.reader().await.unwrap();
    let row =
        reader.connection().fetch_one("SELECT COUNT(*) FROM journal_watermarks").await.unwrap();
    assert_eq!(row.get::<i64, _>(0), 1);
}

#[tokio::test]
async fn a_begin_that_nobody_waits_for_leaves_no_transaction_behind() {
    let folder = TempDir::new().unwrap();
    let database = open(&folder).await;
    drop(database.system_tx().await.unwrap());

    for _ in 0..50 {
        let mut begin = Box::pin(database.system_tx());
        if let Poll::Ready(tx) = poll!(&mut begin) {
            drop(tx);
        }
        drop(begin);
        let tx = tokio::time::timeout(PATIENCE, database.system_tx()).await.unwrap().unwrap();
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn a_file_removed_under_the_server_is_noticed() {
    if testing::backend() != Backend::Sqlite {
        return; // It is about files.
    }
    let folder = TempDir::new().unwrap();
    let (seen, mut noticed) = tokio::sync::mpsc::channel(1);
    let fatal = FatalHook::new(move |fatal| {
        let _ = seen.try_send(fatal.clone());
    });
    let tasks = Tasks::new();
    let _database = Database::open(&DatabaseSettings { fatal, ..settings(&folder).await }, &tasks)
        .await
        .unwrap();

    std::fs::remove_file(folder.path().join("journal.db")).unwrap();

    let fatal = tokio::time::timeout(PATIENCE, noticed.recv()).await.unwrap().unwrap();
    assert!(matches!(fatal, Fatal::FileReplaced { path } if path.ends_with("journal.db")));
}

#[tokio::test]
async fn a_watermark_moves_only_from_where_it_was_left() {
    let folder = TempDir::new().unwrap();
    let database = open(&folder).await;
    let mut moved = Vec::new();

    for (from, seq) in [(0, 5), (0, 7), (5, 7), (5, 6)] {
        let mut tx = database.projector_tx().await.unwrap();
        moved.push(projections::move_watermark(&mut tx, 3, from, (seq, "hash")).await.unwrap());
        tx.commit().await.unwrap();
    }

    assert_eq!(moved, [true, false, true, false]);
    let mut reader = database.reader().await.unwrap();
    let found = projections::watermarks(&mut reader).await.unwrap();
    assert_eq!(found, [(3, 7, "hash".to_owned())]);
}

#[tokio::test]
async fn text_compares_by_bytes_whatever_the_language_of_the_database() {
    let folder = TempDir::new().unwrap();
    let database = open(&folder).await;
    let mut tx = database.system_tx().await.unwrap();
    for name in ["b", "_", "B", "a"] {
        let insert = format!("INSERT INTO sequences (name, value) VALUES ('{name}', 1)");
        tx.connection().execute(sqlx::AssertSqlSafe(insert)).await.unwrap();
    }
    tx.commit().await.unwrap();

    let mut reader = database.reader().await.unwrap();
    let query = "SELECT name FROM sequences WHERE value = 1 ORDER BY name";
    let rows = reader.connection().fetch_all(query).await.unwrap();

    let names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(names, ["B", "_", "a", "b"]);
}

#[tokio::test]
async fn a_view_does_not_change_while_it_is_held() {
    let folder = TempDir::new().unwrap();
    let database = open(&folder).await;
    let mut reader = database.reader().await.unwrap();
    let mut view = reader.freeze().await.unwrap();
    let before = projections::watermarks(&mut view).await.unwrap();

    let mut tx = database.projector_tx().await.unwrap();
    assert!(projections::move_watermark(&mut tx, 0, 0, (1, "hash")).await.unwrap());
    tx.commit().await.unwrap();
    let during = projections::watermarks(&mut view).await.unwrap();
    drop(view);
    let after = projections::watermarks(&mut reader).await.unwrap();

    assert_eq!((before.len(), during.len(), after.len()), (0, 0, 1));
}
