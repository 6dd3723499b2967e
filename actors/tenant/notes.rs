//! Words that come with a correction: sealed under the tenant's key, and found by their digest.
//!
//! The journal holds digests alone, so that erasing a tenant never has to rewrite it. The words
//! are stored before the entry that refers to them; words that no entry refers to harm nobody.

use super::call::TenantError;
use super::shell::Shell;
use crate::database::{StoreError, notes};
use crate::ids::TenantId;
use crate::privacy::keys::{KeyError, Place};

/// Keeps texts and returns their digests, in the same order.
pub(super) async fn keep(
    shell: &Shell,
    tenant: TenantId,
    texts: &[&str],
) -> Result<Vec<String>, TenantError> {
    let cipher = shell.keys.tenant_cipher(tenant).await.map_err(|_| TenantError::Unavailable)?;
    let mut tx = shell.database.tenant_tx(tenant).await.map_err(|error| failed(&error))?;
    let mut digests = Vec::with_capacity(texts.len());
    for text in texts {
        let digest = cipher.digest("note", text.as_bytes());
        let sealed = cipher.seal(place(&digest), text.as_bytes());
        let sealed = sealed.map_err(|_| TenantError::Unavailable)?;
        let now = shell.clock.now();
        notes::insert(&mut tx, &digest, &sealed, now).await.map_err(|error| failed(&error))?;
        digests.push(digest);
    }
    tx.commit().await.map_err(|error| failed(&error))?;
    Ok(digests)
}

/// Reads a text by its digest; none if it is gone or its key is.
pub(super) async fn read(
    shell: &Shell,
    tenant: TenantId,
    digest: &str,
) -> Result<Option<String>, TenantError> {
    let mut reader = shell.database.reader().await.map_err(|error| failed(&error))?;
    let sealed = notes::find(&mut reader, tenant, digest).await.map_err(|error| failed(&error))?;
    drop(reader);
    let Some(sealed) = sealed else { return Ok(None) };
    let cipher = match shell.keys.tenant_cipher(tenant).await {
        Ok(cipher) => cipher,
        // The words are there, and nobody can ever read them again.
        Err(KeyError::Destroyed) => return Ok(None),
        Err(_) => return Err(TenantError::Unavailable),
    };
    Ok(cipher.open_text(place(digest), &sealed).ok())
}

fn place(digest: &str) -> Place<'_> {
    Place { table: "notes", column: "text", row: digest }
}

fn failed(error: &StoreError) -> TenantError {
    tracing::warn!(%error, "a note cannot be kept or read");
    match error {
        StoreError::DiskFull => TenantError::StorageFull,
        _ => TenantError::Unavailable,
    }
}
