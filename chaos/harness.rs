//! Starts the real server with its world, for tests and the playground.
//!
//! Everything is a real process with real sockets and files; nothing is shared between two stacks.

mod builder;
mod client;
mod process;
mod server;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::timeout;

pub use builder::StackBuilder;
pub use client::{Api, Reply};
pub use process::running_with;
pub use server::{Server, ServerSettings};

use crate::postgres::Postgres;
use crate::world::World;

/// How long a login mail may take from the request to the mailbox.
const MAIL_WITHIN: Duration = Duration::from_secs(30);

/// How long a server may take to end that cannot go on.
const END_WITHIN: Duration = Duration::from_secs(30);

/// A running server with its world and a data folder of its own.
#[derive(Debug)]
pub struct Stack {
    // First, so that the server ends before its world and its folder do.
    server: Option<Server>,
    settings: ServerSettings,
    world: World,
    postgres: Option<Postgres>,
    data: TempDir,
}

impl Stack {
    /// Begins a stack around a server binary (`env!("CARGO_BIN_EXE_tenantry")` in tests).
    pub fn builder(binary: impl Into<PathBuf>) -> StackBuilder {
        StackBuilder::new(binary.into())
    }

    /// The running server.
    ///
    /// # Panics
    ///
    /// When the server was killed and not restarted.
    #[must_use]
    pub fn server(&self) -> &Server {
        self.server.as_ref().expect("the server runs")
    }

    /// The outside world of this server.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The server's PostgreSQL.
    ///
    /// # Panics
    ///
    /// When the stack was not built with one.
    pub fn postgres(&mut self) -> &mut Postgres {
        self.postgres.as_mut().expect("a stack with PostgreSQL")
    }

