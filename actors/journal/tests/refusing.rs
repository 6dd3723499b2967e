use super::*;
use crate::journal::testing::consumed;

#[tokio::test]
async fn an_entry_that_the_database_refuses_fails_alone() {
    let folder = TempDir::new().unwrap();
    let mut scribe = Scribe::default();
    let server = Server::start(&folder).await;
    server.database.poison("journal", "NEW.body LIKE '%poison%'").await;
    let mut lives = Vec::new();
    for number in 1..=20 {
        lives.push(server.journal.activate(tenant(number)).await.unwrap().incarnation);
    }

    let mut outcomes = Vec::new();
    for (number, life) in (1..=20).zip(&lives) {
        let idem = (number == 7).then_some("poison");
        let line = scribe.line_of(tenant(number), consumed(), idem);
        outcomes.push(server.append(life, line));
    }
    let mut failed = Vec::new();
    for (number, outcome) in (1..=20).zip(outcomes) {
        if outcome.await.unwrap().is_err() {
            failed.push(number);
        }
    }

    assert_eq!(failed, [7]);
    assert_eq!(lives.iter().filter(|life| !life.is_live()).count(), 1);
    let report = server.verify().await;
    assert_eq!((report.entries, report.fault), (19, None));
    server.stop().await;
}
