//! A real Chromium, driven through chromedriver, both started for one test and ended with it.

use std::process::Stdio;
use std::time::Duration;

use fantoccini::wd::Capabilities;
use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tempfile::TempDir;
use tenantry_chaos::harness::running_with;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long chromedriver may take to listen.
const START_WITHIN: Duration = Duration::from_mins(1);

/// Said by chromedriver once it listens.
const STARTED: &str = "was started successfully on port ";

/// A browser with a fresh profile.
#[derive(Debug)]
pub(crate) struct Browser {
    client: Client,
    driver: Child,
    profile: TempDir,
}

impl Browser {
    /// Opens a browser whose window has this size.
    pub(crate) async fn open(width: u32, height: u32) -> Self {
        let profile = tempfile::Builder::new().prefix("tenantry-browser-").tempdir().unwrap();
        let mut driver = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "chromedriver", "--port=0"])
            .env("TMPDIR", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = timeout(START_WITHIN, async {
            loop {
                let line = lines.next_line().await.unwrap().expect("chromedriver ended");
                if let Some((_, port)) = line.split_once(STARTED) {
                    return port.trim_end_matches('.').to_owned();
                }
            }
        });
        let port = port.await.expect("chromedriver did not start");
        let arguments = json!([
            "--headless=new",
            // Tests run as root in containers, where Chromium's own sandbox cannot be set up.
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--autoplay-policy=no-user-gesture-required",
            "--force-prefers-reduced-motion",
            format!("--window-size={width},{height}"),
            format!("--user-data-dir={}", profile.path().join("profile").display()),
        ]);
        let mut capabilities = Capabilities::new();
        capabilities.insert("goog:chromeOptions".to_owned(), json!({ "args": arguments }));
        capabilities.insert("goog:loggingPrefs".to_owned(), json!({ "browser": "ALL" }));
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .unwrap();
        Self { client, driver, profile }
    }

    /// What drives the browser.
    pub(crate) fn page(&self) -> &Client {
        &self.client
    }

    /// Ends the browser in order.
    pub(crate) async fn close(mut self) {
        // Whether it ended well or not, the drop looks after what is left.
        let _ = self.client.clone().close().await;
        let _ = self.driver.kill().await;
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.driver.start_kill();
        for (id, _) in running_with(self.profile.path()) {
            let _ = kill(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}
