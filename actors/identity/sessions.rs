//! Sessions after the login: refreshing, ending, switching, listing.
//!
//! ```text
//! cookie n is current        => n+1 becomes current, n is remembered for 30 s
//! cookie n-1 within 30 s     => the same n+1 again, nothing changes
//! any older cookie of ours   => stolen or copied: the session ends
//! ```

use std::time::Duration;

use secrecy::SecretString;

use super::audit::Action;
use super::login::by;
use super::refresh_token::RefreshToken;
use super::revocations::Subject;
use super::types::{
    ClientInfo, Credential, Login, Membership, Principal, Scopes, SessionSummary, UserSummary,
};
use super::{Identity, IdentityError, Inner};
use crate::clock::Timestamp;
use crate::database::sessions::SessionRow;
use crate::database::{SystemTx, revocations, sessions, users};
use crate::ids::{SessionId, TenantId, UserId};
use crate::privacy::keys::{Place, equal};

/// How long the cookie before the current one is still answered: other tabs, lost answers.
const GRACE: Duration = Duration::from_secs(30);

/// What a shown cookie is, compared with its session.
#[derive(Debug, PartialEq, Eq)]
enum Shown {
    Current,
    InGrace,
    Reused,
    Ended,
}

/// A session that goes on.
struct Continued {
    session: SessionId,
    user: UserId,
    tenant: TenantId,
    refresh: Option<SecretString>,
    expires_at: Timestamp,
}

impl Identity {
    /// Rotates the refresh cookie and issues a new access token.
    pub async fn refresh(&self, cookie: &str, client: &ClientInfo) -> Result<Login, IdentityError> {
        let inner = &self.inner;
        let token =
            RefreshToken::parse(&inner.keys, cookie).ok_or(IdentityError::Unauthenticated)?;
        let now = inner.clock.now();
        let mut tx = inner.db.system_tx().await?;
        let row = sessions::one(&mut tx, token.session).await?;
        let row = row.ok_or(IdentityError::Unauthenticated)?;
        let successor = token.successor(&inner.keys);
        match shown(&row, &token, now) {
            Shown::Current => {
                let (from, to) = (&row.current_digest, successor.digest());
                sessions::rotate(&mut tx, row.id, from, &to, now).await?;
                tx.commit().await?;
            }
            Shown::InGrace => drop(tx),
            Shown::Ended => return Err(IdentityError::Unauthenticated),
            Shown::Reused => {
                inner.end_reused(tx, &row, client, now).await?;
                return Err(IdentityError::Unauthenticated);
            }
        }
        let continued = Continued {
            session: row.id,
            user: row.user,
            tenant: row.tenant,
            refresh: Some(successor.to_cookie(&inner.keys)),
            expires_at: row.expires_at,
        };
        inner.go_on(continued, now).await
    }

    /// Ends the session.
    pub async fn logout(&self, who: &Principal, client: &ClientInfo) -> Result<(), IdentityError> {
        let (session, _) = session_of(who)?;
        self.inner.end(who, session, "logout", client).await.map(|_| ())
    }

    /// Ends every session of the user.
    pub async fn logout_all(
        &self,
        who: &Principal,
        client: &ClientInfo,
    ) -> Result<(), IdentityError> {
        let (_, user) = session_of(who)?;
        let inner = &self.inner;
        let now = inner.clock.now();
        let mut tx = inner.db.system_tx().await?;
        sessions::revoke_all(&mut tx, user, "logout_all", now).await?;
        revocations::insert(&mut tx, &Subject::User(user).to_string(), now).await?;
        let actor = user.to_string();
        inner
            .record(&mut tx, client, by(&actor, who.tenant, Action::SessionsEnded, &actor, now))
            .await?;
        tx.commit().await?;
        inner.catch_up_now().await;
        Ok(())
    }

    /// Lets the session speak for another of the user's tenants; the cookie stays good.
    pub async fn switch(
        &self,
        who: &Principal,
        tenant: TenantId,
        client: &ClientInfo,
    ) -> Result<Login, IdentityError> {
        let (session, user) = session_of(who)?;
        let inner = &self.inner;
        let now = inner.clock.now();
        let mut tx = inner.db.system_tx().await?;
        let row = sessions::one(&mut tx, session).await?.ok_or(IdentityError::Unauthenticated)?;
        let known = sessions::standing(&mut tx, tenant, session, user, now).await?;
        known.ok_or(IdentityError::NotFound)?;
        sessions::switch(&mut tx, session, tenant, now).await?;
        let (actor, resource) = (user.to_string(), session.to_string());
        let record = by(&actor, tenant, Action::SessionSwitched, &resource, now);
        inner.record(&mut tx, client, record).await?;
        tx.commit().await?;
        let expires_at = row.expires_at;
        inner.go_on(Continued { session, user, tenant, refresh: None, expires_at }, now).await
    }

    /// Lists the user's signed-in devices.
    pub async fn sessions(&self, who: &Principal) -> Result<Vec<SessionSummary>, IdentityError> {
        let (current, user) = session_of(who)?;
        let inner = &self.inner;
        let mut reader = inner.db.reader().await?;
        let rows = sessions::live_of_user(&mut reader, user, inner.clock.now()).await?;
        drop(reader);
        let cipher = inner.keys.user_cipher(user).await?;
        let summary = |row: SessionRow| {
            let id = row.id.to_string();
            let place = Place { table: "sessions", column: "client", row: &id };
            let client = cipher.open(place, &row.client_sealed)?;
            let client: serde_json::Value = serde_json::from_slice(&client).unwrap_or_default();
            Ok(SessionSummary {
                id: row.id,
                created_at: row.created_at,
                last_seen_at: row.rotated_at,
                expires_at: row.expires_at,
                user_agent: client["user_agent"].as_str().map(str::to_owned),
                current: row.id == current,
            })
        };
        rows.into_iter().map(summary).collect()
    }

