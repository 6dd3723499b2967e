//! Restart intensity: when to start again, and when to put something into quarantine instead.
//!
//! The counterpart of a supervisor's `max_restarts` and `within`. It counts the crashes of one child,
//! so a poisoned child exhausts its own patience and nobody else's.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// After how many quarantine caps without a crash the past is forgiven: a child that ran this long is
/// sound again, and its next quarantine starts from the shortest.
const FORGIVEN_AFTER_CAPS: u32 = 4;

/// When a child is started again after its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// After every end (OTP: permanent).
    Always,
    /// After a failure alone (OTP: transient).
    OnFailure,
    /// Not at all (OTP: temporary).
    Never,
}

/// The limits of an [`Intensity`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntensitySettings {
    /// The crash that is this many in the window leads into quarantine; at least 1.
    pub max_crashes: u32,
    /// The length of the window.
    pub within: Duration,
    /// The length of the first quarantine.
    pub quarantine: Duration,
    /// The length that doubling never exceeds.
    pub max_quarantine: Duration,
}

/// What to do about a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Start the child again.
    Restart,
    /// Refuse its work for a while; it starts again afterwards.
    Quarantine {
        /// How long.
        for_: Duration,
    },
}

// Calm => Quarantined (max_crashes within the window) => Calm (the quarantine is over or lifted)
/// Counts the crashes of one child.
///
/// ```
/// use std::time::Duration;
/// use tenantry_supervision::restart::{Intensity, IntensitySettings, Verdict};
/// use tokio::time::Instant;
///
/// let mut intensity = Intensity::new(IntensitySettings {
///     max_crashes: 3,
///     within: Duration::from_mins(1),
///     quarantine: Duration::from_secs(30),
///     max_quarantine: Duration::from_mins(10),
/// });
/// let now = Instant::now();
/// assert_eq!(intensity.crashed(now), Verdict::Restart);
/// assert_eq!(intensity.crashed(now), Verdict::Restart);
/// assert_eq!(intensity.crashed(now), Verdict::Quarantine { for_: Duration::from_secs(30) });
/// assert!(intensity.quarantined_for(now + Duration::from_secs(29)).is_some());
/// assert!(intensity.quarantined_for(now + Duration::from_secs(30)).is_none());
/// ```
#[derive(Clone, Debug)]
pub struct Intensity {
    settings: IntensitySettings,
    /// The crashes inside the window, oldest first; never more than `max_crashes`.
    crashes: VecDeque<Instant>,
    /// How many quarantines in a row, which is how often the length doubled.
    quarantines: u32,
    quarantined_until: Option<Instant>,
}

impl Intensity {
    /// Starts without a crash.
    #[must_use]
    pub fn new(settings: IntensitySettings) -> Self {
        Self { settings, crashes: VecDeque::new(), quarantines: 0, quarantined_until: None }
    }

    /// Records a crash and says what to do about it.
    pub fn crashed(&mut self, now: Instant) -> Verdict {
        self.forgive(now);
        let within = self.settings.within;
        self.crashes.retain(|at| now.saturating_duration_since(*at) < within);
        self.crashes.push_back(now);
        if self.crashes.len() < self.settings.max_crashes.max(1) as usize {
            return Verdict::Restart;
        }
        self.crashes.clear();
        let for_ = self.next_quarantine();
        self.quarantines = self.quarantines.saturating_add(1);
        self.quarantined_until = Some(now + for_);
        Verdict::Quarantine { for_ }
    }

    /// Tells how long the quarantine still lasts, if there is one.
    #[must_use]
    pub fn quarantined_for(&self, now: Instant) -> Option<Duration> {
        let left = self.quarantined_until?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    /// Ends a quarantine early, as an operator may; what was counted is forgotten.
    pub fn lift(&mut self) {
        *self = Self::new(self.settings);
    }

    fn next_quarantine(&self) -> Duration {
        let factor = 1_u32.checked_shl(self.quarantines).unwrap_or(u32::MAX);
        let doubled = self.settings.quarantine.checked_mul(factor).unwrap_or(Duration::MAX);
        doubled.min(self.settings.max_quarantine)
    }

    /// Forgets earlier quarantines once the child has been calm for long enough.
    fn forgive(&mut self, now: Instant) {
        let Some(until) = self.quarantined_until else { return };
        let calm = now.saturating_duration_since(until);
        if calm >= self.settings.max_quarantine.saturating_mul(FORGIVEN_AFTER_CAPS) {
            self.quarantines = 0;
            self.quarantined_until = None;
        }
    }
}

#[cfg(test)]
mod tests;
