//! The few places where the databases differ, and the only generated SQL.

use std::fmt::Write;

/// What every PostgreSQL connection is told: answers wait for the disk, locks are waited for in
/// vain no longer than the caller waits, and a server notices that we have gone. Where the server
/// can, it packs long texts with lz4: its own way costs several times the time.
macro_rules! postgres_setup {
    ($name:literal) => {
        concat!(
            "SET application_name = '",
            $name,
            "'; SET synchronous_commit = on; SET lock_timeout = '5s'; \
             SET idle_in_transaction_session_timeout = '10s'; \
             SET client_connection_check_interval = '1s'; SET tcp_keepalives_idle = 10; \
             SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; \
             SELECT set_config('default_toast_compression', 'lz4', false) FROM pg_settings \
             WHERE name = 'default_toast_compression' AND 'lz4' = ANY(enumvals);"
        )
    };
}

/// What every SQLite connection is told. FULL: an acknowledged write survives a power cut.
/// Automatic checkpoints are off because they would run inside COMMIT; `upkeep` does them on its
/// own connection. 32 MiB of cache: the pages that a transaction of the projector touches stay in
/// it.
macro_rules! sqlite_setup {
    ($before:literal) => {
        concat!(
            $before,
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
             PRAGMA wal_autocheckpoint = 0; PRAGMA foreign_keys = ON; \
             PRAGMA cache_size = -32768; \
             PRAGMA busy_timeout = 5000; PRAGMA temp_store = MEMORY; \
             PRAGMA journal_size_limit = 67108864;"
        )
    };
}

/// Which database serves the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// Embedded, two files.
    Sqlite,
    /// A server, one database.
    Postgres,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The committer's: it appends to the log.
    Journal,
    /// Reads the log.
    JournalReader,
    /// Writes for the identity plane.
    Identity,
    /// Writes projections and snapshots.
    Background,
    /// Reads everything but the log.
    Reader,
    /// Schema and checkpoints.
    Upkeep,
    /// The same, of the log's own file.
    JournalUpkeep,
}

impl Backend {
    /// How a writing transaction begins that acts on what it read. SQLite takes the write lock at
    /// once: a transaction that reads first and writes later fails half-way when another writer
    /// came between.
    pub fn begin_statement(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE",
            Self::Postgres => "BEGIN ISOLATION LEVEL SERIALIZABLE",
        }
    }

    /// How a writing transaction begins whose statements each stand alone.
    pub(super) fn begin_background_statement(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE",
            Self::Postgres => "BEGIN ISOLATION LEVEL READ COMMITTED",
        }
    }

    /// How a reading transaction begins that sees one committed state.
    pub(super) fn freeze_statement(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN",
            Self::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY",
        }
    }

    /// How many shards the journal has: one writer per file is all that SQLite can use.
    pub fn shard_count(self) -> u16 {
        match self {
            Self::Sqlite => 1,
            Self::Postgres => 64,
        }
    }

    /// How many connections a pool may open. With the committer's one, a server of ours takes 16
    /// of PostgreSQL's at the most. In SQLite each costs a thread, and one file has one writer.
    pub(super) fn connections(self, role: Role) -> u32 {
        match (self, role) {
            // One writer, so that serializable transactions of one server never meet.
            (_, Role::Journal | Role::Identity | Role::Upkeep | Role::JournalUpkeep)
            | (Self::Sqlite, Role::Background) => 1,
            (_, Role::JournalReader) => 2,
            (_, Role::Background) | (Self::Sqlite, Role::Reader) => 4,
            (Self::Postgres, Role::Reader) => 8,
        }
    }

    /// What every connection is told before its first use.
    pub(super) fn connection_setup(self, role: Role) -> &'static str {
        match (self, role) {
            // A row of the log is many lines, written once: larger pages are fewer calls. A file
            // that exists keeps the size that it has.
            (Self::Sqlite, Role::Journal | Role::JournalReader | Role::JournalUpkeep) => {
                sqlite_setup!("PRAGMA page_size = 16384; ")
            }
            (Self::Sqlite, _) => sqlite_setup!(""),
            // No time limit on the statement: one that is cancelled while it waits for a standby
            // answers as if it had been replicated.
            (Self::Postgres, Role::Journal) => postgres_setup!("tenantry.journal"),
            (Self::Postgres, Role::Background) => postgres_setup!("tenantry.background"),
            (Self::Postgres, Role::Identity) => postgres_setup!("tenantry.identity"),
            (Self::Postgres, Role::Reader | Role::JournalReader) => {
                postgres_setup!("tenantry.reader")
            }
            // Of two servers that start at once one waits until the other has migrated.
            (Self::Postgres, Role::Upkeep | Role::JournalUpkeep) => {
                concat!(postgres_setup!("tenantry.upkeep"), " SET lock_timeout = '1min';")
            }
        }
    }

    /// What a connection is told when it goes back to its pool. A cancelled `BEGIN` leaves a
    /// PostgreSQL session inside a transaction that sqlx does not know of. The `BEGIN` in front is
    /// there because a lone `ROLLBACK` without one fills the server's log with warnings.
    pub fn release_statement(self) -> Option<&'static str> {
        match self {
            Self::Sqlite => None,
            Self::Postgres => Some("BEGIN; ROLLBACK"),
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
