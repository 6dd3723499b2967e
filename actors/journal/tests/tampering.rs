use super::*;
use crate::database::Backend;

/// Fills a log, changes it by hand, and says what the check finds.
async fn found(tamper_journal: &[&str], tamper_main: &[&str]) -> String {
    let folder = TempDir::new().unwrap();
    let mut scribe = Scribe::default();
    let server = Server::start(&folder).await;
    server.fill(&mut scribe, 2, 3).await;
    assert_eq!(server.verify().await.fault, None);
    for sql in tamper_journal {
        server.database.tamper_journal(sql).await;
    }
    for sql in tamper_main {
        server.database.tamper(sql).await;
    }

    let fault = server.verify().await.fault.expect("the change is found");

    server.tasks.drain(Duration::ZERO).await;
    fault.to_string()
}

// The log's rows: 1 is the epoch, 2 to 4 are entries 1 to 3 of the first tenant, 5 to 7 of the second.

#[tokio::test]
async fn an_untouched_log_is_whole() {
    let folder = TempDir::new().unwrap();
    let mut scribe = Scribe::default();
    let server = Server::start(&folder).await;
    server.fill(&mut scribe, 2, 3).await;
    server.stop().await;
    let server = Server::start(&folder).await;

    let report = server.verify().await;

    // Each start appends a row to every shard.
    let rows = 6 + 2 * u64::from(server.database.backend().shard_count());
    let expected = VerifyReport { rows, entries: 6, tenants: 2, signatures: 1, fault: None };
    assert_eq!(VerifyReport { signatures: report.signatures.min(1), ..report }, expected);
    server.stop().await;
}

#[tokio::test]
async fn a_flipped_byte_names_the_entry() {
    let sql = "UPDATE journal SET body = replace(body, 'key_x', 'key_y') WHERE seq = 3";
    let fault = found(&[sql], &[]).await;

    let (first, _) = (tenant(1), tenant(2));
    assert!(fault.starts_with(&format!("shard 0, row 3: {first}, entry 2: ")), "{fault}");
    assert!(fault.contains("was changed"), "{fault}");
}

#[tokio::test]
async fn a_flipped_byte_outside_of_the_lines_names_the_row() {
    for sql in [
        "UPDATE journal SET epoch = epoch + 1 WHERE seq = 3",
        "UPDATE journal SET batch_id = batch_id || 'x' WHERE seq = 3",
        "UPDATE journal SET body = body || ' ' WHERE seq = 3",
        "UPDATE journal SET hash = replace(hash, substr(hash, 1, 1), 'z') WHERE seq = 3",
        "UPDATE journal SET hash = (SELECT hash FROM journal WHERE seq = 2) WHERE seq = 3",
    ] {
        let fault = found(&[sql], &[]).await;
        assert!(fault.starts_with("shard 0, row 3: "), "{sql}: {fault}");
    }
}

/// Every seventh byte of every row, one after another.
#[tokio::test]
async fn whichever_byte_is_flipped_its_entry_is_named() {
    let folder = TempDir::new().unwrap();
    let mut scribe = Scribe::default();
    let server = Server::start(&folder).await;
    server.fill(&mut scribe, 1, 3).await;
    let mut log = server.database.journal_reader().await.unwrap();
    let rows = crate::database::journal::after(&mut log, 0, 1, 10).await.unwrap();
    drop(log);
    for (entry, row) in (1..).zip(rows) {
        for place in (0..row.body.len() - 1).step_by(7) {
            let mut body = row.body.as_bytes().to_vec();
            // Another character that SQL need not quote and JSON may or may not take.
            body[place] = if body[place] == b'x' { b'y' } else { b'x' };
            let seq = row.seq;
            let set = |body: &str| format!("UPDATE journal SET body = '{body}' WHERE seq = {seq}");
            server.database.tamper_journal(&set(str::from_utf8(&body).unwrap())).await;
            let fault = server.verify().await.fault.expect("the change is found");
            assert_eq!((fault.shard, fault.row), (Some(0), Some(seq)), "{place}: {fault}");
            let is_id = fault.entry.is_none_or(|(_, number)| number == entry || number == 0);
            assert!(is_id, "{place}: {fault}");
            server.database.tamper_journal(&set(&row.body)).await;
        }
    }
    assert_eq!(server.verify().await.fault, None);
    server.stop().await;
}

#[tokio::test]
async fn a_row_that_is_no_text_is_named() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(&folder).await;
    server.fill(&mut Scribe::default(), 1, 3).await;
    // The other database takes nothing but text.
    if server.database.backend() == Backend::Sqlite {
        let sql = "UPDATE journal SET body = CAST(x'ff00fe' AS TEXT) WHERE seq = 3";
        server.database.tamper_journal(sql).await;
        let fault = server.verify().await.fault.unwrap().to_string();
        assert!(fault.starts_with("shard 0, row 3: "), "{fault}");
    }
    server.tasks.drain(Duration::ZERO).await;
}

#[tokio::test]
async fn a_head_of_an_unknown_key_is_named() {
    let fault = found(&[], &["UPDATE journal_heads SET key_id = 'other'"]).await;

    assert!(fault.ends_with("signed with a key that is not known"), "{fault}");
}

