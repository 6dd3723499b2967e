//! Submits rows until it is known whether they are in the log.

use std::time::Duration;

use tokio::time::sleep;

use super::{Committer, Log};
use crate::database::{Fatal, StoreError};
use crate::journal::AppendError;
use crate::journal::room::Gate;
use crate::journal::row::Row;
use crate::planted::{self, Bug};

/// How long the same bytes wait before they are tried again, doubling up to the second.
const RETRY_FIRST: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Every row is in the log, but those of these shards: another owner wrote there.
    Decided { lost: Vec<u16> },
    /// The database looked at the rows and said no: none of them is in the log.
    Rejected,
    /// They were not tried to the end.
    GivenUp(AppendError),
    /// The storage cannot be trusted any more; rows may be in the log or not.
    Broken(AppendError, Fatal),
}

impl<L: Log> Committer<L> {
    /// Submits the rows until it is known whether they are in the log.
    pub(super) async fn submit(&mut self, rows: &[Row]) -> Outcome {
        let mut wait = RETRY_FIRST;
        let mut is_unknown = false;
        loop {
            let error = match self.log.append(rows).await {
                Ok(appended) => match self.lost_among(rows, &appended).await {
                    Ok(lost) => {
                        self.admission.set_gate(Gate::Open);
                        return Outcome::Decided { lost };
                    }
                    Err(error) => error,
                },
                Err(error) => error,
            };
            if planted::is(Bug::FullDiskIsDone) && matches!(error, StoreError::DiskFull) {
                return Outcome::Decided { lost: Vec::new() };
            }
            let (gate, given_up) = match &error {
                StoreError::DiskFull => (Gate::DiskFull, AppendError::DiskFull),
                StoreError::Busy => (Gate::Unavailable, AppendError::Failed),
                StoreError::Unavailable(_) => {
                    is_unknown = true;
                    (Gate::Unavailable, AppendError::OutcomeUnknown)
                }
                StoreError::Io(_) | StoreError::Corrupt { .. } => {
                    let fatal = Fatal::Device { file: "journal.db", reason: chain_of(&error) };
                    return Outcome::Broken(AppendError::OutcomeUnknown, fatal);
                }
                _ if !is_unknown => {
                    tracing::error!(error = chain_of(&error), "the journal refused rows");
                    return Outcome::Rejected;
                }
                _ => {
                    let fatal = Fatal::Device { file: "journal.db", reason: chain_of(&error) };
                    return Outcome::Broken(AppendError::OutcomeUnknown, fatal);
                }
            };
            self.admission.set_gate(gate);
            tracing::warn!(error = chain_of(&error), "a commit is tried again");
            tokio::select! {
                () = sleep(wait) => {}
                () = self.give_up.cancelled() => {
                    let error = if is_unknown { AppendError::OutcomeUnknown } else { given_up };
                    return Outcome::GivenUp(error);
                }
            }
            wait = RETRY_MAX.min(wait * 2);
            if is_unknown {
                let reopened = match self.log.reopen().await {
                    Ok(()) => self.look_back().await,
                    Err(error) => Err(error),
                };
                match reopened {
                    Ok(Ok(())) => {}
                    Ok(Err(fatal)) => return Outcome::Broken(AppendError::OutcomeUnknown, fatal),
                    Err(error) => {
                        tracing::warn!(error = chain_of(&error), "the journal cannot be reached");
                    }
                }
            }
        }
    }

    /// A row that was not returned stood there already: ours from an earlier try, or another's.
    async fn lost_among(
        &mut self,
        rows: &[Row],
        appended: &[(u16, i64)],
    ) -> Result<Vec<u16>, StoreError> {
        let mut lost = Vec::new();
        for row in rows {
            if !appended.contains(&(row.shard, row.seq))
                && self.log.batch_at(row.shard, row.seq).await?.as_ref() != Some(&row.batch_id)
            {
                lost.push(row.shard);
            }
        }
        Ok(lost)
    }
}

/// The error and its causes in one line.
pub(in crate::journal) fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
