//! What owners do with endpoints: name them, look at them, change and remove them.

use secrecy::SecretString;

use super::kind::Subscription;
use super::signature::Secrets;
use super::{WebhookError, Webhooks, target, undisturbed};
use crate::clock::Timestamp;
use crate::database::webhook_deliveries;
use crate::database::webhook_endpoints::{self, EndpointRow};
use crate::database::{SystemTx, webhook_endpoints as rows};
use crate::identity::audit::{self, Action, Record};
use crate::identity::{ClientInfo, Principal};
use crate::ids::{EndpointId, TenantId};
use crate::privacy::keys::{Cipher, KeyError, Place};

/// How many endpoints a tenant may have.
const ENDPOINTS_MAX: u32 = 20;
/// How long a replaced secret still signs, unless it is said otherwise: a day, in seconds.
pub const OVERLAP_DEFAULT_S: u64 = 24 * 60 * 60;
/// How long it may at most: a week, in seconds.
pub const OVERLAP_MAX_S: u64 = 7 * 24 * 60 * 60;
/// What ends a delivery whose endpoint was switched off.
pub(super) const ENDPOINT_DISABLED: &str = "endpoint-disabled";

/// A place that events go to.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Names it.
    pub id: EndpointId,
    /// Its address.
    pub url: String,
    /// What it is told.
    pub events: Subscription,
    /// When it was named.
    pub created_at: Timestamp,
    /// When the first attempt failed of those since the last success.
    pub failing_since: Option<Timestamp>,
    /// When it was switched off.
    pub disabled_at: Option<Timestamp>,
    /// Why: `owner`, `failing` or `gone`.
    pub disabled_reason: Option<String>,
}

/// A place that events shall go to.
#[derive(Clone, Debug)]
pub struct NewEndpoint {
    /// Its address.
    pub url: String,
    /// What it is told.
    pub events: Subscription,
}

/// What shall be different about an endpoint; what is none stays.
#[derive(Clone, Debug, Default)]
pub struct EndpointChange {
    /// Its address.
    pub url: Option<String>,
    /// What it is told.
    pub events: Option<Subscription>,
    /// Whether it is on.
    pub enabled: Option<bool>,
}

impl Webhooks {
    /// Names a new endpoint; its secret is shown this once.
    pub async fn create(
        &self,
        by: &Principal,
        new: NewEndpoint,
        client: &ClientInfo,
    ) -> Result<(Endpoint, SecretString), WebhookError> {
        let deps = &self.inner.deps;
        target::check(&new.url, deps.settings.reach)?;
        let (id, now) = (EndpointId::generate(&*deps.clock), deps.clock.now());
        let cipher = deps.keys.tenant_cipher(by.tenant).await?;
        let secrets = Secrets::generate(&deps.keys)?;
        let row = rows::NewEndpoint {
            tenant: by.tenant,
            id,
            url_sealed: &seal_url(&cipher, id, &new.url)?,
            secrets_sealed: &secrets.seal(&cipher, &id.to_string())?,
            events: &new.events.to_string(),
            created_by: &by.actor(),
            created_at: now,
        };
        let mut tx = deps.database.system_tx().await?;
        if !rows::insert(&mut tx, &row, i64::from(ENDPOINTS_MAX)).await? {
            return Err(WebhookError::TooMany { max: ENDPOINTS_MAX });
        }
        self.record(&mut tx, by, client, Action::EndpointCreated, &id.to_string()).await?;
        tx.commit().await?;
        let endpoint = Endpoint {
            id,
            url: new.url,
            events: new.events,
            created_at: now,
            failing_since: None,
            disabled_at: None,
            disabled_reason: None,
        };
        Ok((endpoint, secrets.newest()))
    }

    /// Lists a tenant's endpoints, oldest first.
    pub async fn list(&self, tenant: TenantId) -> Result<Vec<Endpoint>, WebhookError> {
        let deps = &self.inner.deps;
        let mut reader = deps.database.reader().await?;
        let rows = webhook_endpoints::of_tenant(&mut reader, tenant).await?;
        drop(reader);
        let cipher = deps.keys.tenant_cipher(tenant).await?;
        rows.iter().map(|row| open(&cipher, row)).collect()
    }

    /// Shows one endpoint.
    pub async fn show(&self, tenant: TenantId, id: EndpointId) -> Result<Endpoint, WebhookError> {
        let deps = &self.inner.deps;
        let mut reader = deps.database.reader().await?;
        let row = webhook_endpoints::one(&mut reader, tenant, id).await?;
        drop(reader);
        let cipher = deps.keys.tenant_cipher(tenant).await?;
        open(&cipher, &row.ok_or(WebhookError::NotFound)?)
    }

    /// Changes an endpoint. Switched off, it is owed nothing any more.
    pub async fn change(
        &self,
        by: &Principal,
        id: EndpointId,
        change: EndpointChange,
        client: &ClientInfo,
    ) -> Result<Endpoint, WebhookError> {
        let deps = &self.inner.deps;
        if let Some(url) = &change.url {
            target::check(url, deps.settings.reach)?;
        }
        undisturbed(|| self.change_once(by, id, &change, client)).await
    }

