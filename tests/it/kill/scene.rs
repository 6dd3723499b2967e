//! Clients at work on a server that is broken in some way, and what must hold afterwards.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use rand::rngs::{OsRng, StdRng};
use rand::{RngCore as _, SeedableRng as _, TryRngCore as _};
use serde_json::Value;
use tempfile::NamedTempFile;
use tenantry_chaos::{Stack, StackBuilder};

use super::client::Client;
use super::{CLIENTS_PER_TENANT, LIMIT, PLENTY, SCARCE, TENANTS, ledger};
use crate::product::meter;

/// A server, and clients that keep logs of what they sent and what was acknowledged.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) stack: Stack,
    pub(crate) clients: Vec<Client>,
    pub(crate) rng: StdRng,
    seed: u64,
    tenants: Vec<(String, String)>,
    plans: NamedTempFile,
}

impl Scene {
    /// Starts a server with tenants whose scarce meter is soon used up.
    pub(crate) async fn start(builder: StackBuilder) -> Self {
        let seed = OsRng.try_next_u64().unwrap();
        let mut rng = StdRng::seed_from_u64(seed);
        let plans = NamedTempFile::with_suffix(".toml").unwrap();
        std::fs::write(plans.path(), catalogue()).unwrap();
        let builder = builder.variable("TENANTRY__PLANS", plans.path().to_str().unwrap());
        let mut stack = builder.without_server().start().await.unwrap();
        let tenants = create_tenants(&stack).await;
        stack.restart().await.unwrap();
        let clients = (0..TENANTS * CLIENTS_PER_TENANT)
            .map(|number| {
                let (id, key) = &tenants[number % TENANTS];
                Client::new(number, id.clone(), stack.api().with_bearer(key), rng.next_u64())
            })
            .collect();
        Self { stack, clients, rng, seed, tenants, plans }
    }

    /// Another server of the same installation, not yet started, with the URL of its database.
    pub(crate) async fn another(&mut self, builder: StackBuilder, url: &str) -> Stack {
        let plans = self.plans.path().to_str().unwrap();
        let builder = builder.variable("TENANTRY__PLANS", plans).variable("DATABASE_URL", url);
        let stack = builder.without_server().start().await.unwrap();
        let copied = std::process::Command::new("cp")
            .arg("-a")
            .args([self.stack.data_dir().join("keys"), stack.data_dir().join("keys")])
            .status();
        assert!(copied.unwrap().success(), "the keys are shared");
        stack
    }

    /// Lets every client work until its server fails it, while `fault` happens to that server.
    pub(crate) async fn load_while<T>(&mut self, fault: impl AsyncFnOnce(&mut Stack) -> T) -> T {
        let (url, is_over) = (self.stack.server().url(), AtomicBool::new(false));
        let work = join_all(self.clients.iter_mut().map(|client| client.work(&url, &is_over)));
        let stack = &mut self.stack;
        let (_, outcome) = tokio::join!(work, async {
            let outcome = fault(stack).await;
            is_over.store(true, Ordering::Release);
            outcome
        });
        outcome
    }

    /// Repeats every request since the last load at a server, and compares its usage reports.
    pub(crate) async fn repeat(&mut self, at: Option<&Stack>, context: &str) {
        let context = self.context(context);
        let stack = at.unwrap_or(&self.stack);
        let url = stack.server().url();
        join_all(self.clients.iter_mut().map(|client| client.repeat(&url, &context))).await;
        check_usage(stack, &self.tenants, &self.clients, &context).await;
    }

    /// Verifies the journal and compares it with the clients' logs.
    pub(crate) async fn check_ledger(&self, context: &str) {
        ledger::check(&self.stack, &self.clients, LIMIT, &self.context(context)).await;
    }

    /// A client of the first tenant, for questions that leave no trace.
    pub(crate) fn bystander(&self, stack: &Stack) -> tenantry_chaos::Api {
        stack.api().with_bearer(&self.tenants[0].1)
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.clients.iter().map(Client::acknowledged).sum()
    }

    pub(crate) fn refused(&self) -> usize {
        self.clients.iter().map(Client::refused).sum()
    }

    fn context(&self, what: &str) -> String {
        format!("{what} (seed {})", self.seed)
    }
}

/// How long load may run before a fault: any moment up to this.
pub(crate) fn moment(rng: &mut StdRng) -> Duration {
    use rand::Rng as _;
    Duration::from_millis(rng.random_range(0..=super::MAX_LOAD_MS))
}

/// A catalogue with a limit that the tests can reach.
fn catalogue() -> String {
    include_str!("../../../plans.toml").replacen("images = 500,", &format!("images = {LIMIT},"), 1)
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
