//! What the database may do to a commit, one by one and generated.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_broken_device_ends_the_process_and_claims_nothing() {
    let log = Scripted::with([Some(Fault::Device)]);
    let mut bench = Bench::start(log.clone());
    let incarnation = bench.activate(tenant(1)).await.unwrap();
    bench.append(0, tenant(1), &incarnation);
    sleep(Duration::from_millis(1)).await;

    assert!(matches!(bench.fatal.lock().unwrap()[..], [Fatal::Device { .. }]));
    assert_eq!(bench.finish().await, [(0, Err(AppendError::OutcomeUnknown))]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_holds_a_row_and_no_more() {
    let turnstile = Arc::new(Semaphore::new(0));
    let log = Scripted { turnstile: Some(Arc::clone(&turnstile)), ..Scripted::default() };
    let mut bench = Bench::start(log.clone());
    let mut count = 0;
    let mut incarnations = Vec::new();
    for number in 0..12 {
        incarnations.push(bench.activate(tenant(number)).await.unwrap());
    }
    for (number, incarnation) in (0..).zip(&incarnations) {
        while bench.admission.room(tenant(number), 4096).is_ok() && count < 8_000 {
            bench.append(count, tenant(number), incarnation);
            count += 1;
        }
    }
    turnstile.add_permits(1_000);

    let answers = bench.finish().await;

    assert_eq!(answers.len(), count);
    let limit = crate::journal::room::MAX_ROW_BYTES;
    assert!(log.lock().table.values().all(|row| row.body.len() <= limit));
    assert!(log.lock().table.len() > 2);
}

fn fault() -> impl Strategy<Value = Option<Fault>> {
    prop_oneof![
        8 => Just(None),
        1 => Just(Some(Fault::Full)),
        1 => Just(Some(Fault::Busy)),
        2 => any::<bool>().prop_map(|is_written| Some(Fault::Gone { is_written })),
        1 => Just(Some(Fault::Refuse)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever fails in whatever order: what was acknowledged is in the log once and in order,
    /// what failed is not in it, and every hand-over is answered once.
    #[test]
    fn the_log_holds_what_was_acknowledged(
        faults in prop::collection::vec(fault(), 0..20),
        steps in prop::collection::vec((0_u128..4, 0_u64..3), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let log = Scripted::with(faults);
            let mut bench = Bench::start(log.clone());
            let mut incarnations = HashMap::new();
            let mut lines = Vec::new();
            for (name, (number, pause)) in steps.into_iter().enumerate() {
                let tenant = tenant(number);
                let is_live = |life: &Incarnation| life.is_live();
                if !incarnations.get(&tenant).is_some_and(is_live) {
                    // A barrier fails with the batch that it was in.
                    let incarnation = loop {
                        if let Ok(incarnation) = bench.activate(tenant).await {
                            break incarnation;
                        }
                    };
                    incarnations.insert(tenant, incarnation);
                    let texts = log.texts();
                    let last = texts
                        .iter()
                        .map(|text| Entry::parse(text).unwrap())
                        .rfind(|entry| entry.tenant == tenant)
                        .map(|entry| (entry.seq, entry.hash));
                    bench.scribe.rewind(tenant, last);
                }
                if bench.admission.room(tenant, 1).is_ok() {
                    lines.push((name, bench.append(name, tenant, &incarnations[&tenant])));
                }
                sleep(Duration::from_millis(pause)).await;
            }
            let answers: BTreeMap<_, _> = bench.finish().await.into_iter().collect();
            assert_eq!(answers.len(), lines.len());
            let expected: Vec<_> = lines
                .iter()
                .filter(|(name, _)| answers[name].is_ok())
                .map(|(_, line)| line.text.clone())
                .collect();
            assert_eq!(log.texts(), expected);
        });
    }
}
