//! Building blocks of supervision: they know no domain, no database and no protocol.
//!
//! Everything here measures time with [`tokio::time::Instant`], so that tests can pause it, and takes
//! its randomness as a parameter. Call order towards a dependency: [`gate`], then [`breaker`] (which
//! holds the timeout), then the client; [`mod@retry`] goes around that, at one layer only.

pub mod breaker;
pub mod deadline;
pub mod gate;
pub mod health;
pub mod measured;
pub mod restart;
pub mod retry;
pub mod shutdown;
pub mod spawn;

pub use breaker::{Breaker, BreakerError, BreakerSettings, BreakerState};
pub use deadline::{Deadline, DeadlineExceeded};
pub use gate::{EnterError, Full, Gate, Permit};
pub use restart::{Intensity, IntensitySettings, Verdict};
pub use retry::{Budget, RetryPolicy, Retryable, retry};
pub use shutdown::Shutdown;
pub use spawn::{Task, TaskError, Tasks, spawn, spawn_blocking};
