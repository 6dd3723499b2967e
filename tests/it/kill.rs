//! The server is killed at random moments under load, again and again, and must lose and invent nothing.
//!
//! Each client keeps a log of what it sent and what was acknowledged. After every kill the journal on
//! disk is verified and compared with the logs, the server starts again, every request is repeated with
//! its key, and the usage reports must equal the sums of the logs.

mod client;
mod ledger;

use std::time::Duration;

use futures_util::future::join_all;
use rand::rngs::OsRng;
use rand::rngs::StdRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _, TryRngCore as _};
use serde_json::Value;
use tenantry_chaos::Stack;
use tokio::time::sleep;

use crate::product::meter;
use crate::support::stack;
use client::Client;

/// How often the server is killed.
const KILLS: usize = 30;

/// Tenants, and clients that work for each of them at once.
const TENANTS: usize = 4;
const CLIENTS_PER_TENANT: usize = 3;

/// The meter whose limit is soon reached, and one whose limit never is, so that both sides are seen
/// from the first kill to the last.
const SCARCE: &str = "images";
const PLENTY: &str = "tts_ms";

/// How much of the scarce meter each tenant may use.
const LIMIT: u64 = 200;

/// How long load runs before a kill, at most.
const MAX_LOAD_MS: u64 = 700;

/// Of so many starts, one is killed while the server still recovers.
const INTERRUPTED_STARTS: u32 = 4;

/// How long an interrupted start may last.
const MAX_START_MS: u64 = 150;

/// A catalogue with a limit that the test can reach.
fn catalogue() -> String {
    include_str!("../../plans.toml").replacen("images = 500,", &format!("images = {LIMIT},"), 1)
}

#[tokio::test]
async fn thirty_kills_under_load_lose_nothing_double_nothing_and_oversell_nothing() {
    let seed = OsRng.try_next_u64().unwrap();
    let mut rng = StdRng::seed_from_u64(seed);
    let plans = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    std::fs::write(plans.path(), catalogue()).unwrap();
    let mut stack = stack()
        .variable("TENANTRY__PLANS", plans.path().to_str().unwrap())
        .without_server()
        .start()
        .await
        .unwrap();
    let tenants = create_tenants(&stack).await;
    stack.restart().await.unwrap();
    let mut clients: Vec<Client> = (0..TENANTS * CLIENTS_PER_TENANT)
        .map(|number| {
            let (id, key) = &tenants[number % TENANTS];
            Client::new(number, id.clone(), stack.api().with_bearer(key), rng.next_u64())
        })
        .collect();

    for kill in 1..=KILLS {
        let url = stack.server().url();
        let load = join_all(clients.iter_mut().map(|client| client.work(&url)));
        let moment = Duration::from_millis(rng.random_range(0..=MAX_LOAD_MS));
        let (_, killed) = tokio::join!(load, async {
            sleep(moment).await;
            stack.kill().await
        });
        killed.unwrap();

        let context = format!("after kill {kill} (seed {seed})");
        ledger::check(&stack, &clients, LIMIT, &context).await;
        if rng.random_ratio(1, INTERRUPTED_STARTS) {
            let after = Duration::from_millis(rng.random_range(0..=MAX_START_MS));
            stack.interrupt_start(after).await.unwrap();
        }
        stack.restart().await.unwrap();
        let url = stack.server().url();
        join_all(clients.iter_mut().map(|client| client.repeat(&url, &context))).await;
        check_usage(&stack, &tenants, &clients, &context).await;
    }

    let acknowledged: usize = clients.iter().map(Client::acknowledged).sum();
    let refused: usize = clients.iter().map(Client::refused).sum();
    assert!(acknowledged > KILLS * TENANTS, "only {acknowledged} decisions were acknowledged");
    assert!(refused > 0, "the limit was never reached, so nothing was shown about it");
    assert_eq!(stack.stop().await.unwrap(), Some(0));
    ledger::check(&stack, &clients, LIMIT, "at the end").await;
}

/// Makes the tenants while no server runs; returns their ids and API keys.
async fn create_tenants(stack: &Stack) -> Vec<(String, String)> {
    let count = TENANTS.to_string();
    let arguments = ["tenant", "create", "--name", "kill", "--json", "--count", count.as_str()];
    let output = stack.run(&arguments).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tenant = |line: &str| {
        let tenant: Value = serde_json::from_str(line).unwrap();
        let field = |name: &str| tenant[name].as_str().unwrap().to_owned();
        (field("tenant_id"), field("api_key"))
    };
    String::from_utf8(output.stdout).unwrap().lines().map(tenant).collect()
}

/// The usage reports must equal the sums of the clients' logs.
async fn check_usage(
    stack: &Stack,
    tenants: &[(String, String)],
    clients: &[Client],
    context: &str,
) {
    for (tenant, key) in tenants {
        for name in [SCARCE, PLENTY] {
            let row = meter(&stack.api().with_bearer(key), name).await;
            let own = || clients.iter().filter(|client| client.tenant() == tenant);
            let used: u64 = own().map(|client| client.used(name)).sum();
            let held: u64 = own().map(|client| client.held(name)).sum();
            let reported = (row["used"].as_u64(), row["reserved"].as_u64());
            assert_eq!(reported, (Some(used), Some(held)), "{context}: tenant {tenant}: {row}");
            assert!(name != SCARCE || used + held <= LIMIT, "{context}: oversold: {row}");
        }
    }
}
