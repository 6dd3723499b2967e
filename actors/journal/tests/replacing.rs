//! One server takes the log from another: only where there is a server to share.

use super::*;
use crate::database::{Backend, DatabaseSettings, testing};

/// Starts another server on the database of a folder, with a folder of its own.
async fn another(folder: &TempDir, own: &TempDir) -> Server {
    let shared = settings(folder.path()).await;
    let settings = DatabaseSettings { data_dir: own.path().to_path_buf(), ..shared };
    Server::try_start_with(settings, folder.path()).await.unwrap()
}

/// Waits until a condition holds that takes milliseconds.
async fn until(holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(BUDGET, wait).await.expect("it comes to that");
}

#[tokio::test]
async fn a_replaced_owner_writes_nothing_and_knows_it_for_every_shard() {
    if testing::backend() != Backend::Postgres {
        return; // A file is locked by its one owner.
    }
    let (folder, own) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut scribe = Scribe::default();
    let first = Server::start(&folder).await;
    let (busy, idle) = (tenant(1), tenant(63));
    let life = first.journal.activate(busy).await.unwrap().incarnation;
    let unused = first.journal.activate(idle).await.unwrap().incarnation;
    first.commit(&life, scribe.line(busy)).await;
    // Taken before: a first server that has noticed meanwhile gives no room.
    let room = first.journal.room(busy, 512).unwrap();

    let second = another(&folder, &own).await;
    let late = first.append_in(room, &life, scribe.line(busy)).await.unwrap();

    assert!(late.is_err(), "{late:?}");
    until(|| first.journal.lost_shards() == 64).await;
    assert!(first.journal.is_lost(busy) && first.journal.is_lost(idle));
    assert!(!life.is_live() && !unused.is_live());
    assert_eq!(first.journal.room(idle, 1).unwrap_err(), Overloaded::Unavailable);
    assert!(first.journal.activate(idle).await.is_err());
    let recovered = second.journal.activate(busy).await.unwrap();
    assert_eq!(recovered.entries.len(), 1, "what was acknowledged, and nothing else");
    assert_eq!(second.verify().await.fault, None);
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn an_owner_that_nobody_writes_to_notices_as_well() {
    if testing::backend() != Backend::Postgres {
        return; // A file is locked by its one owner.
    }
    let (folder, own) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let first = Server::start(&folder).await;

    let second = another(&folder, &own).await;

    until(|| first.journal.lost_shards() == 64).await;
    assert_eq!(second.journal.lost_shards(), 0);
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn lines_that_two_servers_could_project_are_projected_once() {
    if testing::backend() != Backend::Postgres {
        return; // A file is locked by its one owner.
    }
    let (folder, own) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut scribe = Scribe::default();
    let first = Server::start(&folder).await;
    let mut last = Vec::new();
    for number in 1..=30 {
        let life = first.journal.activate(tenant(number)).await.unwrap().incarnation;
        for _ in 0..3 {
            last.push(first.commit(&life, scribe.line(tenant(number))).await);
        }
    }

    // The first still has them in memory, and the second reads them from the log.
    let second = another(&folder, &own).await;
    for committed in last {
        first.journal.wait_projected(committed).await;
    }

    let report = second.verify().await;
    assert_eq!((report.entries, report.fault), (90, None));
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn a_log_that_lost_committed_rows_is_not_written_any_further() {
    if testing::backend() != Backend::Postgres {
        return; // A file does not fail over to an older copy of itself.
    }
    let folder = TempDir::new().unwrap();
    let mut scribe = Scribe::default();
    let (seen, mut noticed) = mpsc::channel(8);
    let fatal = crate::database::FatalHook::new(move |fatal| {
        let _ = seen.try_send(fatal.clone());
    });
    let settings = DatabaseSettings { fatal, ..settings(folder.path()).await };
    let server = Server::try_start_with(settings, folder.path()).await.unwrap();
    let life = server.journal.activate(tenant(1)).await.unwrap().incarnation;
    let committed = server.commit(&life, scribe.line(tenant(1))).await;

    let remove = format!("DELETE FROM journal WHERE shard = 0 AND seq = {}", committed.seq);
    server.database.tamper_journal(&remove).await;

    let fatal = timeout(BUDGET, noticed.recv()).await.unwrap().unwrap();
    let expected = crate::database::Fatal::Regressed { shard: 0, seq: committed.seq };
    assert_eq!(fatal, expected);
    server.tasks.drain(Duration::ZERO).await;
}