    /// Signs one of the user's devices out.
    pub async fn revoke_session(
        &self,
        who: &Principal,
        session: SessionId,
        client: &ClientInfo,
    ) -> Result<(), IdentityError> {
        let has_ended = self.inner.end(who, session, "signed_out", client).await?;
        if has_ended { Ok(()) } else { Err(IdentityError::NotFound) }
    }

    /// Tells whose refresh cookie this is, for pages that only read; nothing rotates.
    pub async fn page_session(&self, cookie: &str) -> Result<Principal, IdentityError> {
        let inner = &self.inner;
        let token =
            RefreshToken::parse(&inner.keys, cookie).ok_or(IdentityError::Unauthenticated)?;
        let now = inner.clock.now();
        let mut reader = inner.db.reader().await?;
        let row = sessions::one(&mut reader, token.session).await?;
        let row = row.ok_or(IdentityError::Unauthenticated)?;
        if !matches!(shown(&row, &token, now), Shown::Current | Shown::InGrace) {
            return Err(IdentityError::Unauthenticated);
        }
        let standing = sessions::standing(&mut reader, row.tenant, row.id, row.user, now).await?;
        let standing = standing.ok_or(IdentityError::Unauthenticated)?;
        Ok(Principal {
            tenant: row.tenant,
            credential: Credential::Session { session: row.id, user: row.user },
            role: Some(standing.role),
            scopes: Scopes::ALL,
            authenticated_at: Some(standing.authenticated_at),
        })
    }
}

impl Inner {
    /// Ends one of the user's live sessions; tells whether there was one.
    async fn end(
        &self,
        who: &Principal,
        session: SessionId,
        revoked_as: &str,
        client: &ClientInfo,
    ) -> Result<bool, IdentityError> {
        let (_, user) = session_of(who)?;
        let now = self.clock.now();
        let mut tx = self.db.system_tx().await?;
        let row = sessions::one(&mut tx, session).await?;
        let is_own = row.is_some_and(|row| row.user == user && row.expires_at > now);
        if !is_own || !sessions::revoke(&mut tx, session, revoked_as, now).await? {
            return Ok(false);
        }
        revocations::insert(&mut tx, &Subject::Session(session).to_string(), now).await?;
        let (actor, resource) = (user.to_string(), session.to_string());
        let record = by(&actor, who.tenant, Action::SessionEnded, &resource, now);
        self.record(&mut tx, client, record).await?;
        tx.commit().await?;
        self.catch_up_now().await;
        Ok(true)
    }

    /// Ends a session whose old cookie was shown again: two hold it, and one of them stole it.
    async fn end_reused(
        &self,
        mut tx: SystemTx,
        row: &SessionRow,
        client: &ClientInfo,
        now: Timestamp,
    ) -> Result<(), IdentityError> {
        sessions::revoke(&mut tx, row.id, "reused", now).await?;
        revocations::insert(&mut tx, &Subject::Session(row.id).to_string(), now).await?;
        let (actor, resource) = (row.user.to_string(), row.id.to_string());
        let record = by(&actor, row.tenant, Action::SessionReused, &resource, now);
        self.record(&mut tx, client, record).await?;
        tx.commit().await?;
        tracing::warn!(session.id = %row.id, "an old refresh cookie was shown again; session ended");
        self.catch_up_now().await;
        Ok(())
    }

    async fn go_on(&self, on: Continued, now: Timestamp) -> Result<Login, IdentityError> {
        let mut reader = self.db.reader().await?;
        let user = users::user(&mut reader, on.user).await?.filter(|row| row.disabled_at.is_none());
        let user = user.ok_or(IdentityError::Unauthenticated)?;
        let memberships = users::memberships_of(&mut reader, on.user).await?;
        drop(reader);
        let membership = memberships.into_iter().find(|row| row.tenant == on.tenant);
        let tenant: Membership =
            self.membership(membership.ok_or(IdentityError::Unauthenticated)?).await?;
        let email = self.user_email(&user).await?;
        let about = (on.user, on.session, on.tenant);
        Ok(Login {
            access_token: self.tokens.issue(&self.keys, about, now)?,
            expires_in_s: super::access_token::LIFETIME_S,
            refresh_token: on.refresh,
            refresh_max_age_s: on.expires_at.since(now).as_secs(),
            user: UserSummary { id: on.user, email },
            tenant,
            next: "/".to_owned(),
        })
    }
}

/// Returns session and user of a signed-in principal; an API key has neither.
pub(super) fn session_of(who: &Principal) -> Result<(SessionId, UserId), IdentityError> {
    match who.credential {
        Credential::Session { session, user } => Ok((session, user)),
        Credential::ApiKey { .. } => Err(IdentityError::Forbidden),
    }
}

fn shown(row: &SessionRow, token: &RefreshToken, now: Timestamp) -> Shown {
    if row.revoked_at.is_some() || row.expires_at <= now {
        return Shown::Ended;
    }
    let digest = token.digest();
    if equal(digest.as_bytes(), row.current_digest.as_bytes()) {
        return Shown::Current;
    }
    let is_previous = row.generation == token.generation.saturating_add(1)
        && row
            .previous_digest
            .as_ref()
            .is_some_and(|previous| equal(digest.as_bytes(), previous.as_bytes()));
    if is_previous && now.since(row.rotated_at) <= GRACE { Shown::InGrace } else { Shown::Reused }
}
