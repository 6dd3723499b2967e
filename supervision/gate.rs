//! A gate: bounded admission in front of anything whose own queue has no bound.
//!
//! Whoever passes gets an owned permit that travels with the work (inside the message, for an actor)
//! and gives the place back when it is dropped, also by a panic or a stopped actor. So what is inside
//! never exceeds the capacity, and no place is ever lost.

use std::sync::Arc;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, TryAcquireError};

use crate::deadline::Deadline;
use crate::measured::GATE_REFUSED_TOTAL;

/// Bounded admission that hands out owned permits.
///
/// ```
/// use tenantry_supervision::Gate;
///
/// let gate = Gate::new("renders", 2);
/// let first = gate.try_enter().unwrap();
/// let second = gate.try_enter().unwrap();
/// assert!(gate.try_enter().is_err());
/// assert_eq!(gate.depth(), 2);
///
/// drop(first);
/// assert!(gate.try_enter().is_ok());
/// # drop(second);
/// ```
#[derive(Clone, Debug)]
pub struct Gate {
    name: &'static str,
    capacity: u32,
    places: Arc<Semaphore>,
}

impl Gate {
    /// Makes a gate with room for `capacity` places; the name is a metric label, so it is no id.
    #[must_use]
    pub fn new(name: &'static str, capacity: u32) -> Self {
        Self { name, capacity, places: Arc::new(Semaphore::new(capacity as usize)) }
    }

    /// Enters now, or refuses.
    pub fn try_enter(&self) -> Result<Permit, Full> {
        self.try_enter_with(1)
    }

    /// Enters now with work that takes several places (bytes, say), all or nothing.
    pub fn try_enter_with(&self, places: u32) -> Result<Permit, Full> {
        match Arc::clone(&self.places).try_acquire_many_owned(places) {
            Ok(permit) => Ok(Permit { permit }),
            Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => Err(self.refuse()),
        }
    }

    /// Enters in the order of arrival, waiting until the deadline at most.
    pub async fn enter(&self, deadline: Deadline) -> Result<Permit, EnterError> {
        self.enter_with(1, deadline).await
    }

    /// Enters with work that takes several places; more than the gate has can never enter.
    pub async fn enter_with(&self, places: u32, deadline: Deadline) -> Result<Permit, EnterError> {
        if places > self.capacity {
            return Err(EnterError::TooLarge { places, capacity: self.capacity });
        }
        let entry = Arc::clone(&self.places).acquire_many_owned(places);
        match deadline.run(entry).await {
            Ok(Ok(permit)) => Ok(Permit { permit }),
            Ok(Err(AcquireError { .. })) => Err(EnterError::Closed),
            Err(_) => {
                let Full { gate } = self.refuse();
                Err(EnterError::DeadlineExceeded { gate })
            }
        }
    }

    /// Closes the gate for good: nobody enters any more, those inside finish.
    pub fn close(&self) {
        self.places.close();
    }

    /// Tells how many places are taken.
    #[must_use]
    pub fn depth(&self) -> u32 {
        let free = u32::try_from(self.places.available_permits()).unwrap_or(u32::MAX);
        self.capacity.saturating_sub(free)
    }

    /// Tells how many places there are.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Tells the gate's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    fn refuse(&self) -> Full {
        metrics::counter!(GATE_REFUSED_TOTAL, "gate" => self.name).increment(1);
        Full { gate: self.name }
    }
}

/// A place inside a gate, given back when dropped.
#[derive(Debug)]
#[must_use = "the place is given back as soon as the permit is dropped"]
pub struct Permit {
    permit: OwnedSemaphorePermit,
}

impl Permit {
    /// Tells how many places the permit holds.
    #[must_use]
    pub fn places(&self) -> usize {
        self.permit.num_permits()
    }
}

/// The gate has no room now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the gate {gate} is full")]
pub struct Full {
    /// Which gate refused.
    pub gate: &'static str,
}

/// Why waiting at a gate did not lead inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnterError {
    /// No room came free in time.
    #[error("the gate {gate} stayed full until the deadline")]
    DeadlineExceeded {
        /// Which gate refused.
        gate: &'static str,
    },
    /// The work asks for more than the whole gate.
    #[error("{places} places never fit through a gate of {capacity}")]
    TooLarge {
        /// What was asked for.
        places: u32,
        /// What the gate has.
        capacity: u32,
    },
    /// The gate was closed.
    #[error("the gate is closed")]
    Closed,
}

#[cfg(test)]
mod tests;
