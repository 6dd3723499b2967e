//! When it pays to wait for more before a commit.
//!
//! A flush costs the same for one hand-over as for a hundred. While many arrive, a millisecond of
//! patience makes batches large and leaves the processor to the requests; one client alone, or a
//! few, never wait.

use std::time::Duration;

use tokio::time::Instant;

/// How long a commit waits for company; the runtime's timer may make two of it.
pub(super) const LINGER: Duration = Duration::from_millis(1);
/// Over how long hand-overs are counted.
const WINDOW: Duration = Duration::from_millis(20);
/// Hand-overs in one window, 4,000 a second, from which on there is always company.
const BUSY_FROM: usize = 80;
/// As many wait already that a flush is worth it.
const ENOUGH: usize = 256;

/// Counts hand-overs.
#[derive(Debug)]
pub(super) struct Pace {
    window_began: Instant,
    count: usize,
    is_busy: bool,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { window_began: now, count: 0, is_busy: false }
    }

    /// Counts what was taken after the wait.
    pub(super) fn count(&mut self, taken: usize) {
        self.count += taken;
    }

    /// Counts what was just taken, and says how long to wait for more.
    pub(super) fn wait_after(&mut self, taken: usize, now: Instant) -> Option<Duration> {
        self.count += taken;
        let passed = now.saturating_duration_since(self.window_began);
        if passed >= WINDOW {
            // A pause ends the crowd: what was counted may be spread over a long time.
            self.is_busy = self.count >= BUSY_FROM && passed < WINDOW * 4;
            (self.window_began, self.count) = (now, 0);
        }
        (self.is_busy && taken < ENOUGH).then_some(LINGER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(1);

    #[test]
    fn a_few_clients_never_wait() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        for _ in 0..1_000 {
            assert_eq!(pace.wait_after(2, now), None);
            now += STEP;
        }
    }

    #[test]
    fn a_crowd_waits_until_it_is_large_or_gone() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        for _ in 0..25 {
            pace.wait_after(8, now);
            now += STEP;
        }
        assert_eq!(pace.wait_after(8, now), Some(LINGER));
        assert_eq!(pace.wait_after(ENOUGH, now), None, "there is enough already");

        now += Duration::from_secs(1);
        assert_eq!(pace.wait_after(8, now), None, "the crowd is gone");
    }
}
