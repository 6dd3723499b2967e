//! Handing one message to the mail server, and sorting its answers.
//!
//! lettre's own timeout covers connecting alone, so the breaker's covers the whole attempt. After an
//! attempt that took too long its connection may stand in the middle of a message: the pool is
//! thrown away.

use std::time::Duration;

use arc_swap::ArcSwapOption;
use lettre::transport::smtp::{self, PoolConfig};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use secrecy::{ExposeSecret, SecretString};
use tenantry_supervision::retry::Retryable;

use super::MailError;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How many connections to the mail server there are at most.
pub(super) const CONNECTIONS: u32 = 8;
/// How long an unused connection is kept: many servers close it after a minute.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

type Smtp = AsyncSmtpTransport<Tokio1Executor>;

/// The way out: a mail server, or the log.
#[derive(Debug)]
pub(super) struct Transport {
    url: Option<SecretString>,
    pool: ArcSwapOption<Smtp>,
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SendError {
    /// The server cannot be reached, or takes no mail of ours at all.
    #[error("the mail server is unreachable ({0})")]
    Unreachable(&'static str),
    /// The server wants this message later.
    #[error("the mail server asks to try later ({0})")]
    Deferred(u16),
    /// The server will never take this message.
    #[error("the mail server refused the message ({0})")]
    Rejected(u16),
}

impl Retryable for SendError {
    /// What concerns one message says nothing about the server.
    fn is_retryable(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }
}

impl Transport {
    /// Prepares the way; nothing is connected yet.
    pub(super) fn new(url: Option<&SecretString>) -> Result<Self, MailError> {
        let pool = url.map(connect).transpose()?.map(Into::into);
        Ok(Self { url: url.cloned(), pool: ArcSwapOption::new(pool) })
    }

    /// Tells whether there is a mail server.
    pub(super) fn is_smtp(&self) -> bool {
        self.url.is_some()
    }

    /// Hands a message to the mail server.
    pub(super) async fn send(&self, message: Message) -> Result<(), SendError> {
        let pool = self.pool.load_full();
        let pool = pool.ok_or(SendError::Unreachable("no_pool"))?;
        pool.send(message).await.map(|_| ()).map_err(|error| sort(&error))
    }

    /// Throws all connections away.
    pub(super) fn reset(&self) {
        if let Some(Ok(fresh)) = self.url.as_ref().map(connect) {
            self.pool.store(Some(fresh.into()));
        }
    }
}

fn connect(url: &SecretString) -> Result<Smtp, MailError> {
    let builder = Smtp::from_url(url.expose_secret()).map_err(|_| MailError::InvalidUrl)?;
    let pool = PoolConfig::new().max_size(CONNECTIONS).idle_timeout(IDLE_TIMEOUT);
    Ok(builder.timeout(Some(CONNECT_TIMEOUT)).pool_config(pool).build())
}

/// Sorts an error by what to do. Its text may hold an address, so only its kind is kept.
fn sort(error: &smtp::Error) -> SendError {
    let code = error.status().map(u16::from);
    match code {
        // Going down, or we may not send at all: the configuration's fault and not the message's.
        Some(421 | 454 | 530 | 534 | 535 | 538) => SendError::Unreachable("refuses_us"),
        Some(code) if error.is_permanent() => SendError::Rejected(code),
        Some(code) => SendError::Deferred(code),
        None if error.is_tls() => SendError::Unreachable("tls"),
        None if error.is_timeout() => SendError::Unreachable("timeout"),
        None if error.is_response() => SendError::Unreachable("garbage"),
        None => SendError::Unreachable("connection"),
    }
}
