//! The typed handles that others hold: transactions, readers, and the journal's one writer.

use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, Connection, Transaction};

use super::{Backend, StoreError};
use crate::ids::TenantId;

/// What a query function runs on; implemented by the transactions and the reader.
pub trait Session: Send {
    /// The connection, for the query functions of a family alone.
    fn connection(&mut self) -> &mut AnyConnection;
}

/// A writing transaction over all rows; rolled back unless committed.
#[derive(Debug)]
pub struct SystemTx {
    pub(super) tx: Transaction<'static, Any>,
}

impl SystemTx {
    /// Makes the changes durable.
    pub async fn commit(self) -> Result<(), StoreError> {
        Ok(self.tx.commit().await?)
    }
}

/// A writing transaction for one tenant; rolled back unless committed.
#[derive(Debug)]
pub struct TenantTx {
    pub(super) tenant: TenantId,
    pub(super) tx: Transaction<'static, Any>,
}

impl TenantTx {
    /// The tenant whose rows may be touched.
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Makes the changes durable.
    pub async fn commit(self) -> Result<(), StoreError> {
        Ok(self.tx.commit().await?)
    }
}

/// A connection for reading; it sees the last committed state.
#[derive(Debug)]
pub struct Reader {
    pub(super) backend: Backend,
    pub(super) connection: PoolConnection<Any>,
}

impl Reader {
    /// Holds one committed state in view until dropped, however many statements follow.
    pub async fn freeze(&mut self) -> Result<Frozen<'_>, StoreError> {
        let begin = self.backend.freeze_statement();
        Ok(Frozen { tx: self.connection.begin_with(begin).await? })
    }
}

/// One committed state of the database, held in view.
#[derive(Debug)]
pub struct Frozen<'c> {
    tx: Transaction<'c, Any>,
}

/// The only connection that writes to the journal.
pub struct JournalWriter {
    pub(super) backend: Backend,
    pub(super) url: String,
    pub(super) connection: AnyConnection,
}

impl std::fmt::Debug for JournalWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL may hold a password.
        f.debug_struct("JournalWriter").field("backend", &self.backend).finish_non_exhaustive()
    }
}

impl Session for SystemTx {
    fn connection(&mut self) -> &mut AnyConnection {
        &mut self.tx
    }
}

impl Session for TenantTx {
    fn connection(&mut self) -> &mut AnyConnection {
        &mut self.tx
    }
}

impl Session for Reader {
    fn connection(&mut self) -> &mut AnyConnection {
        &mut self.connection
    }
}

impl Session for Frozen<'_> {
    fn connection(&mut self) -> &mut AnyConnection {
        &mut self.tx
    }
}

impl Session for JournalWriter {
    fn connection(&mut self) -> &mut AnyConnection {
        &mut self.connection
    }
}

/// Refuses a change that did not touch exactly the rows that it was meant for.
pub fn ensure_rows(table: &'static str, found: u64, expected: u64) -> Result<(), StoreError> {
    if found == expected { Ok(()) } else { Err(StoreError::Changed { table }) }
}
