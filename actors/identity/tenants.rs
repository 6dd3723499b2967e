//! Tenants as operators see them: names and dates, and nothing of their members.

use serde::Serialize;

use super::accounts::name_place;
use super::{Identity, IdentityError, Inner};
use crate::clock::Timestamp;
use crate::database::tenants::{self, TenantRow};
use crate::ids::TenantId;

/// A tenant, as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TenantSummary {
    /// The tenant's id.
    pub id: TenantId,
    /// The tenant's name; nothing once its key is destroyed.
    pub name: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
}

impl Identity {
    /// Finds a tenant for an operator.
    pub async fn tenant(&self, id: TenantId) -> Result<TenantSummary, IdentityError> {
        let mut reader = self.inner.db.reader().await?;
        let row = tenants::tenant(&mut reader, id).await?.ok_or(IdentityError::NotFound)?;
        drop(reader);
        Ok(self.inner.summary(row).await)
    }

    /// Lists `limit` tenants for an operator, after the one that a page ended with.
    pub async fn tenants(
        &self,
        after: Option<TenantId>,
        limit: u32,
    ) -> Result<Vec<TenantSummary>, IdentityError> {
        let mut reader = self.inner.db.reader().await?;
        let rows = tenants::page(&mut reader, after, i64::from(limit)).await?;
        drop(reader);
        let mut found = Vec::with_capacity(rows.len());
        for row in rows {
            found.push(self.inner.summary(row).await);
        }
        Ok(found)
    }
}

impl Inner {
    async fn summary(&self, row: TenantRow) -> TenantSummary {
        let TenantRow { id, name_sealed, created_at, deleted_at } = row;
        let place = id.to_string();
        let cipher = self.keys.tenant_cipher(id).await.ok();
        let name =
            cipher.and_then(|cipher| cipher.open_text(name_place(&place), &name_sealed).ok());
        TenantSummary { id, name, created_at, deleted_at }
    }
}
