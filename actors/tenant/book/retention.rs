//! How long keys and events are known: in the filters, and in the tables behind them.

use std::time::Duration;

use super::super::state::TenantState;
use super::Book;
use crate::clock::Timestamp;
use crate::journal::KEEP_KEY_ROWS_FOR;

/// How long a key is kept after its use and after its period's end.
const KEEP_KEYS_FOR: Duration = Duration::from_hours(24);

/// How long an event is known after its period's end.
const KEEP_EVENTS_FOR: Duration = Duration::from_hours(24 * 35);

/// How long an event's row is kept at the least: the longest month, and as long after it.
const KEEP_EVENT_ROWS_FOR: Duration = Duration::from_hours(24 * (31 + 35));

impl Book {
    /// Since when rows of keys are kept, and of events: for as long as the period is open, and for
    /// some time at the least, by the tenant's time and by the machine's.
    pub(super) fn forget_before(&self) -> (Timestamp, Timestamp) {
        let opened_at = self.state.quota().period().map_or(Timestamp::MIN, |period| period.start);
        let now = self.now().min(self.clock.now()).since(Timestamp::MIN);
        let before = |kept_for: Duration| {
            let since = Timestamp::MIN.checked_add(now.saturating_sub(kept_for));
            opened_at.min(since.unwrap_or(Timestamp::MIN))
        };
        (before(KEEP_KEY_ROWS_FOR), before(KEEP_EVENT_ROWS_FOR))
    }
}

/// Until when a key used now is known.
pub(super) fn keep_keys_until(state: &TenantState, at: Timestamp) -> Timestamp {
    after_period(state, at, KEEP_KEYS_FOR)
}

/// Until when an event counted now is known.
pub(super) fn keep_events_until(state: &TenantState, at: Timestamp) -> Timestamp {
    after_period(state, at, KEEP_EVENTS_FOR)
}

fn after_period(state: &TenantState, at: Timestamp, keep_for: Duration) -> Timestamp {
    let end = state.quota().period().map_or(at, |period| period.end.max(at));
    end.checked_add(keep_for).unwrap_or(Timestamp::MAX)
}
