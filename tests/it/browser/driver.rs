//! A real Chromium, driven through chromedriver, both started for one test and ended with it.

use std::process::Stdio;
use std::time::Duration;

use fantoccini::actions::{InputSource as _, KeyAction, KeyActions};
use fantoccini::elements::Element;
use fantoccini::key::Key;
use fantoccini::wd::Capabilities;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;
use tenantry_chaos::harness::running_with;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// How long chromedriver may take to listen.
const START_WITHIN: Duration = Duration::from_mins(1);

/// How long a page may take to show something on a busy machine.
const SHOWN_WITHIN: Duration = Duration::from_secs(30);

/// How often a page is looked at again.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How often the tab key is pressed at most to get somewhere.
const MAX_TABS: usize = 80;

/// Chromium makes no window narrower than this; a smaller one is a phone.
const MIN_WINDOW_WIDTH: u32 = 500;

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
        let mut options = json!({ "args": arguments });
        if width < MIN_WINDOW_WIDTH {
            let metrics = json!({ "width": width, "height": height, "pixelRatio": 2.0 });
            options["mobileEmulation"] = json!({ "deviceMetrics": metrics });
        }
        let mut capabilities = Capabilities::new();
        capabilities.insert("goog:chromeOptions".to_owned(), options);
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .unwrap();
        Self { client, driver, profile }
    }

    /// Opens an address.
    pub(crate) async fn goto(&self, url: &str) {
        self.client.goto(url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
    }

    /// Waits until an element is on the page.
    pub(crate) async fn shown(&self, css: &str) -> Element {
        self.shown_within(css, SHOWN_WITHIN).await
    }

    /// Waits longer until an element is on the page; reloads that happen meanwhile are fine.
    pub(crate) async fn shown_within(&self, css: &str, within: Duration) -> Element {
        let deadline = Instant::now() + within;
        loop {
            match self.client.find(Locator::Css(css)).await {
                Ok(element) => return element,
                Err(error) if Instant::now() > deadline => {
                    let page = self.client.find(Locator::Css("body")).await;
                    let text = match page {
                        Ok(page) => page.text().await.unwrap_or_default(),
                        Err(_) => String::new(),
                    };
                    let url = self.client.current_url().await;
                    panic!("{css} is not on {url:?} ({error}):\n{text}");
                }
                Err(_) => sleep(LOOK_EVERY).await,
            }
        }
    }

    /// Waits for an element and clicks it, once it can be clicked.
    pub(crate) async fn press(&self, css: &str) {
        let deadline = Instant::now() + SHOWN_WITHIN;
        while let Err(error) = self.shown(css).await.click().await {
            assert!(Instant::now() < deadline, "{css} cannot be clicked: {error}");
            sleep(LOOK_EVERY).await;
        }
    }

    /// Types into a field.
    pub(crate) async fn fill(&self, css: &str, text: &str) {
        self.shown(css).await.send_keys(text).await.unwrap();
    }

    /// The text of an element.
    pub(crate) async fn text(&self, css: &str) -> String {
        self.shown(css).await.text().await.unwrap()
    }

    /// Runs a script in the page.
    pub(crate) async fn run(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap()
    }

    /// Runs a script again and again until its result is as wanted.
    pub(crate) async fn until(&self, script: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + SHOWN_WITHIN;
        loop {
            let value = self.run(script).await;
            if wanted(&value) {
                return value;
            }
            assert!(Instant::now() < deadline, "{script} stays at {value}");
            sleep(LOOK_EVERY).await;
        }
    }

    /// Types with the keyboard alone, wherever the focus is.
    pub(crate) async fn type_keys(&self, keys: &str) {
        let mut actions = KeyActions::new("keyboard".to_owned());
        for value in keys.chars() {
            actions = actions.then(KeyAction::Down { value }).then(KeyAction::Up { value });
        }
        self.client.perform_actions(actions).await.unwrap();
    }

    /// Types one key that is no character.
    pub(crate) async fn type_key(&self, key: Key) {
        self.type_keys(&char::from(key).to_string()).await;
    }

    /// Moves the focus with the tab key until it is on an element.
    pub(crate) async fn tab_to(&self, css: &str) {
        let script = format!("return document.activeElement.matches({});", json!(css));
        for _ in 0..MAX_TABS {
            if self.run(&script).await == json!(true) {
                return;
            }
            self.type_key(Key::Tab).await;
        }
        panic!("the tab key does not lead to {css}");
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
