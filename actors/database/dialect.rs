//! The few places where the databases differ, and the only generated SQL.

use std::fmt::Write;

/// Which database serves the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// Embedded, two files.
    Sqlite,
    /// A server, one database.
    Postgres,
}

impl Backend {
    /// How a writing transaction begins. SQLite takes the write lock at once: a transaction that
    /// reads first and writes later fails half-way when another writer came between.
    pub fn begin_statement(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE",
            Self::Postgres => "BEGIN ISOLATION LEVEL SERIALIZABLE",
        }
    }

    /// How many shards the journal has: one writer per file is all that SQLite can use.
    pub fn shard_count(self) -> u16 {
        match self {
            Self::Sqlite => 1,
            Self::Postgres => 64,
        }
    }

    /// What every connection is told before its first use.
    pub fn connection_setup(self) -> &'static str {
        match self {
            // FULL: an acknowledged write survives a power cut. Automatic checkpoints are off
            // because they would run inside COMMIT; `upkeep` does them on its own connection.
            // 32 MiB of cache: the pages that a transaction of the projector touches stay in it.
            Self::Sqlite => {
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                 PRAGMA wal_autocheckpoint = 0; PRAGMA foreign_keys = ON; \
                 PRAGMA cache_size = -32768; \
                 PRAGMA busy_timeout = 5000; PRAGMA temp_store = MEMORY; \
                 PRAGMA journal_size_limit = 67108864;"
            }
            Self::Postgres => {
                "SET synchronous_commit = on; SET lock_timeout = '5s'; \
                 SET idle_in_transaction_session_timeout = '10s';"
            }
        }
    }

    /// What a connection is told when it goes back to its pool. A cancelled `BEGIN` leaves a
    /// PostgreSQL session inside a transaction that sqlx does not know of.
    pub fn release_statement(self) -> Option<&'static str> {
        match self {
            Self::Sqlite => None,
            Self::Postgres => Some("ROLLBACK"),
        }
    }
}

/// `($1, $2), ($3, $4)`: `rows` groups of `columns` numbered placeholders.
pub fn placeholders(rows: usize, columns: usize) -> String {
    let mut text = String::with_capacity(rows * columns * 5);
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ", (" });
        for column in 1..=columns {
            let comma = if column == 1 { "" } else { ", " };
            write!(text, "{comma}${}", row * columns + column).expect("a String never refuses");
        }
        text.push(')');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_count_through_all_rows() {
        assert_eq!(placeholders(2, 3), "($1, $2, $3), ($4, $5, $6)");
        assert_eq!(placeholders(0, 3), "");
    }
}
