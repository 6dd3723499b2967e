//! What an operator sees of a tenant's actor and of the node.

use std::sync::atomic::Ordering;

use serde::Serialize;

use super::actor::Life;
use super::shell::Shell;
use crate::clock::Timestamp;
use crate::ids::TenantId;

/// One awake tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TenantReport {
    /// The tenant.
    pub tenant: TenantId,
    /// The last entry that was decided.
    pub seq: u64,
    /// The last entry that is on disk.
    pub durable_seq: u64,
    /// Steps that wait or run, open jobs, and open streams.
    pub busy: usize,
    /// Idempotency keys that are kept exactly.
    pub recent_keys: usize,
    /// Bytes of the filter of older keys.
    pub filter_bytes: usize,
    /// When something is due by itself.
    pub next_due: Option<Timestamp>,
}

/// What kept a tenant from running until an operator let it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Lifted {
    /// Its actor had failed too often in a short time.
    pub was_failing: bool,
    /// Failures to project its entries, which are projected now.
    pub entries: usize,
}

/// The tenants of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct NodeReport {
    /// Tenants that are awake.
    pub awake: usize,
    /// Calls between the gate and their answer.
    pub in_flight: u32,
    /// Entries that wait for the journal.
    pub queued: usize,
}

impl TenantReport {
    pub(super) fn of(life: &Life) -> Self {
        let (recent_keys, filter_bytes) = life.book.key_memory();
        Self {
            tenant: life.tenant,
            seq: life.book.state().seq(),
            durable_seq: life.vitals.in_flight.durable(),
            busy: life.vitals.busy.load(Ordering::Relaxed),
            recent_keys,
            filter_bytes,
            next_due: life.book.next_due(),
        }
    }
}

impl NodeReport {
    pub(super) fn of(shell: &Shell) -> Self {
        Self {
            awake: shell.directory.awake(),
            in_flight: shell.node_gate.depth(),
            queued: shell.journal.queued(),
        }
    }
}
