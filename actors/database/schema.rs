//! Brings the schema up to date, and looks whether the library or server below can be trusted.

use std::collections::BTreeSet;

use sqlx::migrate::Migrator;
use sqlx::{AnyConnection, Connection, Executor, Row};

use super::{DatabaseError, StoreError};

/// The first SQLite without the WAL-reset corruption bug.
const OLDEST_SQLITE: [u32; 3] = [3, 51, 3];
/// The first PostgreSQL that notices, while it works, that its client has gone.
const OLDEST_POSTGRES: u32 = 14;

static JOURNAL_MIGRATIONS: Migrator = sqlx::migrate!("../migrations/journal");
static MAIN_MIGRATIONS: Migrator = sqlx::migrate!("../migrations/main");

const VERSION_OF_SQLITE: &str = "SELECT sqlite_version()";
/// `SHOW` and settings come as text; a boolean of PostgreSQL does not pass through the driver.
const SERVER: &str = "SELECT current_setting('server_version_num'), \
     current_setting('server_encoding'), CAST(pg_is_in_recovery() AS TEXT), \
     current_setting('fsync'), current_setting('full_page_writes')";
/// Columns whose text is compared by the rules of a language.
const LANGUAGE_COLUMNS: &str = "SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT) \
     FROM information_schema.columns \
     WHERE table_schema = current_schema() AND data_type = 'text' \
     AND COALESCE(CAST(collation_name AS TEXT), '') <> 'C' ORDER BY 1, 2";

/// Brings both files up to date.
pub(super) async fn migrate_sqlite(
    journal: &mut AnyConnection,
    main: &mut AnyConnection,
) -> Result<(), DatabaseError> {
    migrate("journal.db", &JOURNAL_MIGRATIONS, journal).await?;
    migrate("tenantry.db", &MAIN_MIGRATIONS, main).await
}

/// Brings the one database up to date; of two that start at once, one waits for the other.
pub(super) async fn migrate_postgres(connection: &mut AnyConnection) -> Result<(), DatabaseError> {
    migrate("the database", &all_migrations(), connection).await?;
    compare_by_bytes(connection).await.map_err(DatabaseError::Store)
}

fn all_migrations() -> Migrator {
    let both = JOURNAL_MIGRATIONS.iter().chain(MAIN_MIGRATIONS.iter());
    Migrator::with_migrations(both.cloned().collect())
}

async fn migrate(
    file: &'static str,
    migrator: &Migrator,
    connection: &mut AnyConnection,
) -> Result<(), DatabaseError> {
    migrator.run(connection).await.map_err(|source| DatabaseError::Migrate { file, source })
}

/// Gives every text column of ours the byte order that SQLite has: keys and cursors rely on it,
/// and a database's own order is that of a language.
async fn compare_by_bytes(connection: &mut AnyConnection) -> Result<(), StoreError> {
    let own = own_tables();
    let mut tx = connection.begin().await?;
    let rows = sqlx::query(LANGUAGE_COLUMNS).fetch_all(&mut *tx).await?;
    for row in rows {
        let (table, column): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        if own.contains(table.as_str()) {
            let text = format!("ALTER TABLE {table} ALTER COLUMN {column} TYPE TEXT COLLATE \"C\"");
            tx.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(text))).await?;
        }
    }
    Ok(tx.commit().await?)
}

/// The names of the tables that the migrations leave.
pub(super) fn own_tables() -> BTreeSet<&'static str> {
    let both = JOURNAL_MIGRATIONS.iter().chain(MAIN_MIGRATIONS.iter());
    let mut tables = BTreeSet::new();
    for line in both.flat_map(|migration| migration.sql.as_str().lines()) {
        let words: Vec<&str> = line.trim_end_matches(';').split([' ', '(']).collect();
        match *words {
            ["CREATE", "TABLE", name, ..] => {
                tables.insert(name);
            }
            ["DROP", "TABLE", name] => {
                tables.remove(name);
            }
            ["ALTER", "TABLE", old, "RENAME", "TO", new] => {
                tables.remove(old);
                tables.insert(new);
            }
            _ => {}
        }
    }
    tables
}

/// Refuses a library that can lose what it was given.
pub(super) async fn check_sqlite(connection: &mut AnyConnection) -> Result<(), DatabaseError> {
    let row = sqlx::query(VERSION_OF_SQLITE).fetch_one(connection).await;
    let found: String = row.and_then(|row| row.try_get(0)).map_err(StoreError::from)?;
    if is_recent(&found) { Ok(()) } else { Err(DatabaseError::LibraryTooOld { found }) }
}

fn is_recent(version: &str) -> bool {
    let parts: Vec<u32> = version.split('.').map_while(|part| part.parse().ok()).collect();
    parts.as_slice() >= OLDEST_SQLITE.as_slice()
}

/// Refuses a server that cannot serve; returns its version, and what of its settings risks what
/// was acknowledged.
pub(super) async fn check_postgres(
    connection: &mut AnyConnection,
) -> Result<(u32, Vec<String>), DatabaseError> {
    let row = sqlx::query(SERVER).fetch_one(connection).await.map_err(StoreError::from)?;
    let word = |at: usize| row.try_get::<String, _>(at).map_err(StoreError::from);
    let (number, encoding, is_standby) = (word(0)?, word(1)?, word(2)?);
    let version = number.parse::<u32>().unwrap_or(0) / 10_000;
    let refuse = |reason| Err(DatabaseError::Server { reason });
    if version < OLDEST_POSTGRES {
        return refuse(format!(
            "PostgreSQL {version} is too old; at least {OLDEST_POSTGRES} is needed"
        ));
    }
    if encoding != "UTF8" {
        return refuse(format!("its encoding is {encoding}; make it with `ENCODING 'UTF8'`"));
    }
    if is_standby == "true" {
        return refuse("it is a standby; connect to the primary".to_owned());
    }
    let off = [("fsync", word(3)?), ("full_page_writes", word(4)?)];
    let off = off.into_iter().filter(|(_, value)| value != "on");
    let risky = |(name, _)| format!("`{name}` is off: a power cut loses what was saved");
    Ok((version, off.map(risky).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_libraries_are_known() {
        assert!(is_recent("3.51.3"));
        assert!(is_recent("3.52.0"));
        assert!(is_recent("4.0"));
        assert!(!is_recent("3.51.2"));
        assert!(!is_recent("3.7.17"));
        assert!(!is_recent("garbage"));
    }

    #[test]
    fn migrations_of_both_folders_never_share_a_number() {
        let all = all_migrations();
        let numbers: BTreeSet<_> = all.iter().map(|migration| migration.version).collect();

        assert_eq!(numbers.len(), all.iter().count());
    }

    #[test]
    fn own_tables_are_found_by_name() {
        let own = own_tables();

        assert!(own.contains("journal") && own.contains("users"), "{own:?}");
        assert!(own.contains("mail_outbox") && !own.contains("mail_outbox_next"), "{own:?}");
        assert!(own.iter().all(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_')));
    }
}