    async fn change_once(
        &self,
        by: &Principal,
        id: EndpointId,
        change: &EndpointChange,
        client: &ClientInfo,
    ) -> Result<Endpoint, WebhookError> {
        let deps = &self.inner.deps;
        let now = deps.clock.now();
        let cipher = deps.keys.tenant_cipher(by.tenant).await?;
        let mut tx = deps.database.relay_tx().await?;
        let row = webhook_endpoints::hold(&mut tx, by.tenant, id).await?;
        let mut row = row.ok_or(WebhookError::NotFound)?;
        if let Some(url) = &change.url {
            row.url_sealed = seal_url(&cipher, id, url)?;
            row.failing_since = None;
        }
        if let Some(events) = &change.events {
            row.events = events.to_string();
        }
        match change.enabled {
            Some(false) if row.disabled_at.is_none() => {
                row.disabled_at = Some(now);
                row.disabled_as = Some("owner".to_owned());
                let (tenant, error) = (by.tenant, ENDPOINT_DISABLED);
                webhook_deliveries::fail_all(&mut tx, tenant, id, now, error).await?;
            }
            Some(true) if row.disabled_at.is_some() => {
                row.disabled_at = None;
                row.disabled_as = None;
                row.failing_since = None;
            }
            _ => {}
        }
        webhook_endpoints::change(&mut tx, &row).await?;
        self.record(&mut tx, by, client, Action::EndpointChanged, &id.to_string()).await?;
        tx.commit().await?;
        open(&cipher, &row)
    }

    /// Removes an endpoint with everything that was sent to it.
    pub async fn remove(
        &self,
        by: &Principal,
        id: EndpointId,
        client: &ClientInfo,
    ) -> Result<(), WebhookError> {
        undisturbed(|| self.remove_once(by, id, client)).await
    }

    async fn remove_once(
        &self,
        by: &Principal,
        id: EndpointId,
        client: &ClientInfo,
    ) -> Result<(), WebhookError> {
        let mut tx = self.inner.deps.database.relay_tx().await?;
        if !webhook_endpoints::delete(&mut tx, by.tenant, id).await? {
            return Err(WebhookError::NotFound);
        }
        webhook_deliveries::delete_of(&mut tx, by.tenant, id).await?;
        self.record(&mut tx, by, client, Action::EndpointDeleted, &id.to_string()).await?;
        Ok(tx.commit().await?)
    }

    /// Makes a new secret, shown this once; the one before signs too for `overlap_s` seconds.
    pub async fn rotate_secret(
        &self,
        by: &Principal,
        id: EndpointId,
        overlap_s: u64,
        client: &ClientInfo,
    ) -> Result<(SecretString, Timestamp), WebhookError> {
        if overlap_s > OVERLAP_MAX_S {
            return Err(WebhookError::Overlap { max_s: OVERLAP_MAX_S });
        }
        undisturbed(|| self.rotate_once(by, id, overlap_s, client)).await
    }

    async fn rotate_once(
        &self,
        by: &Principal,
        id: EndpointId,
        overlap_s: u64,
        client: &ClientInfo,
    ) -> Result<(SecretString, Timestamp), WebhookError> {
        let deps = &self.inner.deps;
        let now = deps.clock.now();
        let until = now.plus_s(overlap_s);
        let cipher = deps.keys.tenant_cipher(by.tenant).await?;
        let mut tx = deps.database.relay_tx().await?;
        let row = webhook_endpoints::hold(&mut tx, by.tenant, id).await?;
        let row = row.ok_or(WebhookError::NotFound)?;
        let name = id.to_string();
        let mut secrets = Secrets::open(&cipher, &name, &row.secrets_sealed)?;
        secrets.rotate(&deps.keys, now, until)?;
        let sealed = secrets.seal(&cipher, &name)?;
        webhook_endpoints::set_secrets(&mut tx, by.tenant, id, &sealed).await?;
        self.record(&mut tx, by, client, Action::EndpointSecretRotated, &name).await?;
        tx.commit().await?;
        Ok((secrets.newest(), until))
    }

    pub(super) async fn record(
        &self,
        tx: &mut SystemTx,
        by: &Principal,
        client: &ClientInfo,
        action: Action,
        resource: &str,
    ) -> Result<(), WebhookError> {
        let deps = &self.inner.deps;
        let (tenant, actor, at) = (Some(by.tenant), &*by.actor(), deps.clock.now());
        let record = Record { tenant, actor, action, resource, at };
        Ok(audit::write(&deps.keys, &*deps.clock, tx, client, record).await?)
    }
}

/// Opens an endpoint's address.
pub(super) fn open_url(cipher: &Cipher, row: &EndpointRow) -> Result<String, KeyError> {
    cipher.open_text(url_place(&row.id.to_string()), &row.url_sealed)
}

fn seal_url(cipher: &Cipher, id: EndpointId, url: &str) -> Result<String, KeyError> {
    cipher.seal(url_place(&id.to_string()), url.as_bytes())
}

fn url_place(id: &str) -> Place<'_> {
    Place { table: "webhook_endpoints", column: "url", row: id }
}

fn open(cipher: &Cipher, row: &EndpointRow) -> Result<Endpoint, WebhookError> {
    Ok(Endpoint {
        id: row.id,
        url: open_url(cipher, row)?,
        // Written by this program; what a later version wrote there is told as everything.
        events: row.events.parse().unwrap_or(Subscription::All),
        created_at: row.created_at,
        failing_since: row.failing_since,
        disabled_at: row.disabled_at,
        disabled_reason: row.disabled_as.clone(),
    })
}
