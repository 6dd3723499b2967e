//! Audit records: one for each change, in the change's own transaction. Other planes write theirs
//! with the same function.

use serde_json::{Value, json};

use super::types::ClientInfo;
use super::{IdentityError, Inner};
use crate::clock::{Clock, Timestamp};
use crate::database::{self, SystemTx};
use crate::ids::{EventId, TenantId};
use crate::privacy::keys::{KeyRing, Place, sha256_hex};

/// Stands where no tenant is concerned yet.
const SYSTEM: &str = "system";

/// What was changed, and by whom.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    pub(crate) tenant: Option<TenantId>,
    pub(crate) actor: &'a str,
    pub(crate) action: Action,
    pub(crate) resource: &'a str,
    pub(crate) at: Timestamp,
}

/// Everything that is changed and recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    LinkRequested,
    CodeRefused,
    UserCreated,
    TenantCreated,
    KeyCreated,
    KeyRevoked,
    SessionOpened,
    SessionSwitched,
    SessionEnded,
    SessionEvicted,
    SessionReused,
    SessionsEnded,
    EndpointCreated,
    EndpointChanged,
    EndpointDeleted,
    EndpointSecretRotated,
    DeliveryResent,
}

impl Action {
    fn as_str(self) -> &'static str {
        match self {
            Self::LinkRequested => "link.requested",
            Self::CodeRefused => "link.code_refused",
            Self::UserCreated => "user.created",
            Self::TenantCreated => "tenant.created",
            Self::KeyCreated => "api_key.created",
            Self::KeyRevoked => "api_key.revoked",
            Self::SessionOpened => "session.opened",
            Self::SessionSwitched => "session.switched",
            Self::SessionEnded => "session.ended",
            Self::SessionEvicted => "session.evicted",
            Self::SessionReused => "session.reused",
            Self::SessionsEnded => "sessions.ended",
            Self::EndpointCreated => "webhook_endpoint.created",
            Self::EndpointChanged => "webhook_endpoint.changed",
            Self::EndpointDeleted => "webhook_endpoint.deleted",
            Self::EndpointSecretRotated => "webhook_endpoint.secret_rotated",
            Self::DeliveryResent => "webhook_delivery.resent",
        }
    }
}

impl Inner {
    /// Writes the record of a change.
    pub(super) async fn record(
        &self,
        tx: &mut SystemTx,
        client: &ClientInfo,
        record: Record<'_>,
    ) -> Result<(), IdentityError> {
        write(&self.keys, &*self.clock, tx, client, record).await
    }
}

/// Writes the record of a change. Where the change came from is sealed under the tenant's key;
/// the digest of that ciphertext stays when the key and the ciphertext go.
pub(crate) async fn write(
    keys: &KeyRing,
    clock: &dyn Clock,
    tx: &mut SystemTx,
    client: &ClientInfo,
    record: Record<'_>,
) -> Result<(), IdentityError> {
    let id = EventId::generate(clock).to_string();
    let cipher = match record.tenant {
        Some(tenant) => keys.tenant_cipher(tenant).await?,
        None => keys.system_cipher(),
    };
    let place = Place { table: "audit", column: "details", row: &id };
    let sealed = cipher.seal(place, details(client).to_string().as_bytes())?;
    let tenant = record.tenant.map_or_else(|| SYSTEM.to_owned(), |id| id.to_string());
    let row = database::audit::AuditRow {
        tenant: &tenant,
        id: &id,
        at: record.at,
        actor: record.actor,
        action: record.action.as_str(),
        resource: record.resource,
        request: &client.request.to_string(),
        details_sealed: &sealed,
        details_digest: &sha256_hex(sealed.as_bytes()),
    };
    Ok(database::audit::insert(tx, &row).await?)
}

/// Returns what a record and a session keep of the client.
pub(super) fn details(client: &ClientInfo) -> Value {
    json!({ "address": client.address, "user_agent": client.user_agent })
}
