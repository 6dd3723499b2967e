//! Health registry: what each part of the process says about itself, and what follows for the whole.
//!
//! A part reports its own status, or is asked through a closure (a breaker's state, say). An optional
//! part that is down degrades the whole; only an essential one takes it down.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::breaker::{Breaker, BreakerState};

/// How a part of the process is doing; the order is from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// It works.
    Ok,
    /// It works with less than it should.
    Degraded,
    /// It does not work.
    Down,
}

impl Status {
    /// Names the status as the health page shows it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the failure of a part means for the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Importance {
    /// The process cannot serve without it.
    Essential,
    /// A feature is missing without it.
    Optional,
}

/// What the registry says about one part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Component {
    /// The part's name.
    pub name: &'static str,
    /// How it is doing.
    pub status: Status,
    /// What its failure means for the whole.
    pub importance: Importance,
}

/// The health of every part of the process.
///
/// ```
/// use tenantry_supervision::health::{Importance, Registry, Status};
///
/// let registry = Registry::new();
/// let database = registry.register("database", Importance::Essential);
/// let mail = registry.register("mail", Importance::Optional);
///
/// mail.set(Status::Down);
/// assert_eq!(registry.overall(), Status::Degraded);
/// assert!(registry.is_ready());
///
/// database.set(Status::Down);
/// assert_eq!(registry.overall(), Status::Down);
/// assert!(!registry.is_ready());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Registry {
    parts: Arc<Mutex<BTreeMap<&'static str, Part>>>,
}

struct Part {
    importance: Importance,
    source: Source,
}

enum Source {
    Reported(Status),
    Asked(Arc<dyn Fn() -> Status + Send + Sync>),
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").field("importance", &self.importance).finish_non_exhaustive()
    }
}

impl Registry {
    /// Makes an empty registry, which is ready and ok.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a part that reports its own status, `Ok` until it says otherwise.
    #[must_use]
    pub fn register(&self, name: &'static str, importance: Importance) -> Reporter {
        self.insert(name, Part { importance, source: Source::Reported(Status::Ok) });
        Reporter { registry: self.clone(), name }
    }

    /// Registers a part that is asked whenever somebody looks; the question must not block.
    pub fn register_with(
        &self,
        name: &'static str,
        importance: Importance,
        ask: impl Fn() -> Status + Send + Sync + 'static,
    ) {
        self.insert(name, Part { importance, source: Source::Asked(Arc::new(ask)) });
    }

    /// Registers a dependency behind a breaker: open is down, half-open is degraded.
    pub fn register_breaker(&self, importance: Importance, breaker: &Breaker) {
        let breaker = breaker.clone();
        self.register_with(breaker.name(), importance, move || match breaker.state() {
            BreakerState::Closed => Status::Ok,
            BreakerState::HalfOpen => Status::Degraded,
            BreakerState::Open => Status::Down,
        });
    }

    /// Tells the status of every part, by name.
    #[must_use]
    pub fn report(&self) -> Vec<Component> {
        // The questions are asked outside the lock: one may itself look at the registry.
        let parts: Vec<_> = self.lock(|parts| {
            let asked = parts.iter().map(|(name, part)| match &part.source {
                Source::Reported(status) => (*name, part.importance, *status, None),
                Source::Asked(ask) => (*name, part.importance, Status::Ok, Some(Arc::clone(ask))),
            });
            asked.collect()
        });
        parts
            .into_iter()
            .map(|(name, importance, reported, ask)| Component {
                name,
                importance,
                status: ask.map_or(reported, |ask| ask()),
            })
            .collect()
    }

    /// Tells how the whole is doing.
    #[must_use]
    pub fn overall(&self) -> Status {
        let weigh = |part: Component| match part.importance {
            Importance::Essential => part.status,
            Importance::Optional => part.status.min(Status::Degraded),
        };
        self.report().into_iter().map(weigh).max().unwrap_or(Status::Ok)
    }

    /// Tells whether the process can serve: no essential part is down.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.overall() != Status::Down
    }

    fn insert(&self, name: &'static str, part: Part) {
        self.lock(|parts| parts.insert(name, part));
    }

    fn lock<T>(&self, with: impl FnOnce(&mut BTreeMap<&'static str, Part>) -> T) -> T {
        // Nothing panics while the lock is held, so a poisoned one is still whole.
        with(&mut self.parts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A part's own entry in the registry.
#[derive(Clone, Debug)]
pub struct Reporter {
    registry: Registry,
    name: &'static str,
}

impl Reporter {
    /// Reports the part's status; the last report stands.
    pub fn set(&self, status: Status) {
        self.registry.lock(|parts| {
            if let Some(part) = parts.get_mut(self.name) {
                part.source = Source::Reported(status);
            }
        });
    }
}

#[cfg(test)]
mod tests;
