use super::*;

#[tokio::test]
async fn lines_are_read_in_order_projected_or_not() {
    let folder = TempDir::new().unwrap();
    let mut scribe = Scribe::default();
    let server = Server::start(&folder).await;
    server.fill(&mut scribe, 2, 10).await;
    // No projector any more: what follows stays in the tail.
    server.database.poison("journal_watermarks", "NEW.seq > 0").await;
    let incarnation = server.journal.activate(tenant(1)).await.unwrap().incarnation;
    for _ in 0..5 {
        server.commit(&incarnation, scribe.line(tenant(1))).await;
    }

    for after in 0..=15 {
        let (mut at, mut seen) = (after, Vec::new());
        loop {
            let lines = server.journal.lines_after(tenant(1), at).await.unwrap();
            let Some((last, _)) = lines.last() else { break };
            at = *last;
            seen.extend(lines.into_iter().map(|(seq, _)| seq));
        }
        assert_eq!(seen, (after + 1..=15).collect::<Vec<_>>());
    }
    // The scribe's entries are one microsecond apart, from 1 on.
    for wanted in 0..=17 {
        let at = Timestamp::from_micros(wanted);
        let found = server.journal.first_since(tenant(1), at).await.unwrap();
        assert_eq!(i64::try_from(found).unwrap(), wanted.clamp(1, 16));
    }
    assert!(server.journal.lines_after(tenant(9), 0).await.unwrap().is_empty());
    server.tasks.drain(Duration::ZERO).await;
}
