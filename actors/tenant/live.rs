//! An awake tenant as the rest of the node sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use ractor::ActorRef;

use super::gate::TenantGate;
use super::in_flight::InFlight;
use super::message::TenantMsg;
use crate::ids::TenantId;

/// A tenant that is awake.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) tenant: TenantId,
    /// Which life of the tenant this is; the journal calls it incarnation.
    pub(super) generation: u64,
    pub(super) actor: ActorRef<TenantMsg>,
    pub(super) gate: TenantGate,
    pub(super) vitals: Arc<Vitals>,
}

/// What the actor and the directory know of each other without a message.
#[derive(Debug)]
pub(super) struct Vitals {
    pub(super) in_flight: InFlight,
    /// Steps that run and streams that are open: such a tenant is not put to sleep.
    pub(super) busy: AtomicUsize,
    /// Set by an actor that went to sleep although something is left to do.
    pub(super) wake_again: AtomicBool,
    /// Milliseconds of the directory's time at the last use.
    pub(super) used_at_ms: AtomicU64,
    /// The last entry on disk that a sweep saw, and the directory's time at which it was new.
    pub(super) seen_durable: AtomicU64,
    pub(super) durable_at_ms: AtomicU64,
}

impl Vitals {
    pub(super) fn new(settled_at: u64) -> Self {
        Self {
            in_flight: InFlight::settled_at(settled_at),
            busy: AtomicUsize::new(0),
            wake_again: AtomicBool::new(false),
            used_at_ms: AtomicU64::new(0),
            seen_durable: AtomicU64::new(settled_at),
            durable_at_ms: AtomicU64::new(0),
        }
    }

    /// Says whether nothing is under way.
    pub(super) fn is_quiet(&self) -> bool {
        self.busy.load(Ordering::Acquire) == 0 && self.in_flight.is_settled()
    }
}
