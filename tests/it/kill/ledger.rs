//! What the journal on disk must say after a kill.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::Value;
use tenantry_chaos::Stack;

use super::SCARCE;
use super::client::{Client, Effect};

/// Verifies the chain with the server's own command, and compares the entries with the logs.
pub(crate) async fn check(stack: &Stack, clients: &[Client], limit: u64, context: &str) {
    let verified = stack.run(&["ledger", "verify"]).await.unwrap();
    let complaint = String::from_utf8_lossy(&verified.stderr).into_owned();
    assert!(verified.status.success(), "{context}: the chain does not verify: {complaint}");

    // More than one only when a month ends during the test.
    let answers = clients.iter().flat_map(Client::log).filter_map(|sent| sent.answer.as_ref());
    let months: BTreeSet<&str> = answers.filter_map(|answer| answer["period"].as_str()).collect();
    let mut tenants: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for month in months {
        let exported = stack.run(&["ledger", "export", "--month", month]).await.unwrap();
        assert!(exported.status.success(), "{context}: {exported:?}");
        for line in String::from_utf8(exported.stdout).unwrap().lines() {
            let entry: Value = serde_json::from_str(line).unwrap();
            tenants.entry(entry["tenant"].as_str().unwrap().to_owned()).or_default().push(entry);
        }
    }
    for entries in tenants.values() {
        check_tenant(entries, limit, context);
    }
    check_acknowledged(&tenants, clients, context);
}

/// Numbers without gaps, each command once, and never more than the limit.
fn check_tenant(entries: &[Value], limit: u64, context: &str) {
    let mut seen = HashSet::new();
    for (index, entry) in entries.iter().enumerate() {
        assert_eq!(entry["seq"].as_u64(), Some(index as u64 + 1), "{context}: {entry}");
        if let Some(digest) = entry["idem"].as_str() {
            assert!(seen.insert(digest), "{context}: done twice: {entry}");
        }
        for item in entry["items"].as_array().into_iter().flatten() {
            let units = |name: &str| item[name].as_u64().unwrap_or_default();
            let is_sold = item["meter"] != SCARCE || units("used") + units("reserved") <= limit;
            assert!(is_sold, "{context}: oversold: {entry}");
        }
    }
}

/// Every acknowledged consumption is the entry that its answer names.
fn check_acknowledged(tenants: &BTreeMap<String, Vec<Value>>, clients: &[Client], context: &str) {
    for client in clients {
        let entries = tenants.get(client.tenant()).map(Vec::as_slice).unwrap_or_default();
        for sent in client.log() {
            let (Effect::Consume(units), Some(answer)) = (sent.effect, &sent.answer) else {
                continue;
            };
            let seq = answer["seq"].as_u64().and_then(|seq| usize::try_from(seq).ok()).unwrap();
            let entry = entries.get(seq - 1);
            let is_kept = entry.is_some_and(|entry| {
                entry["kind"] == "consumed" && entry["items"][0]["amount"] == units
            });
            assert!(is_kept, "{context}: {sent:?} was acknowledged, and the journal has {entry:?}");
        }
    }
}
