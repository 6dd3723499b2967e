//! Rate limits in this process: a strict window for strangers, GCRA for signed-in users.
//!
//! Both are pure functions of (state, now); the map around them is bounded, so a flood of
//! addresses costs no memory without end.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use tokio::time::Instant;

use crate::problem::{Problem, ProblemKind};

/// Parts of the map, so that cores rarely wait for one another.
const SHARDS: usize = 16;
/// Keys remembered by one shard; the stalest go first.
const KEYS_PER_SHARD_MAX: usize = 16_384;

/// `RateLimit-Policy` of the draft standard.
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// `RateLimit` of the draft standard.
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// How much is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// At most `quota` in any stretch of `window`, counted in two sliding halves.
    Window {
        /// Requests per window.
        quota: u64,
        /// The window.
        window: Duration,
    },
    /// One every `every` on average, `burst` at once (the generic cell rate algorithm).
    Cells {
        /// Time that one request pays for.
        every: Duration,
        /// Requests that may come at once.
        burst: u64,
    },
}

/// What is remembered of one client, in nanoseconds since the limiter's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// Window: its start. Cells: the theoretical arrival time.
    mark: u64,
    /// Requests in the window.
    count: u64,
    /// Requests in the window before.
    before: u64,
}

/// The limiter's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the request may pass.
    pub is_allowed: bool,
    /// Requests left right now.
    pub remaining: u64,
    /// Until more may come (refused) or everything is fresh again (allowed).
    pub wait: Duration,
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Policy {
    /// Judges one request at `now` and remembers it if it passes.
    pub fn judge(self, cell: &mut Cell, now: u64) -> Verdict {
        match self {
            Self::Window { quota, window } => judge_window(cell, now, quota, nanos(window).max(1)),
            Self::Cells { every, burst } => judge_cells(cell, now, nanos(every).max(1), burst),
        }
    }

    /// True once the cell says nothing any more.
    fn is_stale(self, cell: &Cell, now: u64) -> bool {
        match self {
            Self::Window { window, .. } => {
                now >= cell.mark.saturating_add(nanos(window).saturating_mul(2))
            }
            Self::Cells { .. } => now >= cell.mark,
        }
    }

    fn header(self, name: &str) -> String {
        match self {
            Self::Window { quota, window } => {
                format!("\"{name}\";q={quota};w={}", window.as_secs())
            }
            Self::Cells { every, .. } => {
                let per_second = nanos(Duration::from_secs(1)) / nanos(every).max(1);
                format!("\"{name}\";q={};w=1", per_second.max(1))
            }
        }
    }
}

fn judge_window(cell: &mut Cell, now: u64, quota: u64, window: u64) -> Verdict {
    let elapsed = now.saturating_sub(cell.mark);
    if cell.count == 0 && cell.before == 0 || elapsed >= window.saturating_mul(2) {
        *cell = Cell { mark: now, count: 0, before: 0 };
    } else if elapsed >= window {
        *cell = Cell { mark: cell.mark + window, count: 0, before: cell.count };
    }
    let elapsed = now.saturating_sub(cell.mark);
    let left = window.saturating_sub(elapsed);
    // The window before still weighs as much as of it lies within the last `window`.
    let weighed = u128::from(cell.before) * u128::from(left) / u128::from(window);
    let used = cell.count.saturating_add(u64::try_from(weighed).unwrap_or(u64::MAX));
    if used >= quota {
        return Verdict {
            is_allowed: false,
            remaining: 0,
            wait: Duration::from_nanos(left.max(1)),
        };
    }
    cell.count += 1;
    let remaining = quota - used - 1;
    Verdict { is_allowed: true, remaining, wait: Duration::from_nanos(left) }
}

fn judge_cells(cell: &mut Cell, now: u64, every: u64, burst: u64) -> Verdict {
    let depth = every.saturating_mul(burst);
    let arrival = cell.mark.max(now);
    let next = arrival.saturating_add(every);
    let allowed_at = next.saturating_sub(depth);
    if allowed_at > now {
        let wait = Duration::from_nanos(allowed_at - now);
        return Verdict { is_allowed: false, remaining: 0, wait };
    }
    cell.mark = next;
    let remaining = (now + depth).saturating_sub(next) / every;
    Verdict { is_allowed: true, remaining, wait: Duration::from_nanos(next - now) }
}

/// Remembers clients and judges their requests.
#[derive(Debug)]
pub struct Limiter<K> {
    name: &'static str,
    policy: Policy,
    policy_header: HeaderValue,
    start: Instant,
    hasher: RandomState,
    shards: [Mutex<HashMap<K, Cell>>; SHARDS],
}

