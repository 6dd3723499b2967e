//! What can go wrong with a stored row, grouped by what the caller can do about it.

/// A failure of a statement or a transaction.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No room on the device: nothing was written, and reads still work.
    #[error("the disk is full")]
    DiskFull,
    /// Another writer held the file for too long, or a serializable transaction must be retried.
    #[error("the database is busy")]
    Busy,
    /// A row with this key exists already.
    #[error("a row with this key exists already")]
    Duplicate,
    /// The row is not in the state that the change assumed.
    #[error("{table}: the row changed meanwhile")]
    Changed {
        /// The table that was to be changed.
        table: &'static str,
    },
    /// A stored value that this version cannot read.
    #[error("{table}: row {id} has an unreadable {column}")]
    Corrupt {
        /// The table of the row.
        table: &'static str,
        /// The row's key.
        id: String,
        /// The column that could not be read.
        column: &'static str,
    },
    /// The device failed under the database: nothing that it says can be trusted any more.
    #[error("the device failed under the database")]
    Io(#[source] sqlx::Error),
    /// The database cannot be reached, or the pool is exhausted.
    #[error("the database cannot be reached")]
    Unavailable(#[source] sqlx::Error),
    /// The statement itself is wrong, or the answer was not what it promised.
    #[error("a statement failed")]
    Statement(#[source] sqlx::Error),
}

impl StoreError {
    /// The server did not answer in time: what was asked of it may have happened or not.
    pub(crate) fn timed_out() -> Self {
        sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()).into()
    }

    /// Whether the same call may succeed later without any change.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::DiskFull | Self::Busy | Self::Unavailable(_))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(cause) if cause.is_unique_violation() => Self::Duplicate,
            sqlx::Error::Database(cause) => match class_of(cause.code().as_deref()) {
                Class::Full => Self::DiskFull,
                Class::Busy => Self::Busy,
                Class::Device => Self::Io(error),
                Class::Gone => Self::Unavailable(error),
                Class::Other => Self::Statement(error),
            },
            sqlx::Error::PoolTimedOut => Self::Busy,
            sqlx::Error::Io(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unavailable(error),
            _ => Self::Statement(error),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Class {
    Full,
    Busy,
    Device,
    Gone,
    Other,
}

/// Sorts result codes: SQLite's are decimal numbers whose low byte is the primary code,
/// PostgreSQL's have five characters.
fn class_of(code: Option<&str>) -> Class {
    let Some(code) = code else { return Class::Other };
    if code.len() == 5 {
        return class_of_state(code);
    }
    match code.parse::<u32>().map(|number| number & 0xff) {
        Ok(13) => Class::Full,
        Ok(5 | 6) => Class::Busy,
        // I/O error, corrupt, cannot open, not a database, read only.
        Ok(8 | 10 | 11 | 14 | 26) => Class::Device,
        _ => Class::Other,
    }
}

/// Sorts PostgreSQL's states. What is left in `Other` is about the statement or its values: only
/// that may be held against whoever gave them.
fn class_of_state(state: &str) -> Class {
    match (state, state.get(..2).unwrap_or_default()) {
        ("53100", _) => Class::Full,
        // An operator's cancel; the statement was taken back.
        ("57014" | "40001" | "40P01", _) | (_, "55") => Class::Busy,
        ("XX001" | "XX002", _) | (_, "58") => Class::Device,
        // The connection or the server went away; of a transaction, the server ended it or it is
        // read only, as on a primary that became a standby. The next connection is a new chance.
        ("40003", _) | (_, "08" | "25" | "53" | "57") => Class::Gone,
        _ => Class::Other,
    }
}

/// Failures for tests of who has to deal with them.
#[cfg(test)]
impl StoreError {
    pub(crate) fn gone() -> Self {
        sqlx::Error::WorkerCrashed.into()
    }

    pub(crate) fn refused() -> Self {
        Self::Statement(sqlx::Error::RowNotFound)
    }

    pub(crate) fn broken_device() -> Self {
        Self::Io(sqlx::Error::RowNotFound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extended_codes_belong_to_their_primary_code() {
        assert_eq!(class_of(Some("13")), Class::Full);
        assert_eq!(class_of(Some("517")), Class::Busy);
        assert_eq!(class_of(Some("1034")), Class::Device);
        assert_eq!(class_of(Some("4874")), Class::Device);
        assert_eq!(class_of(Some("53100")), Class::Full);
        assert_eq!(class_of(Some("40001")), Class::Busy);
        assert_eq!(class_of(Some("57P01")), Class::Gone);
        assert_eq!(class_of(Some("25P03")), Class::Gone, "idle in a transaction for too long");
        assert_eq!(class_of(Some("57014")), Class::Busy);
        assert_eq!(class_of(Some("22021")), Class::Other, "a byte that no text may have");
        assert_eq!(class_of(None), Class::Other);
    }
}
