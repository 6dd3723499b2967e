use proptest::prelude::*;

use super::*;
use crate::database::{Backend, testing};
use crate::journal::entry::Entry;

#[tokio::test]
async fn an_acknowledged_entry_is_there_after_a_restart() {
    let folder = TempDir::new().unwrap();
    let mut scribe = Scribe::default();
    let server = Server::start(&folder).await;
    let incarnation = server.journal.activate(tenant(1)).await.unwrap().incarnation;
    let first = scribe.line(tenant(1));
    server.commit(&incarnation, first.clone()).await;
    server.stop().await;

    let server = Server::start(&folder).await;
    let recovered = server.journal.activate(tenant(1)).await.unwrap();

    assert_eq!(recovered.entries, [Entry::parse(&first.text).unwrap()]);
    assert!(recovered.snapshot.is_none());
    server.stop().await;
}

#[tokio::test]
async fn a_new_tenant_starts_from_nothing() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(&folder).await;

    let recovered = server.journal.activate(tenant(9)).await.unwrap();

    assert!(recovered.entries.is_empty() && recovered.snapshot.is_none());
    server.stop().await;
}

#[tokio::test]
async fn a_snapshot_shortens_what_is_replayed() {
    let folder = TempDir::new().unwrap();
    let mut scribe = Scribe::default();
    let server = Server::start(&folder).await;
    server.fill(&mut scribe, 1, 5).await;
    let third = server.journal.find_entry(tenant(1), 3).await.unwrap().unwrap();

    let snapshot = Snapshot { seq: 3, hash: third.hash, body: "{}".into() };
    server.journal.snapshot(tenant(1), snapshot.clone(), Timestamp::MIN).await.unwrap();
    server.stop().await;
    let server = Server::start(&folder).await;
    let recovered = server.journal.activate(tenant(1)).await.unwrap();

    assert_eq!(recovered.snapshot, Some(snapshot));
    assert_eq!(recovered.entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [4, 5]);
    server.stop().await;
}

