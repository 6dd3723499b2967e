//! Tenants with an entry that could not be projected: they are served nothing until it is mended.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use crate::database::{Database, Reader, StoreError, projections};
use crate::ids::TenantId;

/// The set, readable on every call.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    // Almost always empty: the hot path reads one flag.
    is_used: AtomicBool,
    tenants: RwLock<HashSet<TenantId>>,
}

impl Quarantine {
    pub(super) async fn load(database: &Database) -> Result<Self, StoreError> {
        let quarantine = Self::default();
        quarantine.refresh(&mut database.reader().await?).await?;
        Ok(quarantine)
    }

    /// Adds those that the tables name: somebody else may have projected.
    pub(super) async fn refresh(&self, reader: &mut Reader) -> Result<(), StoreError> {
        for tenant in projections::failed_tenants(reader).await? {
            self.add(tenant);
        }
        Ok(())
    }

    pub(super) fn add(&self, tenant: TenantId) {
        // A set is whole after a panic elsewhere.
        self.tenants.write().unwrap_or_else(PoisonError::into_inner).insert(tenant);
        self.is_used.store(true, Ordering::Release);
    }

    pub(super) fn remove(&self, tenant: TenantId) {
        self.tenants.write().unwrap_or_else(PoisonError::into_inner).remove(&tenant);
    }

    pub(super) fn holds(&self, tenant: TenantId) -> bool {
        self.is_used.load(Ordering::Acquire)
            && self.tenants.read().unwrap_or_else(PoisonError::into_inner).contains(&tenant)
    }
}
