//! Clients at work on a server that is broken in some way, and what must hold afterwards.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use rand::rngs::{OsRng, StdRng};
use rand::{RngCore as _, SeedableRng as _, TryRngCore as _};
use tempfile::NamedTempFile;
use tenantry_chaos::history::{Recorder, Rules, check};
use tenantry_chaos::{Stack, StackBuilder};

use super::client::Client;
use super::{CLIENTS_PER_TENANT, LIMIT, SCARCE, TENANTS};

/// How long a server may say that it cannot answer now once its database was away: connections that
/// were cut have to be noticed and made anew. Embedded files are never away.
const RECOVERS_WITHIN: Duration = Duration::from_mins(1);

/// A server, and clients of which everything is recorded that they send and are told.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) stack: Stack,
    pub(crate) clients: Vec<Client>,
    pub(crate) rng: StdRng,
    recorder: Recorder,
    seed: u64,
    tenants: Vec<(String, String)>,
    plans: NamedTempFile,
}

impl Scene {
    /// Starts a server on embedded files, with tenants whose scarce meter is soon used up.
    pub(crate) async fn start(builder: StackBuilder) -> Self {
        Self::start_on(builder, Duration::ZERO).await
    }

    /// The same on a PostgreSQL of its own.
    pub(crate) async fn start_on_postgres(builder: StackBuilder) -> Self {
        Self::start_on(builder.postgres(), RECOVERS_WITHIN).await
    }

    async fn start_on(builder: StackBuilder, patience: Duration) -> Self {
        let seed = OsRng.try_next_u64().unwrap();
        let mut rng = StdRng::seed_from_u64(seed);
        let plans = NamedTempFile::with_suffix(".toml").unwrap();
        std::fs::write(plans.path(), catalogue()).unwrap();
        let builder = builder.variable("TENANTRY__PLANS", plans.path().to_str().unwrap());
        let mut stack = builder.without_server().start().await.unwrap();
        let tenants = stack.create_tenants(TENANTS).await.unwrap();
        stack.restart().await.unwrap();
        let recorder = Recorder::default();
        let clients = (0..TENANTS * CLIENTS_PER_TENANT)
            .map(|number| {
                let (id, key) = &tenants[number % TENANTS];
                let who = (id.clone(), stack.api().with_bearer(key));
                Client::new(number, who, recorder.clone(), patience, rng.next_u64())
            })
            .collect();
        Self { stack, clients, rng, recorder, seed, tenants, plans }
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

    /// Repeats every request since the last load at a server, and looks at its usage reports.
    pub(crate) async fn repeat(&mut self, at: Option<&Stack>, context: &str) {
        let context = self.context(context);
        let stack = at.unwrap_or(&self.stack);
        let url = stack.server().url();
        join_all(self.clients.iter_mut().map(|client| client.repeat(&url, &context))).await;
        for (tenant, key) in &self.tenants {
            let api = stack.api().with_bearer(key);
            let usage = self.recorder.get(&api, tenant, "/api/usage").await;
            assert!(
                usage.as_ref().is_some_and(|usage| usage.status == 200),
                "{context}: {usage:?}"
            );
        }
    }

    /// Verifies the journal, and finds everything that any client was told in it.
    pub(crate) async fn check_ledger(&self, context: &str) {
        let context = self.context(context);
        let verified = self.stack.verify().await;
        assert!(verified.is_ok(), "{context}: {verified:?}");
        let lines = self.stack.export().await.unwrap();
        let limits = BTreeMap::from([(SCARCE.to_owned(), Some(LIMIT))]);
        let rules = Rules { limits, levels: ["storage_bytes".to_owned()].into() };
        let faults = check(&self.recorder.calls(), &lines, &rules);
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert!(faults.is_empty(), "{context}:\n{}", faults.join("\n"));
    }

    /// A client of the first tenant, for questions that leave no trace.
    pub(crate) fn bystander(&self, stack: &Stack) -> tenantry_chaos::Api {
        stack.api().with_bearer(&self.tenants[0].1)
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.clients.iter().map(Client::acknowledged).sum()
    }

    /// Goes up to every tenant's limit, where the next unit is refused.
    pub(crate) async fn use_up(&mut self) {
        let url = self.stack.server().url();
        join_all(self.clients.iter_mut().take(TENANTS).map(|client| client.use_up(&url))).await;
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
