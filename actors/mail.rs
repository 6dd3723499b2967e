//! Mails that are owed and how they get out: an outbox in the database, a relay, SMTP.
//!
//! Whoever owes a mail inserts its row in the transaction of its cause. The relay sends it behind a
//! breaker, always with the Message-ID that its row's id gives it, until it is sent, refused for
//! good or too old. A request never waits for a mail server.

mod message;
mod relay;
mod secret;
mod transport;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tenantry_supervision::breaker::{Breaker, BreakerSettings};
use tenantry_supervision::spawn::{Tasks, spawn};
use tokio::sync::Notify;

pub(crate) use self::message::UsageFacts;
pub(crate) use self::relay::KEEP as KEEP_SETTLED_FOR;
use self::relay::Relay;
pub(crate) use self::secret::LoginSecret;
#[cfg(test)]
pub(crate) use self::secret::OpenedSecret;
use self::transport::Transport;
use crate::clock::SharedClock;
use crate::database::Database;
use crate::privacy::keys::KeyRing;

/// How long one attempt may take in all.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// How many failed attempts in a row leave the mail server alone for a while.
const FAILURES: u32 = 5;
/// How long the mail server is left alone at first.
const OPEN_FOR: Duration = Duration::from_secs(2);
/// How long it is left alone at most.
const MAX_OPEN_FOR: Duration = Duration::from_mins(1);

/// Tells the relay that a mail may be owed; clones wake the same relay.
#[derive(Clone, Debug, Default)]
pub struct Wake(Arc<Notify>);

impl Wake {
    /// Makes a bell that nobody listens to yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Rings; the relay looks once however often it rang meanwhile.
    pub fn notify(&self) {
        self.0.notify_one();
    }

    async fn notified(&self) {
        self.0.notified().await;
    }
}

/// What is configured about mail.
#[derive(Clone)]
pub struct MailSettings {
    /// `smtp://user:pass@host:port` or `smtps://…`; without it mails go to the log, which is for
    /// development alone: a login mail in the log lets its reader in. `smtp` is encrypted by STARTTLS,
    /// always if there is a password; `?tls=none` turns that off.
    pub smtp_url: Option<SecretString>,
    /// The sender, `Name <address>` or an address.
    pub from: String,
    /// What links begin with, without a slash at the end.
    pub public_url: String,
    /// The delay cap after a first failed attempt; it doubles up to `retry_max`.
    pub retry_first: Duration,
    /// What the delay between attempts never exceeds.
    pub retry_max: Duration,
}

impl MailSettings {
    /// Sets what an installation configures, with the usual delays.
    pub fn new(smtp_url: Option<SecretString>, from: String, public_url: String) -> Self {
        let (retry_first, retry_max) = (Duration::from_secs(2), Duration::from_mins(5));
        Self { smtp_url, from, public_url, retry_first, retry_max }
    }
}

impl fmt::Debug for MailSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailSettings")
            .field("has_smtp", &self.smtp_url.is_some())
            .field("public_url", &self.public_url)
            .finish_non_exhaustive()
    }
}

/// What the relay stands on.
#[derive(Clone, Debug)]
pub struct MailDeps {
    /// The database.
    pub db: Database,
    /// The key ring.
    pub keys: KeyRing,
    /// The time.
    pub clock: SharedClock,
    /// The owner of the relay's task.
    pub tasks: Tasks,
    /// Rung by whoever owes a mail.
    pub wake: Wake,
    /// The breaker around the mail server.
    pub breaker: Breaker,
    /// What is configured.
    pub settings: MailSettings,
}

/// The running relay.
#[derive(Clone, Debug)]
pub struct Mail {
    breaker: Breaker,
}

impl Mail {
    /// Returns the breaker's usual settings for a mail server.
    pub fn breaker_settings() -> BreakerSettings {
        BreakerSettings {
            name: "smtp",
            failures: FAILURES,
            open_for: OPEN_FOR,
            max_open_for: MAX_OPEN_FOR,
            timeout: SEND_TIMEOUT,
        }
    }

    /// Starts the relay.
    pub fn start(deps: MailDeps) -> Result<Self, MailError> {
        let transport = Transport::new(deps.settings.smtp_url.as_ref())?;
        let sender = message::Sender::parse(&deps.settings.from)?;
        let breaker = deps.breaker.clone();
        let tasks = deps.tasks.clone();
        let relay = Relay::new(deps, transport, sender);
        spawn("mail-relay", &tasks, relay.run());
        Ok(Self { breaker })
    }

    /// Returns the breaker around the mail server.
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }
}

/// Why the relay cannot start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailError {
    /// The address of the mail server cannot be understood.
    #[error("the SMTP URL is not valid")]
    InvalidUrl,
    /// The sender is not a mail address.
    #[error("the sender is not a mail address")]
    InvalidSender,
}

#[cfg(test)]
mod tests;
