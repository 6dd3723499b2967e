//! Old rows move to files, and nobody who reads the log notices.

use super::*;
use crate::database::journal as rows;
use crate::journal::archive::{Archive, Mover};
use crate::journal::commit::Forget;

const HOUR: Duration = Duration::from_hours(1);

/// Files lie on one machine, so a database server's rows stay where they are.
fn is_not_offered() -> bool {
    crate::database::testing::backend() != crate::database::Backend::Sqlite
}

/// A server whose first rows were signed long ago, and the mover that finds them old.
async fn old_server(folder: &TempDir, scribe: &mut Scribe) -> (Server, Mover) {
    let server = Server::start(folder).await;
    server.fill(scribe, 2, 10).await;
    server.stop().await;
    let server = Server::start(folder).await;
    let incarnation = server.journal.activate(tenant(1)).await.unwrap().incarnation;
    let row = server.commit(&incarnation, scribe.line(tenant(1))).await;
    server.journal.wait_projected(row).await;
    let now = Timestamp::from_micros(1_000_000).checked_add(2 * HOUR).unwrap();
    let mover = Mover {
        database: server.database.clone(),
        clock: Arc::new(ManualClock::new(now)),
        inbox: server.journal.inner.inbox.clone(),
        tasks: server.tasks.clone(),
        older_than: HOUR,
        segment_bytes: 2_000,
    };
    (server, mover)
}

async fn first_row(server: &Server) -> i64 {
    let mut log = server.database.journal_reader().await.unwrap();
    rows::after(&mut log, 0, 0, 1).await.unwrap()[0].seq
}

async fn exported(server: &Server) -> Vec<String> {
    let mut lines = Vec::new();
    let sink = |line: &str| {
        lines.push(line.to_owned());
        Ok(())
    };
    export(&server.database, "1970-01", None, sink).await.unwrap();
    lines
}

#[tokio::test]
async fn old_rows_are_in_files_and_the_log_is_as_before() {
    if is_not_offered() {
        return;
    }
    let folder = TempDir::new().unwrap();
    let mut scribe = Scribe::default();
    let (server, mover) = old_server(&folder, &mut scribe).await;
    let (before, lines) = (server.verify().await, exported(&server).await);
    assert_eq!(before.fault, None);

    let moved = mover.turn().await.unwrap();
    let again = mover.turn().await.unwrap();

    // The epoch and twenty entries at the least.
    assert!(moved >= 21, "{moved}");
    let segments = Archive::of(&server.database).segments().unwrap();
    let ends: Vec<_> = segments.iter().filter(|own| own.shard == 0).map(|own| own.last).collect();
    assert!(ends.len() > 1, "{segments:?}");
    assert_eq!((again, Some(first_row(&server).await - 1)), (0, ends.last().copied()));
    assert_eq!((server.verify().await, exported(&server).await), (before, lines));
    let recovered = server.journal.activate(tenant(2)).await.unwrap();
    assert_eq!(recovered.entries.len(), 10);
    // It holds the folder as well.
    drop(mover);
    server.stop().await;
    let server = Server::start(&folder).await;
    assert_eq!(server.verify().await.fault, None);
    server.stop().await;
}

#[tokio::test]
async fn nothing_young_or_unsigned_is_moved() {
    if is_not_offered() {
        return;
    }
    let folder = TempDir::new().unwrap();
    let mut scribe = Scribe::default();
    let (server, mover) = old_server(&folder, &mut scribe).await;
    let patient = Mover { older_than: 3 * HOUR, ..mover.clone() };
    assert_eq!(patient.turn().await.unwrap(), 0);
    server.database.tamper("DELETE FROM journal_heads").await;
    assert_eq!(mover.turn().await.unwrap(), 0);

    let (reply, answer) = oneshot::channel();
    let last = server.journal.ends()[0];
    let item = Item::Forget(Forget { shard: 0, through: last, reply });
    server.journal.inner.inbox.send(item).await.unwrap();
    assert!(answer.await.is_err(), "the last row never goes");
    assert_eq!(first_row(&server).await, 1);
    server.stop().await;
}

#[tokio::test]
async fn a_crash_between_file_and_table_leaves_nothing_double() {
    if is_not_offered() {
        return;
    }
    let folder = TempDir::new().unwrap();
    let mut scribe = Scribe::default();
    let (server, mover) = old_server(&folder, &mut scribe).await;
    let before = server.verify().await;
    server.database.tamper_journal("CREATE TABLE journal_was AS SELECT * FROM journal").await;
    mover.turn().await.unwrap();
    let moved = first_row(&server).await - 1;
    // As if only the first file's rows had been removed; and a half-written file lies about.
    let back = "INSERT INTO journal SELECT * FROM journal_was WHERE shard = 0 AND seq > 3 \
        AND seq < (SELECT MIN(seq) FROM journal WHERE shard = 0)";
    server.database.tamper_journal(back).await;
    std::fs::write(folder.path().join("journal/next.part"), "{\"shard\":").unwrap();

    assert_eq!(server.verify().await, before);
    assert_eq!(mover.turn().await.unwrap(), moved - 3);
    assert_eq!((server.verify().await, first_row(&server).await), (before, moved + 1));
    server.stop().await;
}

#[tokio::test]
async fn what_is_damaged_is_not_moved() {
    if is_not_offered() {
        return;
    }
    let folder = TempDir::new().unwrap();
    let mut scribe = Scribe::default();
    let (server, mover) = old_server(&folder, &mut scribe).await;
    let sql = "UPDATE journal SET body = replace(body, 'key_x', 'key_y') WHERE seq = 5";
    server.database.tamper_journal(sql).await;

    let error = mover.turn().await.unwrap_err();

    assert_eq!(error.to_string(), "row 5 of shard 0 is not the one that was committed");
    assert_eq!(first_row(&server).await, 1);
    server.stop().await;
}

#[tokio::test]
async fn a_change_in_a_file_is_named_like_one_in_the_table() {
    if is_not_offered() {
        return;
    }
    let folder = TempDir::new().unwrap();
    let mut scribe = Scribe::default();
    let (server, mover) = old_server(&folder, &mut scribe).await;
    mover.turn().await.unwrap();
    let second = Archive::of(&server.database).segments().unwrap()[1].clone();
    let text = std::fs::read_to_string(&second.path).unwrap();
    let fault = async || server.verify().await.fault.unwrap().to_string();
    let row = |seq: i64| format!("shard 0, row {seq}: ");

    std::fs::write(&second.path, text.replacen("key_x", "key_y", 1)).unwrap();
    let changed = fault().await;
    std::fs::write(&second.path, text.replacen("\"epoch\":1", "\"epoch\":9", 1)).unwrap();
    let other = fault().await;
    std::fs::write(&second.path, text.trim_end()).unwrap();
    let cut = fault().await;
    std::fs::write(&second.path, text.split_inclusive('\n').skip(1).collect::<String>()).unwrap();
    let removed = fault().await;
    std::fs::remove_file(&second.path).unwrap();
    let missing = fault().await;

    assert!(
        changed.starts_with(&row(second.first)) && changed.contains("was changed"),
        "{changed}"
    );
    assert!(other.starts_with(&row(second.first)), "{other}");
    assert!(cut.starts_with(&row(second.last)), "{cut}");
    assert_eq!(removed, format!("{}the row is missing", row(second.first)));
    assert_eq!(missing, removed);
    std::fs::write(&second.path, text).unwrap();
    assert_eq!(server.verify().await.fault, None);
    server.stop().await;
}
