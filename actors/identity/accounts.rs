//! Tenants and what belongs to them: names, members, the default API key.

use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;

use super::api_key::{self, SECRET_BYTES};
use super::audit::Action;
use super::email::EmailAddress;
use super::login::by;
use super::revocations::Subject;
use super::sessions::session_of;
use super::types::{ClientInfo, IssuedKey, Me, Membership, Principal, Role, Scopes};
use super::{Identity, IdentityError, Inner};
use crate::clock::Timestamp;
use crate::database::api_keys::NewKey;
use crate::database::users::{MembershipRow, UserRow};
use crate::database::{SystemTx, api_keys, revocations, users};
use crate::ids::{KeyId, RequestId, TenantId, UserId};
use crate::intents::{self, Intent};
use crate::privacy::keys::{Place, sha256_hex};

/// Longest name of a tenant, in characters.
const NAME_CHARS: usize = 100;
/// How many tenants are made in one transaction: others want to write as well.
const BATCH: usize = 1_000;
/// Who acts when no credential does.
const SYSTEM: &str = "system";

impl Identity {
    /// Tells a signed-in user who he is.
    pub async fn me(&self, who: &Principal) -> Result<Me, IdentityError> {
        let (_, user_id) = session_of(who)?;
        let inner = &self.inner;
        let mut reader = inner.db.reader().await?;
        let user = users::user(&mut reader, user_id).await?;
        let user = user.ok_or(IdentityError::Unauthenticated)?;
        let rows = users::memberships_of(&mut reader, user_id).await?;
        drop(reader);
        let mut tenants = Vec::with_capacity(rows.len());
        for row in rows {
            tenants.push(inner.membership(row).await?);
        }
        let current = tenants.iter().find(|tenant| tenant.id == who.tenant);
        let current = current.ok_or(IdentityError::Unauthenticated)?.clone();
        Ok(Me {
            user_id,
            email: inner.user_email(&user).await?,
            tenant_id: current.id,
            tenant_name: current.name,
            role: current.role,
            tenants,
        })
    }

    /// Replaces the tenant's default API key; the old one is dead at once.
    pub async fn rotate_default_key(
        &self,
        who: &Principal,
        client: &ClientInfo,
    ) -> Result<IssuedKey, IdentityError> {
        session_of(who)?;
        if who.role < Some(Role::Admin) {
            return Err(IdentityError::Forbidden);
        }
        let inner = &self.inner;
        let now = inner.clock.now();
        let actor = who.actor();
        let mut tx = inner.db.system_tx().await?;
        if let Some(old) = api_keys::revoke_default(&mut tx, who.tenant, now).await? {
            revocations::insert(&mut tx, &Subject::Key(old).to_string(), now).await?;
            let resource = old.to_string();
            let record = by(&actor, who.tenant, Action::KeyRevoked, &resource, now);
            inner.record(&mut tx, client, record).await?;
        }
        let (id, api_key) = inner.create_key(&mut tx, who.tenant, &actor, client).await?;
        tx.commit().await?;
        inner.catch_up_now().await;
        Ok(IssuedKey { id, api_key, created_at: now })
    }

    /// Makes `count` tenants, each with one API key, for programs. With a `test_clock` their time
    /// stands still there, until it is advanced. The address of an `owner` is made a user, unless
    /// it is one, and owns them all; without one they have no members.
    pub async fn create_tenants(
        &self,
        name: &str,
        count: u32,
        test_clock: Option<Timestamp>,
        owner: Option<&str>,
    ) -> Result<Vec<(TenantId, SecretString)>, IdentityError> {
        let inner = &self.inner;
        let owner = owner.map(EmailAddress::parse).transpose()?;
        let name = check_name(name)?;
        let client = ClientInfo {
            request: RequestId::generate(&*inner.clock),
            address: None,
            user_agent: None,
        };
        let ids: Vec<TenantId> = (0..count).map(|_| TenantId::generate(&*inner.clock)).collect();
        let mut made = Vec::with_capacity(ids.len());
        for batch in ids.chunks(BATCH) {
            inner.keys.prepare_tenants(batch).await?;
            let mut tx = inner.db.system_tx().await?;
            let owner = match &owner {
                Some(email) => Some(inner.find_or_create_user(&mut tx, email, &client).await?),
                None => None,
            };
            for tenant in batch {
                let key = inner.fill_tenant(&mut tx, *tenant, name, SYSTEM, &client).await?;
                if let Some(user) = owner {
                    let now = inner.clock.now();
                    users::insert_membership(&mut tx, *tenant, user, Role::Owner, now).await?;
                }
                if let Some(at) = test_clock {
                    let intent = Intent::StartTestClock { at };
                    intents::insert(&mut tx, *tenant, &intent, &*inner.clock).await?;
                }
                made.push((*tenant, key));
            }
            tx.commit().await?;
        }
        Ok(made)
    }
}

