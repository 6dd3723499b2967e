//! The tenant's own book over HTTP, and the recipe that checks it without us.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tenantry_chaos::Api;
use tokio::process::Command;

use crate::product::items;
use crate::support::stack;

/// The page, as the book has it.
const PAGE: &str = include_str!("../../docs/src/ledger.md");

/// Uses, holds, settles and gives back, and returns the name of the period.
async fn live(api: &Api) -> String {
    let consumed = api.post_once("/api/usage/consume", "one", &items("images", 7)).await.unwrap();
    assert_eq!(consumed.status, 200, "{consumed:?}");
    api.post_once("/api/usage/consume", "two", &items("tts_ms", 1_000)).await.unwrap();
    let refused = api.post_once("/api/usage/consume", "big", &items("images", 999)).await.unwrap();
    assert_eq!(refused.status, 402);
    for (key, action, body) in [
        ("three", "commit", json!({ "items": [{ "meter": "images", "amount": 2 }] })),
        ("four", "release", json!({})),
    ] {
        let held = api.post_once("/api/reservations", key, &items("images", 5)).await.unwrap();
        let path = format!("/api/reservations/{}/{action}", held.body["id"].as_str().unwrap());
        let settled = api.post_once(&path, &format!("{key}-{action}"), &body).await.unwrap();
        assert_eq!(settled.status, 200, "{settled:?}");
    }
    consumed.body["period"].as_str().unwrap().to_owned()
}

/// Reads every entry, page by page.
async fn all_entries(api: &Api, query: &str) -> Vec<Value> {
    let (mut entries, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = api.get(&format!("/api/ledger?limit=2{query}{cursor}")).await.unwrap();
        assert_eq!(page.status, 200, "{page:?}");
        entries.extend(page.body["data"].as_array().unwrap().iter().cloned());
        match page.body["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return entries,
        }
    }
}

