//! What ends the process: from then on its answers could be wrong.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Why the process must end: what it would answer from now on could be wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    /// The device failed under the journal or the projections.
    #[error("the device failed under {file}: {reason}")]
    Device {
        /// The file that was being written.
        file: &'static str,
        /// What the database said.
        reason: String,
    },
    /// A file was removed or replaced under the running process.
    #[error("{} was removed or replaced while in use", path.display())]
    FileReplaced {
        /// The path that no longer leads to the open file.
        path: PathBuf,
    },
    /// Another owner has written to a shard of ours.
    #[error("shard {shard} has another owner")]
    Fenced {
        /// The shard that was lost.
        shard: u16,
    },
    /// The database has lost rows that were committed: another server of it took over too early.
    #[error("row {seq} of shard {shard} was committed and is not in the log any more")]
    Regressed {
        /// The shard.
        shard: u16,
        /// The row that is missing or another one.
        seq: i64,
    },
    /// A task ended that must not.
    #[error("the task {name} ended")]
    TaskEnded {
        /// The task.
        name: &'static str,
    },
    /// The projector failed again and again.
    #[error("the projector gave up: {reason}")]
    Projector {
        /// The last failure.
        reason: String,
    },
}

/// What the root does on a [`Fatal`]; it ends the process, nothing below it does.
#[derive(Clone)]
pub struct FatalHook(Arc<dyn Fn(&Fatal) + Send + Sync>);

impl FatalHook {
    /// Wraps what the root wants to happen.
    pub fn new(hook: impl Fn(&Fatal) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hook))
    }

    /// Reports that the storage cannot be trusted any more.
    pub fn raise(&self, fatal: &Fatal) {
        tracing::error!(reason = %fatal, "storage failed for good");
        (self.0)(fatal);
    }
}

impl Default for FatalHook {
    fn default() -> Self {
        Self::new(|_| {})
    }
}

impl fmt::Debug for FatalHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FatalHook")
    }
}