#[tokio::test]
async fn a_snapshot_that_the_log_does_not_have_is_refused() {
    let folder = TempDir::new().unwrap();
    let mut scribe = Scribe::default();
    let server = Server::start(&folder).await;
    server.fill(&mut scribe, 2, 2).await;
    let foreign = server.journal.find_entry(tenant(2), 2).await.unwrap().unwrap();

    for snapshot in [
        Snapshot { seq: 2, hash: foreign.hash, body: "{}".into() },
        Snapshot { seq: 7, hash: foreign.hash, body: "{}".into() },
    ] {
        let refused =
            server.journal.snapshot(tenant(1), snapshot, Timestamp::MIN).await.unwrap_err();
        assert!(matches!(refused, JournalError::SnapshotRefused { .. }), "{refused}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_stored_snapshot_that_is_wrong_is_passed_over() {
    let folder = TempDir::new().unwrap();
    let mut scribe = Scribe::default();
    let server = Server::start(&folder).await;
    server.fill(&mut scribe, 1, 3).await;
    let second = server.journal.find_entry(tenant(1), 2).await.unwrap().unwrap();
    let snapshot = Snapshot { seq: 2, hash: second.hash, body: "{}".into() };
    server.journal.snapshot(tenant(1), snapshot, Timestamp::MIN).await.unwrap();

    server.database.tamper("UPDATE snapshots SET seq = 3").await;
    let recovered = server.journal.activate(tenant(1)).await.unwrap();

    assert!(recovered.snapshot.is_none());
    assert_eq!(recovered.entries.len(), 3);
    server.stop().await;
}

#[tokio::test]
async fn entries_of_a_former_life_are_refused() {
    let folder = TempDir::new().unwrap();
    let mut scribe = Scribe::default();
    let server = Server::start(&folder).await;
    let old = server.journal.activate(tenant(1)).await.unwrap().incarnation;
    let lost = server.append(&old, scribe.line(tenant(1)));
    old.retire();
    let new = server.journal.activate(tenant(1)).await.unwrap();
    let zombie = server.append(&old, scribe.line(tenant(1)));

    // Handed over before the barrier: committed and recovered, or refused and not there.
    let is_committed = lost.await.unwrap().is_ok();
    assert_eq!(new.entries.len(), usize::from(is_committed));
    assert_eq!(zombie.await.unwrap(), Err(AppendError::Failed));
    server.stop().await;
}

#[tokio::test]
async fn a_batch_that_the_database_refuses_stops_its_tenants_alone() {
    let folder = TempDir::new().unwrap();
    let mut scribe = Scribe::default();
    let server = Server::start(&folder).await;
    let poisoned = tenant(7);
    server.database.poison("journal", &format!("NEW.body LIKE '%{poisoned}%'")).await;

    let sick = server.journal.activate(poisoned).await.unwrap().incarnation;
    let well = server.journal.activate(tenant(1)).await.unwrap().incarnation;
    let refused = server.append(&sick, scribe.line(poisoned)).await.unwrap();
    let committed = server.append(&well, scribe.line(tenant(1))).await.unwrap();

    assert_eq!(refused, Err(AppendError::Failed));
    assert!(committed.is_ok());
    assert!(!sick.is_live() && well.is_live());
    assert!(server.journal.activate(poisoned).await.unwrap().entries.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn a_log_whose_end_is_gone_is_not_served() {
    let folder = TempDir::new().unwrap();
    let mut scribe = Scribe::default();
    let server = Server::start(&folder).await;
    server.fill(&mut scribe, 1, 3).await;
    server.database.tamper_journal("DELETE FROM journal WHERE seq > 2").await;
    server.tasks.drain(Duration::ZERO).await;
    drop(server);

    let Err(error) = Server::try_start(&folder).await else { panic!("it was served") };

    assert!(
        matches!(error, JournalError::TailMissing { .. } | JournalError::Diverged { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn after_the_end_nothing_is_taken() {
    let folder = TempDir::new().unwrap();
    let mut scribe = Scribe::default();
    let server = Server::start(&folder).await;
    let incarnation = server.journal.activate(tenant(1)).await.unwrap().incarnation;
    let room = server.journal.room(tenant(1), 512).unwrap();
    let journal = server.journal.clone();
    server.stop().await;

    let (answer, outcome) = oneshot::channel();
    journal.append(Handover {
        tenant: tenant(1),
        incarnation,
        lines: vec![scribe.line(tenant(1))],
        room,
        done: Done::new(move |result| {
            let _ = answer.send(result);
        }),
    });

    assert_eq!(outcome.await.unwrap(), Err(AppendError::Failed));
    assert_eq!(journal.room(tenant(1), 1).unwrap_err(), Overloaded::Unavailable);
}

/// One thing that happens in a run.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// A tenant appends, and waits for it or not.
    Append {
        number: u128,
        waits: bool,
    },
    /// A tenant's actor ends and a new one is activated.
    Activate(u128),
    /// A tenant's state is kept.
    Keep(u128),
    Crash,
    Stop,
}

fn step() -> impl Strategy<Value = Step> {
    let number = 1_u128..4;
    prop_oneof![
        10 => (number.clone(), any::<bool>())
            .prop_map(|(number, waits)| Step::Append { number, waits }),
        2 => number.clone().prop_map(Step::Activate),
        2 => number.prop_map(Step::Keep),
        1 => Just(Step::Crash),
        1 => Just(Step::Stop),
    ]
}

/// What the test knows of one tenant.
#[derive(Default)]
struct Known {
    incarnation: Option<Incarnation>,
    acknowledged: Vec<String>,
    unanswered: Vec<(String, oneshot::Receiver<Result<Committed, AppendError>>)>,
}

impl Known {
    /// Activates the tenant and checks that its entries are those that were acknowledged, then
    /// any number of those that nobody heard about.
    async fn recover(&mut self, server: &Server, scribe: &mut Scribe, tenant: TenantId) {
        let recovered = server.journal.activate(tenant).await.unwrap();
        for (text, mut outcome) in self.unanswered.drain(..) {
            match outcome.try_recv() {
                Ok(Ok(_)) => self.acknowledged.push(text),
                // The process ended first: it may be there.
                Err(_) if recovered.has(&text) => self.acknowledged.push(text),
                Ok(Err(_)) | Err(_) => assert!(!recovered.has(&text), "refused and yet there"),
            }
        }
        let kept = recovered.snapshot.as_ref().map_or(0, |snapshot| snapshot.seq);
        let kept = usize::try_from(kept).unwrap();
        let expected: Vec<_> =
            self.acknowledged[kept..].iter().map(|text| Entry::parse(text).unwrap()).collect();
        assert_eq!(recovered.entries, expected);
        let last = self.acknowledged.last().map(|text| Entry::parse(text).unwrap());
        scribe.rewind(tenant, last.map(|entry| (entry.seq, entry.hash)));
        self.incarnation = Some(recovered.incarnation);
    }
}

impl Recovered {
    fn has(&self, text: &str) -> bool {
        self.entries.contains(&Entry::parse(text).unwrap())
    }
}

async fn run(steps: Vec<Step>) {
    let folder = TempDir::new().unwrap();
    let mut scribe = Scribe::default();
    let mut server = Server::start(&folder).await;
    let mut known: Vec<Known> = (0..4).map(|_| Known::default()).collect();
    for step in steps {
        match step {
            Step::Append { number, waits } => {
                let one = &mut known[usize::try_from(number).unwrap()];
                if one.incarnation.is_none() {
                    one.recover(&server, &mut scribe, tenant(number)).await;
                }
                let line = scribe.line(tenant(number));
                let text = line.text.clone();
                let outcome = server.append(one.incarnation.as_ref().unwrap(), line);
                one.unanswered.push((text, outcome));
                if waits {
                    for (text, outcome) in one.unanswered.drain(..) {
                        outcome.await.unwrap().unwrap();
                        one.acknowledged.push(text);
                    }
                }
            }
            Step::Activate(number) => {
                let one = &mut known[usize::try_from(number).unwrap()];
                one.recover(&server, &mut scribe, tenant(number)).await;
            }
            Step::Keep(number) => {
                let one = &known[usize::try_from(number).unwrap()];
                if let Some(text) = one.acknowledged.last() {
                    let Entry { seq, hash, .. } = Entry::parse(text).unwrap();
                    let snapshot = Snapshot { seq, hash, body: "{}".into() };
                    server
                        .journal
                        .snapshot(tenant(number), snapshot, Timestamp::MIN)
                        .await
                        .unwrap();
                }
            }
            Step::Crash | Step::Stop => {
                server = if matches!(step, Step::Crash) {
                    server.crash(&folder).await
                } else {
                    server.stop().await;
                    Server::start(&folder).await
                };
                for one in &mut known {
                    one.incarnation = None;
                }
            }
        }
    }
    for (number, one) in (0..).zip(&mut known) {
        one.recover(&server, &mut scribe, tenant(number)).await;
    }
    let report = server.verify().await;
    assert_eq!(report.fault, None);
    server.stop().await;
}

/// A start on a server costs it a schema and 64 shards; a file is quickly made.
fn cases() -> u32 {
    match testing::backend() {
        Backend::Sqlite => 24,
        Backend::Postgres => 6,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn recovery_equals_what_was_acknowledged(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(run(steps));
    }
}
