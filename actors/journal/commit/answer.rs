//! How those who wait are told.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::batch::{Batch, Unit};
use crate::journal::{AppendError, Committed, Done, Handover};

/// Tells a hand-over that it is not in the log; its actor's state is worth nothing any more.
pub(super) fn refuse(handover: Handover, error: AppendError) {
    handover.incarnation.retire();
    drop(handover.room);
    call(handover.done, Err(error));
}

/// Tells a whole batch that it is not in the log, or that nobody knows.
pub(super) fn fail(batch: Batch, error: AppendError) {
    for unit in batch.units {
        match unit {
            Unit::Append { incarnation, done, room, .. } => {
                incarnation.retire();
                drop(room);
                call(done, Err(error));
            }
            Unit::Activate { reply, .. } => {
                let _ = reply.send(Err(error));
            }
        }
    }
}

/// Runs a callback of one tenant so that its panic is no other's.
pub(super) fn call(done: Done, result: Result<Committed, AppendError>) {
    if catch_unwind(AssertUnwindSafe(|| done.call(result))).is_err() {
        tracing::error!("an answer's callback panicked");
    }
}
