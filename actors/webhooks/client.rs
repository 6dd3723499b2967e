//! One attempt: a signed POST that follows no redirect, reads no body and goes to public places.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, StatusCode, redirect};
use tenantry_supervision::retry::Retryable;

use super::signature::{Secrets, seconds};
use super::target::{self, Guard, NotPublic, Reach};
use crate::clock::Timestamp;

/// How long one attempt may take in all, from the name to the head of the answer.
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long making a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What a receiver may ask us to wait at most.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);

const USER_AGENT: &str = concat!("Tenantry-Webhooks/", env!("CARGO_PKG_VERSION"));

/// Sends messages.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    client: Client,
    reach: Reach,
}

/// What is sent.
#[derive(Debug)]
pub(super) struct Message<'a> {
    pub(super) id: &'a str,
    pub(super) body: String,
    pub(super) now: Timestamp,
}

/// The receiver took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) status: u16,
}

/// Why an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(super) struct NotTaken {
    /// A word of a closed set, for the list of deliveries.
    pub(super) reason: &'static str,
    /// What the receiver answered.
    pub(super) status: Option<u16>,
    /// How long the receiver wants to be left alone.
    pub(super) wait: Option<Duration>,
}

impl NotTaken {
    pub(super) const fn because(reason: &'static str) -> Self {
        Self { reason, status: None, wait: None }
    }
}

impl Retryable for NotTaken {
    fn is_retryable(&self) -> bool {
        true
    }
}

impl Sender {
    pub(super) fn new(guard: Guard) -> Result<Self, reqwest::Error> {
        let reach = guard.reach;
        let client = Client::builder()
            .user_agent(USER_AGENT)
            .dns_resolver(Arc::new(guard))
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(redirect::Policy::none())
            // A proxy would resolve names where nobody checks them.
            .no_proxy()
            // A connection of before was checked before; each attempt is checked anew.
            .pool_max_idle_per_host(0)
            .build()?;
        Ok(Self { client, reach })
    }

    /// Sends a message. The answer's body is not read, however long it is.
    pub(super) async fn send(
        &self,
        url: &str,
        secrets: &Secrets,
        message: Message<'_>,
    ) -> Result<Taken, NotTaken> {
        let url =
            target::check(url, self.reach).map_err(|_| NotTaken::because("address-not-allowed"))?;
        let signature = secrets.sign(message.id, message.now, &message.body);
        let request = self
            .client
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", message.id)
            .header("webhook-timestamp", seconds(message.now))
            .header("webhook-signature", signature)
            .body(message.body);
        let answer = request.send().await.map_err(|error| sort(&error))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(Taken { status: status.as_u16() });
        }
        let reason = match status {
            StatusCode::GONE => GONE,
            _ if status.is_redirection() => "redirect",
            _ => "status",
        };
        let wait = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let wait = wait.and_then(|text| text.parse().ok()).map(Duration::from_secs);
        let wait = wait.map(|wait| wait.min(RETRY_AFTER_MAX));
        Err(NotTaken { reason, status: Some(status.as_u16()), wait })
    }
}

/// The receiver wants nothing more, ever.
pub(super) const GONE: &str = "gone";

/// Sorts an error into a word. Its text may hold the address, which is the tenant's own.
fn sort(error: &reqwest::Error) -> NotTaken {
    let mut source = error.source();
    while let Some(cause) = source {
        if cause.is::<NotPublic>() {
            return NotTaken::because("address-not-public");
        }
        source = cause.source();
    }
    let reason = match () {
        () if error.is_timeout() => "timeout",
        () if error.is_connect() => "connection",
        () => "broken-answer",
    };
    NotTaken::because(reason)
}
