//! Showing the proof: a link or code is used up, and a session begins.
//!
//! Using the link, the user, tenant, membership and key of a first login, the session and all audit
//! records are one transaction: of many at once one succeeds, and a failure leaves the link open.

use secrecy::ExposeSecret;

use super::audit::{Action, Record, details};
use super::email::EmailAddress;
use super::refresh_token::RefreshToken;
use super::revocations::Subject;
use super::types::{ClientInfo, Login, Membership, Proof, Role, UserSummary};
use super::{Identity, IdentityError, Inner, secrets};
use crate::clock::Timestamp;
use crate::database::magic_links::LinkRow;
use crate::database::sessions::NewSession;
use crate::database::{SystemTx, magic_links, revocations, sessions, users};
use crate::ids::{SessionId, TenantId, UserId};
use crate::privacy::keys::{Place, equal, sha256_hex};

/// How many wrong codes void a link.
const CODE_ATTEMPTS: i64 = 5;
/// How many codes may be tried for an address in a day, over all its links.
const CODE_ATTEMPTS_PER_DAY: i64 = 20;
/// A day, in microseconds.
const DAY_MICROS: i64 = 24 * 60 * 60 * 1_000_000;
/// How long a session lives whatever happens, in seconds.
pub(super) const SESSION_S: u64 = 30 * 24 * 60 * 60;
/// How many devices a user may have signed in; the one unused for longest makes room.
const SESSIONS_PER_USER: usize = 20;
/// Longest name of a tenant that is made of an address, in characters.
const NAME_CHARS: usize = 40;

/// What a login transaction found or made.
struct Opened {
    user: UserSummary,
    tenant: Membership,
    session: SessionId,
    refresh: RefreshToken,
    next: String,
}

impl Identity {
    /// Opens a session for whoever shows the mailed token or code, once.
    pub async fn verify(&self, proof: Proof, client: &ClientInfo) -> Result<Login, IdentityError> {
        let inner = &self.inner;
        let now = inner.clock.now();
        let mut tx = inner.db.system_tx().await?;
        let link = match proof {
            Proof::Token(token) => {
                let digest = sha256_hex(token.expose_secret().as_bytes());
                magic_links::use_token(&mut tx, &digest, now).await?
            }
            Proof::Code { email, code } => {
                let email = EmailAddress::parse(&email).map_err(|_| IdentityError::LinkInvalid)?;
                let digest = inner.email_digest(&email);
                let code = secrets::read_code(code.expose_secret());
                let code = code.as_ref().map(|code| code.as_str());
                inner.try_code(&mut tx, &digest, code, client).await?
            }
        };
        let Some(link) = link else {
            // Commits the attempt that was counted.
            tx.commit().await?;
            return Err(IdentityError::LinkInvalid);
        };
        let Some((opened, has_evicted)) = inner.open(&mut tx, &link, client, now).await? else {
            return Err(IdentityError::LinkInvalid);
        };
        tx.commit().await?;
        if has_evicted {
            inner.catch_up_now().await;
        }
        inner.login(opened, now)
    }
}

impl Inner {
    /// Counts an attempt, then compares: of any number at once no more than five are compared.
    async fn try_code(
        &self,
        tx: &mut SystemTx,
        email_digest: &str,
        code: Option<&str>,
        client: &ClientInfo,
    ) -> Result<Option<LinkRow>, IdentityError> {
        let now = self.clock.now();
        let day = Timestamp::from_micros(now.as_micros().saturating_sub(DAY_MICROS));
        if magic_links::attempts_since(tx, email_digest, day).await? >= CODE_ATTEMPTS_PER_DAY {
            return Ok(None);
        }
        let link = magic_links::count_attempt(tx, email_digest, now, CODE_ATTEMPTS).await?;
        let Some(link) = link else { return Ok(None) };
        let is_right = code.is_some_and(|code| {
            let digest = secrets::code_digest(&self.keys, &link.id, code);
            equal(digest.as_bytes(), link.code_digest.as_bytes())
        });
        if is_right {
            magic_links::end(tx, &link.id, "used", now).await?;
            return Ok(Some(link));
        }
        let record = Record {
            tenant: None,
            actor: "anonymous",
            action: Action::CodeRefused,
            resource: &link.id,
            at: now,
        };
        self.record(tx, client, record).await?;
        if link.attempts >= CODE_ATTEMPTS {
            magic_links::end(tx, &link.id, "exhausted", now).await?;
        }
        Ok(None)
    }