    /// The server's data folder.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        self.data.path()
    }

    /// A client without credentials.
    #[must_use]
    pub fn api(&self) -> Api {
        Api::new(&self.server().url())
    }

    /// A client of the ops listener.
    #[must_use]
    pub fn ops(&self) -> Api {
        Api::new(&self.server().ops_url())
    }

    /// Kills the server at once, as a power cut would.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        match self.server.take() {
            Some(server) => server.kill().await,
            None => Ok(()),
        }
    }

    /// Ends the server as an operator would; returns its exit code, `None` when a signal ended it.
    pub async fn stop(&mut self) -> anyhow::Result<Option<i32>> {
        match self.server.take() {
            Some(server) => server.stop().await,
            None => Ok(None),
        }
    }

    /// Whether the server runs: it may have given up.
    pub fn is_running(&mut self) -> bool {
        self.server.as_mut().is_some_and(Server::is_running)
    }

    /// Waits until the server ends by itself; returns its exit code, `None` when a signal ended it.
    pub async fn wait(&mut self) -> anyhow::Result<Option<i32>> {
        let server = self.server.as_mut().context("no server runs")?;
        let ended = timeout(END_WITHIN, server.wait()).await;
        let code = ended.context("the server does not end by itself")??;
        self.server = None;
        Ok(code)
    }

    /// Starts the server again on the same data folder, and waits until it is ready.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.kill().await?;
        self.server = Some(Server::start(self.settings.clone()).await?);
        Ok(())
    }

    /// Starts the server and kills it so soon that it may still be recovering.
    pub async fn interrupt_start(&mut self, after: Duration) -> anyhow::Result<()> {
        self.kill().await?;
        Server::interrupt(&self.settings, after).await
    }

    /// Changes a variable for the next start.
    pub fn set_variable(&mut self, name: &str, value: impl Into<String>) {
        self.settings.variables.push((name.to_owned(), value.into()));
    }

    /// Puts the server below another program at its next start, or back on its own feet.
    pub fn set_wrapper(&mut self, words: Vec<String>) {
        self.settings.wrapper = words;
    }

    /// Exports the journal's entries of this month, and of the last one if it has just ended.
    #[expect(clippy::disallowed_methods, reason = "a test names months as its reader would")]
    pub async fn export(&self) -> anyhow::Result<String> {
        let now = jiff::Timestamp::now();
        let earlier = now - jiff::SignedDuration::from_hours(1);
        let mut months = [earlier, now].map(|time| time.strftime("%Y-%m").to_string()).to_vec();
        months.dedup();
        self.export_months(&months.iter().map(String::as_str).collect::<Vec<_>>()).await
    }

    /// Exports the journal's entries of some months, in their order.
    pub async fn export_months(&self, months: &[&str]) -> anyhow::Result<String> {
        let mut lines = String::new();
        for month in months {
            let output = self.run(&["ledger", "export", "--month", month]).await?;
            let said = String::from_utf8_lossy(&output.stderr);
            anyhow::ensure!(output.status.success(), "the export of {month}: {said}");
            lines.push_str(&String::from_utf8(output.stdout).context("read the export")?);
        }
        Ok(lines)
    }

    /// Lets the server's own command verify the journal; what it says is wrong is the error.
    pub async fn verify(&self) -> anyhow::Result<()> {
        let output = self.run(&["ledger", "verify"]).await?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "the journal does not verify: {said}");
        Ok(())
    }

    /// Makes tenants while no server runs; returns their ids and API keys.
    pub async fn create_tenants(&self, count: usize) -> anyhow::Result<Vec<(String, String)>> {
        let count = count.to_string();
        let words = ["tenant", "create", "--name", "test", "--json", "--count", count.as_str()];
        let output = self.run(&words).await?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "the tenants were not made: {said}");
        let tenant = |line: &str| {
            let tenant: serde_json::Value = serde_json::from_str(line)?;
            let field = |name: &str| {
                tenant[name].as_str().map(ToOwned::to_owned).with_context(|| format!("no {name}"))
            };
            Ok((field("tenant_id")?, field("api_key")?))
        };
        String::from_utf8(output.stdout)?.lines().map(tenant).collect()
    }

    /// Runs another command of the server's binary on the same data folder.
    pub async fn run(&self, arguments: &[&str]) -> anyhow::Result<std::process::Output> {
        let mut command = self.settings.command(arguments);
        command.output().await.context("run a command of the server")
    }

    /// Logs an address in through the mailbox, and returns a client with its access token.
    pub async fn login(&self, email: &str) -> anyhow::Result<Api> {
        let api = self.api();
        let token = self.login_token(email).await?;
        let verified = api.post("/api/auth/magic-link/verify", &json!({ "token": token })).await?;
        anyhow::ensure!(verified.status == 200, "verify answered {verified:?}");
        let access = verified.body["access_token"].as_str().context("an access token")?;
        Ok(api.with_bearer(access))
    }

    /// Logs in and takes the tenant's API key: a client as another product's back end would be.
    pub async fn api_key(&self, email: &str) -> anyhow::Result<Api> {
        let session = self.login(email).await?;
        let rotated = session.call(Method::POST, "/api/account/rotate-api-key", None).await?;
        anyhow::ensure!(rotated.status == 200, "rotate answered {rotated:?}");
        let key = rotated.body["api_key"].as_str().context("an API key")?;
        Ok(self.api().with_bearer(key))
    }

    /// Asks for a login link and takes the token out of the mail.
    pub async fn login_token(&self, email: &str) -> anyhow::Result<String> {
        let before = self.world.mailbox().to(Some(email)).len();
        let body = json!({ "email": email });
        let asked = self.api().post("/api/auth/magic-link/request", &body).await?;
        anyhow::ensure!(asked.status == 202, "the request answered {asked:?}");
        let link = match asked.body["magic_link"].as_str() {
            Some(link) if self.settings.get("SMTP_URL").is_none() => link.to_owned(),
            _ => {
                let mails = self.world.mailbox().wait_for(email, before + 1, MAIL_WITHIN).await;
                let mails = mails.context("no login mail arrived")?;
                let mail = mails.last().context("no login mail")?;
                mail.links.first().context("no link in the login mail")?.clone()
            }
        };
        let (_, token) = link.split_once("#token=").context("no token in the link")?;
        Ok(token.to_owned())
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // Killing and waiting happen in the server's own drop; then nothing of it may be left.
        drop(self.server.take());
        let left = process::wait_until_none(self.data.path());
        let is_clean = left.is_empty() || std::thread::panicking();
        assert!(is_clean, "processes outlived their server: {left:?}");
    }
}
