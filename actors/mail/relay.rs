//! The relay: takes what is due, sends it behind the breaker, and settles its row.
//!
//! ```text
//! pending => sent                       the server took it
//!          | pending, due later         it failed, or the breaker was open (not counted then)
//!          | dead                       refused for good, or 24 h old
//!          | expired                    a login mail whose link is over
//! ```
//!
//! Taking a row puts it off by a lease, so a relay that dies leaves it to the next one. A mail goes
//! out twice only if the server took it and the process died before the row was settled.

use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tenantry_supervision::breaker::{BreakerError, BreakerState};
use tenantry_supervision::retry::RetryPolicy;

use super::message::{Content, EndpointFacts, Sender, UsageFacts};
use super::secret::OpenedSecret;
use super::transport::{CONNECTIONS, SendError, Transport};
use super::{MailDeps, SEND_TIMEOUT};
use crate::clock::Timestamp;
use crate::database::mail_outbox::MailRow;
use crate::database::{Backend, StoreError, mail_outbox, users};
use crate::identity::EmailAddress;
use crate::privacy::keys::KeyError;

/// How often the outbox is looked at when nobody rings.
const POLL_EVERY: Duration = Duration::from_millis(500);
/// How many mails are taken at once: as many as there are connections.
const BATCH: i64 = CONNECTIONS as i64;
/// How long a taken mail is put off: longer than its attempt can take.
const LEASE: Duration = Duration::from_secs(SEND_TIMEOUT.as_secs() + 15);
/// How many owners get a mail about their tenant.
const OWNERS: i64 = 10;
/// How long settled rows are kept.
pub(crate) const KEEP: Duration = Duration::from_hours(7 * 24);
/// After how many looks settled rows are removed: about every ten minutes.
const PURGE_AFTER: u32 = 1_200;

/// The gauge of mails that are owed.
const OUTBOX_DEPTH: &str = "tenantry_mail_outbox_depth";
/// The counter of attempts, by kind and outcome.
const MAILS_TOTAL: &str = "tenantry_mail_attempts_total";

/// Sends what is owed until its owner ends it.
pub(super) struct Relay {
    deps: MailDeps,
    transport: Transport,
    sender: Sender,
    policy: RetryPolicy,
}

