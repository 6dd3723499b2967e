//! A refused batch is searched for what is to blame.

use super::*;
use crate::journal::testing::consumed;

const POISON: &str = "poison";

/// A committer over a log that refuses poison, held back until permits are given.
fn held_bench() -> (Bench, Scripted, Arc<Semaphore>) {
    let turnstile = Arc::new(Semaphore::new(0));
    let log = Scripted { turnstile: Some(Arc::clone(&turnstile)), ..Scripted::default() };
    log.lock().poison = Some(POISON);
    (Bench::start(log.clone()), log, turnstile)
}

impl Bench {
    fn append_poison(&mut self, name: usize, tenant: TenantId, incarnation: &Incarnation) {
        let line = self.scribe.line_of(tenant, consumed(), Some(POISON));
        self.append_line(name, line, incarnation);
    }
}

#[tokio::test(start_paused = true)]
async fn a_poisoned_entry_fails_alone() {
    let (mut bench, log, turnstile) = held_bench();
    let [good, bad, other] = [tenant(1), tenant(2), tenant(3)];
    let good_life = bench.activate(good).await.unwrap();
    let bad_life = bench.activate(bad).await.unwrap();
    let other_life = bench.activate(other).await.unwrap();
    bench.append(0, good, &good_life);
    sleep(Duration::from_millis(1)).await;

    bench.append(1, bad, &bad_life);
    bench.append(2, good, &good_life);
    bench.append_poison(3, bad, &bad_life);
    bench.append(4, other, &other_life);
    bench.append(5, bad, &bad_life);
    let (reply, barrier) = oneshot::channel();
    bench.inbox.send(Item::Activate { tenant: bad, reply }).await.unwrap();
    bench.append(6, other, &other_life);
    turnstile.add_permits(1_000);
    let revived = barrier.await.unwrap();

    let answers: BTreeMap<_, _> = bench.finish().await.into_iter().collect();
    let failed: Vec<_> = answers.iter().filter(|(_, answer)| answer.is_err()).collect();
    let refused = Err(AppendError::Failed);
    assert_eq!(failed, [(&3, &refused), (&5, &refused)]);
    assert!(revived.is_ok_and(|life| life.is_live()));
    assert!(good_life.is_live() && other_life.is_live() && !bad_life.is_live());
    assert_eq!(log.texts().len(), 5);
    assert!(log.lock().submitted.len() < 12);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_refuses_everything_is_not_asked_for_each() {
    let (mut bench, log, turnstile) = held_bench();
    let mut lives = Vec::new();
    for number in 0..1_000 {
        lives.push((tenant(number), bench.activate(tenant(number)).await.unwrap()));
    }
    for (name, (tenant, life)) in lives.iter().enumerate() {
        bench.append_poison(name, *tenant, life);
    }
    turnstile.add_permits(10_000);

    let answers = bench.finish().await;

    assert_eq!(answers.len(), 1_000);
    assert!(answers.iter().all(|(_, answer)| *answer == Err(AppendError::Failed)));
    assert!(log.lock().submitted.len() < 600, "{}", log.lock().submitted.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever is poisoned: of each tenant everything before its first poison is in the log, in
    /// order, and nothing from there on.
    #[test]
    fn a_search_commits_all_that_it_can(
        steps in prop::collection::vec((1_u128..5, prop::bool::weighted(0.1)), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let (mut bench, log, turnstile) = held_bench();
            let mut lives = HashMap::new();
            for number in 1..5 {
                lives.insert(number, bench.activate(tenant(number)).await.unwrap());
            }
            // The first batch keeps the committer busy while the others queue up.
            let life = bench.activate(tenant(9)).await.unwrap();
            let mut expected = vec![bench.append(0, tenant(9), &life).text];
            sleep(Duration::from_millis(1)).await;
            let mut poisoned = std::collections::HashSet::new();
            for (name, (number, is_poison)) in (1..).zip(steps) {
                if is_poison {
                    poisoned.insert(number);
                    bench.append_poison(name, tenant(number), &lives[&number]);
                    continue;
                }
                let line = bench.append(name, tenant(number), &lives[&number]);
                if !poisoned.contains(&number) {
                    expected.push(line.text);
                }
            }
            turnstile.add_permits(10_000);
            let answers = bench.finish().await;
            let acknowledged = answers.iter().filter(|(_, answer)| answer.is_ok()).count();
            assert_eq!(log.texts(), expected);
            assert_eq!(acknowledged, expected.len());
        });
    }
}