    /// Finds or makes user and tenant, and begins the session.
    async fn open(
        &self,
        tx: &mut SystemTx,
        link: &LinkRow,
        client: &ClientInfo,
        now: Timestamp,
    ) -> Result<Option<(Opened, bool)>, IdentityError> {
        let email = self.link_email(&link.id, &link.email_sealed)?;
        let user = match users::user_by_email(tx, &link.email_digest).await? {
            Some(row) if row.disabled_at.is_some() => return Ok(None),
            Some(row) => row.id,
            None => self.create_user(tx, &link.email_digest, &email, client).await?,
        };
        let tenant = match users::memberships_of(tx, user).await?.into_iter().next() {
            Some(row) => self.membership(row).await?,
            None => self.create_first_tenant(tx, user, &email, client).await?,
        };
        let has_evicted = self.make_room(tx, user, tenant.id, client, now).await?;
        let session = SessionId::generate(&*self.clock);
        let refresh = RefreshToken::first(&self.keys, session)?;
        let place = Place { table: "sessions", column: "client", row: &session.to_string() };
        let client_sealed = self
            .keys
            .user_cipher(user)
            .await?
            .seal(place, details(client).to_string().as_bytes())?;
        let new = NewSession {
            id: session,
            user,
            tenant: tenant.id,
            generation: refresh.generation,
            digest: &refresh.digest(),
            at: now,
            expires_at: now.plus_s(SESSION_S),
            client_sealed: &client_sealed,
        };
        sessions::insert(tx, &new).await?;
        let actor = user.to_string();
        let resource = session.to_string();
        self.record(tx, client, by(&actor, tenant.id, Action::SessionOpened, &resource, now))
            .await?;
        let user = UserSummary { id: user, email };
        let next = link.next_path.clone();
        Ok(Some((Opened { user, tenant, session, refresh, next }, has_evicted)))
    }

    pub(super) async fn create_user(
        &self,
        tx: &mut SystemTx,
        email_digest: &str,
        email: &EmailAddress,
        client: &ClientInfo,
    ) -> Result<UserId, IdentityError> {
        let now = self.clock.now();
        let user = UserId::generate(&*self.clock);
        let actor = user.to_string();
        let place = Place { table: "users", column: "email", row: &actor };
        let sealed = self.keys.user_cipher(user).await?.seal(place, email.as_str().as_bytes())?;
        users::insert_user(tx, user, email_digest, &sealed, now).await?;
        let record = Record {
            tenant: None,
            actor: &actor,
            action: Action::UserCreated,
            resource: &actor,
            at: now,
        };
        self.record(tx, client, record).await?;
        Ok(user)
    }

    async fn create_first_tenant(
        &self,
        tx: &mut SystemTx,
        user: UserId,
        email: &EmailAddress,
        client: &ClientInfo,
    ) -> Result<Membership, IdentityError> {
        let now = self.clock.now();
        let name: String = email.local_part().chars().take(NAME_CHARS).collect();
        let actor = user.to_string();
        let (tenant, _unseen) = self.create_tenant(tx, &name, &actor, client).await?;
        users::insert_membership(tx, tenant, user, Role::Owner, now).await?;
        Ok(Membership { id: tenant, name, role: Role::Owner })
    }

    /// Ends the sessions that were unused for longest, so that one more fits.
    async fn make_room(
        &self,
        tx: &mut SystemTx,
        user: UserId,
        tenant: TenantId,
        client: &ClientInfo,
        now: Timestamp,
    ) -> Result<bool, IdentityError> {
        let live = sessions::live_of_user(tx, user, now).await?;
        let actor = user.to_string();
        let mut has_evicted = false;
        for old in live.iter().skip(SESSIONS_PER_USER - 1) {
            sessions::revoke(tx, old.id, "evicted", now).await?;
            revocations::insert(tx, &Subject::Session(old.id).to_string(), now).await?;
            let resource = old.id.to_string();
            self.record(tx, client, by(&actor, tenant, Action::SessionEvicted, &resource, now))
                .await?;
            has_evicted = true;
        }
        Ok(has_evicted)
    }

    fn login(&self, opened: Opened, now: Timestamp) -> Result<Login, IdentityError> {
        let about = (opened.user.id, opened.session, opened.tenant.id);
        Ok(Login {
            access_token: self.tokens.issue(&self.keys, about, now)?,
            expires_in_s: super::access_token::LIFETIME_S,
            refresh_token: Some(opened.refresh.to_cookie(&self.keys)),
            refresh_max_age_s: SESSION_S,
            user: opened.user,
            tenant: opened.tenant,
            next: opened.next,
        })
    }
}

/// Returns the record of a change by a user in a tenant.
pub(super) fn by<'a>(
    actor: &'a str,
    tenant: TenantId,
    action: Action,
    resource: &'a str,
    at: Timestamp,
) -> Record<'a> {
    Record { tenant: Some(tenant), actor, action, resource, at }
}
