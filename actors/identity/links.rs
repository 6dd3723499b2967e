//! Asking for a login mail.

use std::time::Duration;

use data_encoding::HEXLOWER;
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;

use super::audit::{Action, Record};
use super::email::EmailAddress;
use super::types::{LinkIssued, LinkRequest};
use super::{Identity, IdentityError, Inner, Mode, next_path, secrets};
use crate::clock::Timestamp;
use crate::database::magic_links::NewLink;
use crate::database::mail_outbox::NewMail;
use crate::database::{SystemTx, magic_links, mail_outbox};
use crate::mail::LoginSecret;
use crate::privacy::keys::{Place, sha256_hex};

/// How long a link and its code work.
pub(super) const LIFETIME: Duration = Duration::from_mins(15);
/// The window in which an address gets a limited number of mails.
const WINDOW: Duration = Duration::from_mins(15);
/// The domain of an address's digest.
const EMAIL_DOMAIN: &str = "email";

impl Identity {
    /// Mails a link and a code to an address, known or not, and voids the ones before.
    pub async fn request_link(&self, request: LinkRequest) -> Result<LinkIssued, IdentityError> {
        let inner = &self.inner;
        let email = EmailAddress::parse(&request.email)?;
        let email_digest = inner.email_digest(&email);
        let id = HEXLOWER.encode(&inner.keys.random::<16>()?);
        let (token, code) = (secrets::new_token(&inner.keys)?, secrets::new_code(&inner.keys)?);
        let plain_code = secrets::read_code(&code).ok_or(IdentityError::Unavailable)?;
        let link = format!("{}/login#token={}", inner.settings.public_url, token.as_str());
        let cipher = inner.keys.system_cipher();
        let email_sealed = cipher.seal(email_place(&id), email.as_str().as_bytes())?;
        let secret = LoginSecret { email: &email, link: &link, code: &code };
        let secret_sealed = secret.seal(&inner.keys, &id)?;
        let now = inner.clock.now();
        let expires_at = now.plus_s(LIFETIME.as_secs());

        let mut tx = inner.db.system_tx().await?;
        inner.throttle(&mut tx, &email_digest, now).await?;
        magic_links::end_open(&mut tx, &email_digest, "replaced", now).await?;
        let new = NewLink {
            id: &id,
            email_digest: &email_digest,
            email_sealed: &email_sealed,
            token_digest: &sha256_hex(token.as_bytes()),
            code_digest: &secrets::code_digest(&inner.keys, &id, &plain_code),
            next_path: &next_path::sanitise(request.next.as_deref()),
            created_at: now,
            expires_at,
        };
        magic_links::insert(&mut tx, &new).await?;
        let mail = NewMail {
            id: &id,
            kind: "login",
            tenant: None,
            facts: None,
            secret_sealed: Some(&secret_sealed),
            at: now,
            expires_at,
        };
        mail_outbox::insert(&mut tx, &mail).await?;
        let record = Record {
            tenant: None,
            actor: "anonymous",
            action: Action::LinkRequested,
            resource: &id,
            at: now,
        };
        inner.record(&mut tx, &request.client, record).await?;
        tx.commit().await?;

        inner.mail.notify();
        let shown = inner.settings.mode == Mode::Development;
        Ok(LinkIssued { magic_link: shown.then(|| SecretString::from(link)) })
    }
}

impl Inner {
    /// Returns the digest by which an address is found.
    pub(super) fn email_digest(&self, email: &EmailAddress) -> String {
        self.keys.digest(EMAIL_DOMAIN, email.as_str().as_bytes())
    }

    /// Opens the address to which a link went.
    pub(super) fn link_email(&self, id: &str, sealed: &str) -> Result<EmailAddress, IdentityError> {
        let text = Zeroizing::new(self.keys.system_cipher().open_text(email_place(id), sealed)?);
        Ok(EmailAddress::parse(&text)?)
    }

    async fn throttle(
        &self,
        tx: &mut SystemTx,
        email_digest: &str,
        now: Timestamp,
    ) -> Result<(), IdentityError> {
        let since = Timestamp::from_micros(now.as_micros().saturating_sub(micros(WINDOW)));
        let recent = magic_links::requested_since(tx, email_digest, since).await?;
        let limit = usize::try_from(self.settings.links_per_address).unwrap_or(usize::MAX);
        if recent.len() < limit {
            return Ok(());
        }
        // The next one is free when the oldest of the last `limit` leaves the window.
        let place = recent.len().checked_sub(limit.max(1));
        let oldest = place.and_then(|place| recent.get(place)).copied().unwrap_or(now);
        let wait = oldest.plus_s(WINDOW.as_secs()).since(now);
        Err(IdentityError::TooManyLinks { retry_after_s: wait.as_secs().saturating_add(1) })
    }
}

fn email_place(id: &str) -> Place<'_> {
    Place { table: "magic_links", column: "email", row: id }
}

/// Returns a duration in the unit of stored times.
pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
