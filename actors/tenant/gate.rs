//! Bounded admission in front of ractor's mailboxes, which have no bound.
//!
//! A call takes a place at the node's gate and at its tenant's, and room at the journal, before a
//! message exists; all travel in the message and are given back when the answer is out, or when
//! the message is dropped. So the actor never waits for room, and one tenant's callers fill no
//! more than their own share: beyond their turn they queue here, not in front of others.

use std::time::Duration;

use tenantry_supervision::{Deadline, EnterError, Gate, Permit};

use super::call::TenantError;
use crate::ids::TenantId;
use crate::journal::{Journal, Overloaded, Room};

/// Calls in flight on this node.
const NODE_PLACES: u32 = 8_192;

/// Calls of one tenant that are in flight or wait for their turn.
const TENANT_PLACES: u32 = 2_048;

/// Calls of one tenant that are decided and not on disk yet. With [`LINE_BYTES`] this is the share
/// of a commit that the journal gives one tenant; at 5 ms a commit it is 50,000 calls a second.
const TENANT_TURNS: u32 = 256;

/// Bytes of journal that one command is expected to need.
const LINE_BYTES: usize = 1024;

/// How often and how long a call waits for room that longer lines of its own tenant took.
const ROOM_TRIES: u32 = 100;
const ROOM_PAUSE: Duration = Duration::from_millis(2);

/// Seconds after which a refused caller should try again.
const RETRY_AFTER_S: u64 = 1;

/// The gate of the whole node.
#[derive(Clone, Debug)]
pub(super) struct NodeGate {
    places: Gate,
    journal: Journal,
}

/// The gate of one tenant.
#[derive(Clone, Debug)]
pub(super) struct TenantGate {
    places: Gate,
    turns: Gate,
}

/// What a call holds while it is in flight.
#[derive(Debug)]
#[must_use = "the places are given back as soon as this is dropped"]
pub(super) struct Admission {
    /// Room for the lines, taken out by the actor when it hands lines over.
    pub(super) room: Option<Room>,
    _places: [Permit; 2],
    _turn: Option<Permit>,
}

impl TenantGate {
    pub(super) fn new() -> Self {
        Self {
            places: Gate::new("tenant", TENANT_PLACES),
            turns: Gate::new("tenant-turns", TENANT_TURNS),
        }
    }

    fn place(&self) -> Result<Permit, TenantError> {
        self.places.try_enter().map_err(|_| full())
    }
}

impl NodeGate {
    pub(super) fn new(journal: Journal) -> Self {
        Self { places: Gate::new("tenants", NODE_PLACES), journal }
    }

    /// Admits a call that may write: refused when too many wait, in turn otherwise.
    pub(super) async fn admit(
        &self,
        tenant: TenantId,
        gate: &TenantGate,
        deadline: Deadline,
    ) -> Result<Admission, TenantError> {
        let places = [gate.place()?, self.place()?];
        let turn = gate.turns.enter(deadline).await.map_err(|error| match error {
            EnterError::DeadlineExceeded { .. } => TenantError::DeadlineExceeded,
            EnterError::TooLarge { .. } | EnterError::Closed => TenantError::Unavailable,
        })?;
        let mut tries = 0;
        let room = loop {
            match self.journal.room(tenant, LINE_BYTES) {
                Ok(room) => break room,
                Err(Overloaded::Tenant) if tries < ROOM_TRIES && !deadline.is_past() => {
                    tries += 1;
                    tokio::time::sleep(ROOM_PAUSE).await;
                }
                Err(error) => return Err(error.into()),
            }
        };
        Ok(Admission { room: Some(room), _places: places, _turn: Some(turn) })
    }

    /// Admits a call that only reads.
    pub(super) fn admit_read(&self, gate: &TenantGate) -> Result<Admission, TenantError> {
        let places = [gate.place()?, self.place()?];
        Ok(Admission { room: None, _places: places, _turn: None })
    }

    /// Takes room for an entry that no caller asked for.
    pub(super) fn room(&self, tenant: TenantId) -> Result<Room, TenantError> {
        Ok(self.journal.room(tenant, LINE_BYTES)?)
    }

    /// Calls in flight on this node.
    pub(super) fn depth(&self) -> u32 {
        self.places.depth()
    }

    fn place(&self) -> Result<Permit, TenantError> {
        self.places.try_enter().map_err(|_| full())
    }
}

fn full() -> TenantError {
    TenantError::Overloaded { retry_after_s: RETRY_AFTER_S }
}