#[tokio::test]
async fn a_tenant_reads_its_own_entries_and_no_others() {
    let stack = stack().start().await.unwrap();
    let api = stack.api_key("ada@example.test").await.unwrap();
    let other = stack.api_key("eve@example.test").await.unwrap();
    let period = live(&api).await;
    other.post_once("/api/usage/consume", "one", &items("images", 1)).await.unwrap();

    let entries = all_entries(&api, "").await;
    let about_speech = all_entries(&api, "&meter=tts_ms").await;
    let later = api.get("/api/ledger?after=2").await.unwrap();
    let exported = api.get(&format!("/api/ledger/export?month={period}")).await.unwrap();
    let empty = api.get("/api/ledger/export?month=1999-12").await.unwrap();

    let seqs: Vec<_> = entries.iter().map(|entry| entry["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
    assert!(seqs.len() >= 6, "{entries:?}");
    let speech = about_speech.iter().filter(|entry| entry["kind"] == "consumed");
    assert_eq!(speech.count(), 1);
    assert_eq!(later.body["data"][0]["seq"], 3);
    assert_eq!(exported.header("content-type"), "application/x-ndjson");
    let lines: Vec<Value> = str::from_utf8(&exported.bytes)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines, entries, "what is listed is what is exported");
    assert!(empty.status == 200 && empty.bytes.is_empty());
    for (path, code) in [
        ("/api/ledger?limit=201", "malformed-query"),
        ("/api/ledger?cursor=x", "malformed-query"),
        ("/api/ledger?after=-1", "malformed-query"),
        ("/api/ledger?meter=nothing", "unknown-meter"),
        ("/api/ledger/export?month=2026-13", "malformed-query"),
        ("/api/ledger/export", "malformed-query"),
        ("/api/ledger/statement?period=november", "malformed-query"),
        ("/api/ledger/statement?period=1999-12", "not-found"),
    ] {
        assert_eq!(api.get(path).await.unwrap().code(), code, "{path}");
    }
    assert_eq!(stack.api().get("/api/ledger").await.unwrap().status, 401);
}

#[tokio::test]
async fn a_statement_comes_to_what_the_usage_says() {
    let stack = stack().start().await.unwrap();
    let api = stack.api_key("ada@example.test").await.unwrap();
    let period = live(&api).await;

    let signed = api.get(&format!("/api/ledger/statement?period={period}")).await.unwrap();
    let usage = api.get("/api/usage").await.unwrap();

    let statement: Value =
        serde_json::from_str(signed.body["statement"].as_str().unwrap()).unwrap();
    assert_eq!((&statement["state"], &statement["closed"]), (&json!("open"), &Value::Null));
    let stated: BTreeMap<&str, (&Value, &Value)> = statement["meters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|meter| (meter["meter"].as_str().unwrap(), (&meter["amount"], &meter["used"])))
        .collect();
    let mut moved = 0;
    for meter in usage.body["meters"].as_array().unwrap() {
        if meter["used"] == 0 {
            continue;
        }
        let used = &meter["used"];
        assert_eq!(stated[meter["meter"].as_str().unwrap()], (used, used));
        moved += 1;
    }
    assert_eq!((moved, stated.len()), (2, 2));
}

/// Writes the page's recipe and what it is given into a folder, and runs it.
async fn check(folder: &Path, statement: &[u8], key: &str, entries: &str) -> String {
    let (_, recipe) = PAGE.split_once("```bash\n").unwrap();
    let (recipe, _) = recipe.split_once("```").unwrap();
    fs::write(folder.join("statement.sh"), recipe).unwrap();
    fs::write(folder.join("statement.json"), statement).unwrap();
    fs::write(folder.join("key.pem"), key).unwrap();
    fs::write(folder.join("entries.jsonl"), entries).unwrap();
    let files = ["statement.sh", "statement.json", "key.pem", "entries.jsonl"];
    let output = Command::new("bash").args(files).current_dir(folder).output().await.unwrap();
    let said = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(output.status.success(), said.starts_with("good: "), "{said}{output:?}");
    said.trim().to_owned()
}

#[tokio::test]
async fn the_recipe_in_the_book_checks_a_statement_without_our_program() {
    let stack = stack().start().await.unwrap();
    let api = stack.api_key("ada@example.test").await.unwrap();
    let period = live(&api).await;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();

    let signed = api.get(&format!("/api/ledger/statement?period={period}")).await.unwrap();
    let lines = api.get(&format!("/api/ledger/export?month={period}")).await.unwrap();
    let keys = stack.api().get("/api/ledger/keys").await.unwrap();
    let printed = stack.run(&["ledger", "keys"]).await.unwrap();

    let key = &keys.body["data"][0];
    assert_eq!((&key["purpose"], &key["key_id"]), (&json!("statements"), &signed.body["key_id"]));
    let first = String::from_utf8(printed.stdout).unwrap();
    let first: Value = serde_json::from_str(first.lines().next().unwrap()).unwrap();
    assert_eq!(&first, key, "the command prints what the server publishes");
    let (statement, pem) = (&signed.bytes, key["public_key_pem"].as_str().unwrap());
    let entries = str::from_utf8(&lines.bytes).unwrap();
    let good = check(folder, statement, pem, entries).await;
    assert!(good.starts_with(&format!("good: {period} of tnt_")), "{good}");
    assert!(good.contains("open"), "{good}");

    let other = keys.body["data"][1]["public_key_pem"].as_str().unwrap();
    assert_eq!(check(folder, statement, other, entries).await, "the signature is wrong");
    let forged = String::from_utf8(statement.to_vec()).unwrap();
    let forged = forged.replacen("\\\"amount\\\":", "\\\"amount\\\":1", 1);
    let said = check(folder, forged.as_bytes(), pem, entries).await;
    assert_eq!(said, "the signature is wrong");
    let changed = entries.replacen("\"amount\":7", "\"amount\":6", 1);
    let said = check(folder, statement, pem, &changed).await;
    assert!(said.ends_with("was changed"), "{said}");
    let without_third: Vec<&str> =
        entries.lines().enumerate().filter(|(at, _)| *at != 2).map(|(_, line)| line).collect();
    let said = check(folder, statement, pem, &(without_third.join("\n") + "\n")).await;
    assert_eq!(said, "entry 3 is missing");
}
