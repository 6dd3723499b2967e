//! How long keys and events are known: in the filters, and in the tables behind them.

use std::time::Duration;

use super::super::quota::EVENTS_KNOWN_FOR_S;
use super::super::state::TenantState;
use super::Book;
use crate::clock::Timestamp;
use crate::journal::KEEP_KEY_ROWS_FOR;

/// How long a key is kept after its use and after its period's end.
const KEEP_KEYS_FOR: Duration = Duration::from_hours(24);

/// How long an event is known after its period's end.
const KEEP_EVENTS_FOR: Duration = Duration::from_secs(EVENTS_KNOWN_FOR_S);

/// How long an event's row is kept at the least: the longest month, and as long after it.
const KEEP_EVENT_ROWS_FOR: Duration = Duration::from_hours(24 * (31 + 35));

impl Book {
    /// Since when rows of keys are kept, and of events: those of the open period and of every one
    /// after whose end they are still known, and for some time at the least, by the tenant's time
    /// and by the machine's.
    pub(super) fn forget_before(&self) -> (Timestamp, Timestamp) {
        let present = self.now();
        let now = present.min(self.clock.now()).since(Timestamp::MIN);
        let before = |rows_for: Duration, known_for: Duration| {
            let since = Timestamp::MIN.checked_add(now.saturating_sub(rows_for));
            let kept_since = self.state.quota().kept_since(present, known_for);
            kept_since.min(since.unwrap_or(Timestamp::MIN))
        };
        let keys = before(KEEP_KEY_ROWS_FOR, KEEP_KEYS_FOR);
        (keys, before(KEEP_EVENT_ROWS_FOR, KEEP_EVENTS_FOR))
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