#[tokio::test]
async fn a_removed_row_is_missed() {
    let fault = found(&["DELETE FROM journal WHERE seq = 3"], &[]).await;

    assert_eq!(fault, "shard 0, row 3: the row is missing");
}

#[tokio::test]
async fn a_removed_row_is_missed_when_the_others_close_up() {
    let remove = "DELETE FROM journal WHERE seq = 3";
    let close = "UPDATE journal SET seq = seq - 1 WHERE seq > 3";
    let fault = found(&[remove, close], &[]).await;

    assert!(fault.starts_with(&format!("shard 0, row 3: {}, entry 3: ", tenant(1))), "{fault}");
    assert!(fault.ends_with("entry 2 is missing, and 3 is there"), "{fault}");
}

#[tokio::test]
async fn swapped_rows_are_named() {
    let swap = |low: i64, high: i64| {
        [
            format!("UPDATE journal SET seq = -1 WHERE seq = {low}"),
            format!("UPDATE journal SET seq = {low} WHERE seq = {high}"),
            format!("UPDATE journal SET seq = {high} WHERE seq = -1"),
        ]
    };
    // Two entries of one tenant, then two of different tenants.
    let same = swap(2, 3);
    let fault = found(&same.each_ref().map(String::as_str), &[]).await;
    assert!(fault.starts_with(&format!("shard 0, row 2: {}, entry 2: ", tenant(1))), "{fault}");
    let other = swap(4, 5);
    let fault = found(&other.each_ref().map(String::as_str), &[]).await;
    assert!(fault.starts_with("shard 0, row 4: "), "{fault}");
}

#[tokio::test]
async fn a_cut_tail_is_missed() {
    let fault = found(&["DELETE FROM journal WHERE seq > 5"], &[]).await;

    assert_eq!(fault, "shard 0, row 6: the log ends here, but row 7 was signed or projected");
}

#[tokio::test]
async fn a_forged_signature_is_named() {
    let sql = "UPDATE journal_heads SET signed_at = signed_at + 1";
    let fault = found(&[], &[sql]).await;

    assert!(fault.ends_with("the signature of this position is forged"), "{fault}");
}

#[tokio::test]
async fn a_projection_that_differs_is_named() {
    let lost = found(&[], &["DELETE FROM chunks WHERE first_seq = 1"]).await;
    let changed = found(&[], &["UPDATE chunks SET body = replace(body, 'key_x', 'key_y')"]).await;
    let invented = found(
        &[],
        &["INSERT INTO usage_days (tenant_id, meter, day_at, amount) VALUES ('t', 'm', 0, 5)"],
    )
    .await;

    assert!(lost.contains("chunks differs from the log"), "{lost}");
    assert!(changed.contains("entry 1 was changed"), "{changed}");
    assert!(invented.contains("usage_days differs from the log"), "{invented}");
}

#[tokio::test]
async fn a_month_is_exported_as_it_was_committed() {
    let folder = TempDir::new().unwrap();
    let mut scribe = Scribe::default();
    let server = Server::start(&folder).await;
    server.fill(&mut scribe, 2, 2).await;
    let mut lines = Vec::new();
    let sink = |line: &str| {
        lines.push(line.to_owned());
        Ok(())
    };

    let all = export(&server.database, "1970-01", None, |_| Ok(())).await.unwrap();
    let one = export(&server.database, "1970-01", Some(tenant(2)), sink).await.unwrap();
    let none = export(&server.database, "1970-02", None, |_| Ok(())).await.unwrap();
    let wrong = export(&server.database, "1970", None, |_| Ok(())).await.unwrap_err();

    assert_eq!((all, one, none), (4, 2, 0));
    let head =
        entry::verify_chain(tenant(2), entry::Head::GENESIS, lines.iter().map(String::as_str));
    assert_eq!(head.unwrap().seq, 2);
    assert_eq!(wrong.to_string(), "`1970` is not a month; write it as `2026-11`");
    server.stop().await;
}

/// The book's recipe, run as it is written there.
fn check_by_hand(lines: &[String]) -> String {
    let book = include_str!("../../../docs/src/journal.md");
    let (_, recipe) = book.split_once("```bash\n").unwrap();
    let (recipe, _) = recipe.split_once("```").unwrap();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("entries.jsonl");
    std::fs::write(&file, lines.join("\n") + "\n").unwrap();
    let output =
        std::process::Command::new("bash").args(["-c", recipe, "bash"]).arg(&file).output();
    String::from_utf8(output.unwrap().stdout).unwrap()
}

#[test]
fn the_recipe_in_the_book_checks_a_chain() {
    let mut scribe = Scribe::default();
    let lines: Vec<_> = (0..4).map(|_| scribe.line(tenant(1))).collect();
    let texts: Vec<_> = lines.iter().map(|line| line.text.clone()).collect();
    let last = lines.last().unwrap().hash;

    let whole = check_by_hand(&texts);
    let later = check_by_hand(&texts[2..]);
    let removed = check_by_hand(&[texts[0].clone(), texts[2].clone()]);
    let changed = check_by_hand(&[texts[0].clone(), texts[1].replace("key_x", "key_y")]);

    assert_eq!(whole, format!("whole up to {last}\n"));
    assert_eq!(later, whole);
    assert!(removed.starts_with("does not follow: "), "{removed}");
    assert!(changed.starts_with("changed: "), "{changed}");
}