/// What became of an attempt.
#[derive(Debug)]
enum Outcome {
    Sent,
    Later { due_at: Timestamp, error: String },
    NotTried { due_at: Timestamp },
    Over { state: &'static str, error: Option<String> },
}

/// A mail that cannot be written.
#[derive(Debug, thiserror::Error)]
enum Unwritable {
    #[error("the row says nothing that can be sent")]
    Row,
    #[error("nobody is left to tell")]
    NoRecipient,
    #[error("the secret cannot be opened")]
    Key(#[from] KeyError),
    #[error("the template failed")]
    Template(#[from] askama::Error),
    #[error("the database failed")]
    Store(#[from] StoreError),
}

impl Relay {
    pub(super) fn new(deps: MailDeps, transport: Transport, sender: Sender) -> Self {
        let (first, max) = (deps.settings.retry_first, deps.settings.retry_max);
        let policy = RetryPolicy::new("mail", u32::MAX, first, max);
        Self { deps, transport, sender, policy }
    }

    /// Runs until cancelled; what is being sent then is sent to its end.
    pub(super) async fn run(self) {
        if let Err(error) = self.release().await {
            tracing::warn!(%error, "mails that were being sent at the end wait for their lease");
        }
        let mut looks: u32 = 0;
        loop {
            tokio::select! {
                () = self.deps.tasks.cancelled() => return,
                () = self.deps.wake.notified() => {}
                () = tokio::time::sleep(POLL_EVERY) => {}
            }
            let result = self.send_what_is_due().await;
            if let Err(error) = result {
                tracing::warn!(%error, "the mail outbox cannot be read");
            }
            looks += 1;
            if looks >= PURGE_AFTER {
                looks = 0;
                if let Err(error) = self.purge().await {
                    tracing::warn!(%error, "sent mails could not be removed");
                }
            }
        }
    }

    /// Takes over what the relay before was doing when it died. The embedded database has one
    /// process at a time; elsewhere another node may be sending right now.
    async fn release(&self) -> Result<(), StoreError> {
        if self.deps.db.backend() != Backend::Sqlite {
            return Ok(());
        }
        let mut tx = self.deps.db.system_tx().await?;
        mail_outbox::release(&mut tx, self.deps.clock.now()).await?;
        tx.commit().await
    }

    async fn send_what_is_due(&self) -> Result<(), StoreError> {
        while !self.deps.tasks.is_cancelled() {
            let now = self.deps.clock.now();
            let mut reader = self.deps.db.reader().await?;
            let depth = mail_outbox::depth(&mut reader).await?;
            metrics::gauge!(OUTBOX_DEPTH).set(f64::from(u32::try_from(depth).unwrap_or(u32::MAX)));
            let due = mail_outbox::next_due(&mut reader).await?;
            drop(reader);
            if due.is_none_or(|due| due > now) {
                return Ok(());
            }
            let batch = match self.deps.breaker.state() {
                BreakerState::Closed => BATCH,
                // One is enough to see whether the server is back.
                BreakerState::HalfOpen => 1,
                BreakerState::Open => return Ok(()),
            };
            let mut tx = self.deps.db.system_tx().await?;
            let lease_until = now.plus_s(LEASE.as_secs());
            let rows = mail_outbox::claim(&mut tx, now, lease_until, batch).await?;
            tx.commit().await?;
            stream::iter(rows).for_each_concurrent(None, |row| self.deliver(row)).await;
        }
        Ok(())
    }

    async fn deliver(&self, row: MailRow) {
        let outcome = self.attempt(&row).await;
        let label = match &outcome {
            Outcome::Sent => "sent",
            Outcome::Later { .. } => "failed",
            Outcome::NotTried { .. } => "breaker_open",
            Outcome::Over { state, .. } => state,
        };
        metrics::counter!(MAILS_TOTAL, "kind" => row.kind.clone(), "outcome" => label).increment(1);
        match &outcome {
            Outcome::Later { error, .. } | Outcome::Over { error: Some(error), .. } => {
                tracing::warn!(
                    mail.kind = row.kind,
                    mail.id = row.id,
                    attempt = row.attempts,
                    error,
                    outcome = label,
                    "mail was not sent"
                );
            }
            _ => tracing::debug!(mail.kind = row.kind, mail.id = row.id, outcome = label, "mail"),
        }
        if let Err(error) = self.settle(&row, outcome).await {
            // The lease brings the row back; a mail that was sent then goes out twice, with the
            // same Message-ID.
            tracing::error!(mail.id = row.id, %error, "a mail's outcome could not be stored");
        }
    }

    async fn attempt(&self, row: &MailRow) -> Outcome {
        let now = self.deps.clock.now();
        if now >= row.expires_at {
            let state = if row.kind == "login" { "expired" } else { "dead" };
            return Outcome::Over { state, error: None };
        }
        let (to, content) = match self.write(row).await {
            Ok(written) => written,
            Err(Unwritable::Store(error)) => return self.later(row, now, error.to_string()),
            Err(error) => return over(error.to_string()),
        };
        if !self.transport.is_smtp() {
            tracing::info!(
                mail.kind = row.kind,
                mail.subject = content.subject,
                mail.text = content.text,
                "no mail server is configured: the mail goes to the log"
            );
            return Outcome::Sent;
        }
        let Some(message) = self.sender.message(&row.id, row.created_at, &to, &content) else {
            return over(Unwritable::Row.to_string());
        };
        match self.deps.breaker.call(|| self.transport.send(message)).await {
            Ok(()) => Outcome::Sent,
            Err(BreakerError::Open { retry_after }) => {
                let due_at = now.checked_add(retry_after).unwrap_or(now);
                Outcome::NotTried { due_at }
            }
            Err(BreakerError::Failed(error @ SendError::Rejected(_))) => over(error.to_string()),
            Err(error) => {
                if matches!(error, BreakerError::TimedOut { .. }) {
                    self.transport.reset();
                }
                self.later(row, self.deps.clock.now(), error.to_string())
            }
        }
    }

    /// Writes the mail and finds who gets it.
    async fn write(&self, row: &MailRow) -> Result<(Vec<String>, Content), Unwritable> {
        match row.kind.as_str() {
            "login" => {
                let sealed = row.secret_sealed.as_ref().ok_or(Unwritable::Row)?;
                let secret = OpenedSecret::open(&self.deps.keys, &row.id, sealed)?;
                let content = Content::login(&secret.link, &secret.code)?;
                Ok((vec![secret.email], content))
            }
            "usage_threshold" => {
                let facts = row.facts.as_deref().ok_or(Unwritable::Row)?;
                let facts: UsageFacts = serde_json::from_str(facts).map_err(|_| Unwritable::Row)?;
                let to = self.owners(row).await?;
                Ok((to, Content::usage(&facts, &self.deps.settings.public_url)?))
            }
            "webhook_disabled" => {
                let facts = row.facts.as_deref().ok_or(Unwritable::Row)?;
                let facts: EndpointFacts =
                    serde_json::from_str(facts).map_err(|_| Unwritable::Row)?;
                Ok((self.owners(row).await?, Content::endpoint(&facts)?))
            }
            _ => Err(Unwritable::Row),
        }
    }

    async fn owners(&self, row: &MailRow) -> Result<Vec<String>, Unwritable> {
        let tenant = row.tenant.ok_or(Unwritable::Row)?;
        let mut reader = self.deps.db.reader().await?;
        let owners = users::owners(&mut reader, tenant, OWNERS).await?;
        drop(reader);
        let mut to = Vec::with_capacity(owners.len());
        for owner in &owners {
            to.push(EmailAddress::of_user(&self.deps.keys, owner).await?.as_str().to_owned());
        }
        if to.is_empty() { Err(Unwritable::NoRecipient) } else { Ok(to) }
    }

    fn later(&self, row: &MailRow, now: Timestamp, error: String) -> Outcome {
        let attempt = u32::try_from(row.attempts).unwrap_or(u32::MAX);
        let mut rng = StdRng::from_os_rng();
        let delay = self.policy.delay_after(attempt, &mut rng);
        Outcome::Later { due_at: now.checked_add(delay).unwrap_or(row.expires_at), error }
    }

    async fn settle(&self, row: &MailRow, outcome: Outcome) -> Result<(), StoreError> {
        let now = self.deps.clock.now();
        let mut tx = self.deps.db.system_tx().await?;
        match outcome {
            Outcome::Sent => mail_outbox::settle(&mut tx, row, "sent", now, None).await?,
            Outcome::Later { due_at, error } => {
                mail_outbox::postpone(&mut tx, row, due_at, &error).await?;
            }
            Outcome::NotTried { due_at } => mail_outbox::hand_back(&mut tx, row, due_at).await?,
            Outcome::Over { state, error } => {
                mail_outbox::settle(&mut tx, row, state, now, error.as_deref()).await?;
            }
        }
        tx.commit().await
    }

    async fn purge(&self) -> Result<(), StoreError> {
        let now = self.deps.clock.now().as_micros();
        let keep = i64::try_from(KEEP.as_micros()).unwrap_or(i64::MAX);
        let mut tx = self.deps.db.system_tx().await?;
        mail_outbox::purge(&mut tx, Timestamp::from_micros(now.saturating_sub(keep))).await?;
        tx.commit().await
    }
}

fn over(error: String) -> Outcome {
    Outcome::Over { state: "dead", error: Some(error) }
}