impl<K: Hash + Eq> Limiter<K> {
    /// A limiter with one policy.
    pub fn new(name: &'static str, policy: Policy) -> Self {
        let policy_header = HeaderValue::from_str(&policy.header(name))
            .unwrap_or_else(|_| HeaderValue::from_static(""));
        Self {
            name,
            policy,
            policy_header,
            start: Instant::now(),
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// Charges one request.
    pub fn charge(&self, key: K) -> Charge {
        let now = nanos(self.start.elapsed());
        let shard = usize::try_from(self.hasher.hash_one(&key)).unwrap_or_default() % SHARDS;
        let mut cells = self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner);
        if cells.len() >= KEYS_PER_SHARD_MAX && !cells.contains_key(&key) {
            cells.retain(|_, cell| !self.policy.is_stale(cell, now));
            if cells.len() >= KEYS_PER_SHARD_MAX {
                // All are fresh: a flood. Forgetting them is kinder than refusing newcomers.
                cells.clear();
            }
        }
        let verdict = self.policy.judge(cells.entry(key).or_default(), now);
        Charge { name: self.name, policy: self.policy_header.clone(), verdict }
    }
}

/// A charged request.
#[derive(Clone, Debug)]
pub struct Charge {
    name: &'static str,
    policy: HeaderValue,
    verdict: Verdict,
}

impl Charge {
    /// The problem, if the request may not pass.
    pub fn refusal(&self) -> Option<Problem> {
        if self.verdict.is_allowed {
            return None;
        }
        let seconds = self.seconds();
        let problem = Problem::new(ProblemKind::RateLimited)
            .detail(format!("Try again in {seconds} s."))
            .retry_after(seconds);
        let mut headers = http::HeaderMap::new();
        self.write(&mut headers);
        Some(
            headers.iter().fold(problem, |problem, (name, value)| {
                problem.header(name.clone(), value.clone())
            }),
        )
    }

    /// Says on the answer how much is left.
    pub fn write(&self, headers: &mut http::HeaderMap) {
        let (left, seconds) = (self.verdict.remaining, self.seconds());
        let text = format!("\"{}\";r={left};t={seconds}", self.name);
        headers.insert(RATE_LIMIT_POLICY, self.policy.clone());
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(RATE_LIMIT, value);
        }
    }

    fn seconds(&self) -> u64 {
        let whole = self.verdict.wait.as_secs();
        whole + u64::from(self.verdict.wait.subsec_nanos() > 0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const MINUTE: Policy = Policy::Window { quota: 60, window: Duration::from_mins(1) };
    const USER: Policy = Policy::Cells { every: Duration::from_millis(100), burst: 20 };

    #[test]
    fn the_sixty_first_request_of_a_minute_is_refused() {
        let mut cell = Cell::default();

        for i in 0..60 {
            assert!(MINUTE.judge(&mut cell, i * SECOND).is_allowed, "{i}");
        }

        let verdict = MINUTE.judge(&mut cell, 59 * SECOND + 1);
        assert!(!verdict.is_allowed);
        assert!(verdict.wait <= Duration::from_secs(1));
    }

    #[test]
    fn a_user_may_burst_and_then_goes_on_at_the_rate() {
        let mut cell = Cell::default();

        let at_once = (0..50).filter(|_| USER.judge(&mut cell, 5).is_allowed).count();
        let later = (0..50).filter(|_| USER.judge(&mut cell, 5 + SECOND).is_allowed).count();

        assert_eq!((at_once, later), (20, 10));
    }

    fn steps() -> impl Strategy<Value = Vec<u64>> {
        proptest::collection::vec(0..3 * SECOND, 1..300)
    }

    proptest! {
        #[test]
        fn no_stretch_of_a_minute_passes_more_than_twice_the_quota(steps in steps()) {
            let (mut cell, mut now, mut passed) = (Cell::default(), 0, Vec::new());
            for step in steps {
                now += step / 8;
                if MINUTE.judge(&mut cell, now).is_allowed {
                    passed.push(now);
                }
            }
            for (i, from) in passed.iter().enumerate() {
                let within = passed[i..].iter().take_while(|at| **at < from + 60 * SECOND).count();
                prop_assert!(within <= 120);
            }
        }

        #[test]
        fn a_stretch_never_passes_more_than_burst_plus_rate(steps in steps()) {
            let (mut cell, mut now, mut passed) = (Cell::default(), 0, Vec::new());
            for step in steps {
                now += step / 40;
                if USER.judge(&mut cell, now).is_allowed {
                    passed.push(now);
                }
            }
            for (i, from) in passed.iter().enumerate() {
                for (j, to) in passed.iter().enumerate().skip(i) {
                    let bound = 20 + (to - from) / (SECOND / 10) + 1;
                    prop_assert!((j - i + 1) as u64 <= bound);
                }
            }
        }

        #[test]
        fn a_refused_request_passes_after_the_stated_wait(steps in steps()) {
            for policy in [MINUTE, USER] {
                let (mut cell, mut now) = (Cell::default(), 0);
                for step in &steps {
                    now += step / 50;
                    let verdict = policy.judge(&mut cell, now);
                    if !verdict.is_allowed && policy == USER {
                        now += nanos(verdict.wait);
                        prop_assert!(policy.judge(&mut cell, now).is_allowed);
                    }
                }
            }
        }
    }
}