impl Inner {
    async fn find_or_create_user(
        &self,
        tx: &mut SystemTx,
        email: &EmailAddress,
        client: &ClientInfo,
    ) -> Result<UserId, IdentityError> {
        let digest = self.email_digest(email);
        match users::user_by_email(tx, &digest).await? {
            Some(row) => Ok(row.id),
            None => self.create_user(tx, &digest, email, client).await,
        }
    }

    /// Makes a tenant with its default key, inside a transaction.
    pub(super) async fn create_tenant(
        &self,
        tx: &mut SystemTx,
        name: &str,
        actor: &str,
        client: &ClientInfo,
    ) -> Result<(TenantId, SecretString), IdentityError> {
        let tenant = TenantId::generate(&*self.clock);
        Ok((tenant, self.fill_tenant(tx, tenant, name, actor, client).await?))
    }

    async fn fill_tenant(
        &self,
        tx: &mut SystemTx,
        tenant: TenantId,
        name: &str,
        actor: &str,
        client: &ClientInfo,
    ) -> Result<SecretString, IdentityError> {
        let now = self.clock.now();
        let id = tenant.to_string();
        let sealed =
            self.keys.tenant_cipher(tenant).await?.seal(name_place(&id), name.as_bytes())?;
        users::insert_tenant(tx, tenant, &sealed, now).await?;
        self.record(tx, client, by(actor, tenant, Action::TenantCreated, &id, now)).await?;
        Ok(self.create_key(tx, tenant, actor, client).await?.1)
    }

    async fn create_key(
        &self,
        tx: &mut SystemTx,
        tenant: TenantId,
        actor: &str,
        client: &ClientInfo,
    ) -> Result<(KeyId, SecretString), IdentityError> {
        let now = self.clock.now();
        let id = KeyId::generate(&*self.clock);
        let secret = Zeroizing::new(self.keys.random::<SECRET_BYTES>()?);
        let api_key = api_key::format(id, &secret);
        let new = NewKey {
            tenant,
            id,
            secret_digest: &sha256_hex(secret.as_slice()),
            hint: &api_key::hint(&api_key),
            scopes: Scopes::ALL,
            created_by: actor,
            created_at: now,
        };
        api_keys::insert_default(tx, &new).await?;
        let resource = id.to_string();
        self.record(tx, client, by(actor, tenant, Action::KeyCreated, &resource, now)).await?;
        Ok((id, api_key))
    }

    /// Opens the name of a tenant to which a user belongs.
    pub(super) async fn membership(&self, row: MembershipRow) -> Result<Membership, IdentityError> {
        let id = row.tenant.to_string();
        let cipher = self.keys.tenant_cipher(row.tenant).await?;
        let name = cipher.open_text(name_place(&id), &row.name_sealed)?;
        Ok(Membership { id: row.tenant, name, role: row.role })
    }

    /// Opens a user's address.
    pub(super) async fn user_email(&self, row: &UserRow) -> Result<EmailAddress, IdentityError> {
        Ok(EmailAddress::of_user(&self.keys, row).await?)
    }
}

/// Where a tenant's sealed name stands.
pub(super) fn name_place(id: &str) -> Place<'_> {
    Place { table: "tenants", column: "name", row: id }
}

fn check_name(name: &str) -> Result<&str, IdentityError> {
    let name = name.trim();
    let is_short = (1..=NAME_CHARS).contains(&name.chars().count());
    if is_short && !name.chars().any(char::is_control) {
        Ok(name)
    } else {
        Err(IdentityError::InvalidName)
    }
}
