//! Handing one message to the mail server, and sorting its answers.
//!
//! lettre's own timeout covers connecting alone, so the breaker's covers the whole attempt. After an
//! attempt that took too long its connection may stand in the middle of a message: the pool is
//! thrown away.

use std::net::IpAddr;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use lettre::transport::smtp::{self, PoolConfig};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use reqwest::Url;
use secrecy::zeroize::Zeroizing;
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
    let url = with_encryption(url.expose_secret()).ok_or(MailError::InvalidUrl)?;
    let builder = Smtp::from_url(&url).map_err(|_| MailError::InvalidUrl)?;
    let pool = PoolConfig::new().max_size(CONNECTIONS).idle_timeout(IDLE_TIMEOUT);
    Ok(builder.timeout(Some(CONNECT_TIMEOUT)).pool_config(pool).build())
}

/// Says how a plain `smtp://` is encrypted, where the URL does not: always if it carries a password,
/// whenever the server offers it otherwise, and not at all on this machine. `?tls=none` turns it off.
fn with_encryption(text: &str) -> Option<Zeroizing<String>> {
    let mut url = Url::parse(text).ok()?;
    let wanted =
        url.query_pairs().find(|(name, _)| name == "tls").map(|(_, value)| value.into_owned());
    let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']');
    let is_local =
        host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    let encryption = match (url.scheme(), wanted.as_deref()) {
        ("smtp", Some("none")) => None,
        ("smtp", None) if is_local => None,
        ("smtp", None) if url.password().is_some() => Some("tls=required"),
        ("smtp", None) => Some("tls=opportunistic"),
        _ => return Some(Zeroizing::new(text.to_owned())),
    };
    url.set_query(encryption);
    Some(Zeroizing::new(url.into()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_sent_in_clear_unless_that_is_said() {
        let cases = [
            ("smtp://u:p@mail.test:587", "smtp://u:p@mail.test:587?tls=required"),
            ("smtp://mail.test:25", "smtp://mail.test:25?tls=opportunistic"),
            ("smtp://127.0.0.1:2525", "smtp://127.0.0.1:2525"),
            ("smtp://u:p@[::1]:2525", "smtp://u:p@[::1]:2525"),
            ("smtp://localhost:2525", "smtp://localhost:2525"),
            ("smtp://u:p@mail.test?tls=none", "smtp://u:p@mail.test"),
            ("smtp://u:p@mail.test?tls=required", "smtp://u:p@mail.test?tls=required"),
            ("smtps://u:p@mail.test", "smtps://u:p@mail.test"),
        ];
        for (given, used) in cases {
            assert_eq!(with_encryption(given).unwrap().as_str(), used);
        }
        assert!(with_encryption("mail.test").is_none());
    }
}
