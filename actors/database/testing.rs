//! Where the tests' databases are: files of a folder, or a part of a PostgreSQL server.
//!
//! Every test that opens a database asks here, so that the same tests run on both: `scripts/test`
//! runs them a second time with `TENANTRY_TEST_DATABASE` set to the URL of a server.

use std::path::Path;
use std::str::FromStr;

use sqlx::any::{AnyConnectOptions, install_default_drivers};
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Executor, Row};

use super::{Backend, Database, DatabaseSettings, FatalHook, Session};

/// The server that tests use in place of files.
#[expect(clippy::disallowed_methods, reason = "a switch of the tests is no configuration")]
fn server() -> Option<String> {
    std::env::var("TENANTRY_TEST_DATABASE").ok()
}

impl Database {
    /// Refuses rows of a table from now on, when `condition` holds for `NEW`.
    pub(crate) async fn poison(&self, table: &str, condition: &str) {
        let sql = match self.backend() {
            Backend::Sqlite => format!(
                "CREATE TRIGGER poison BEFORE INSERT ON {table} WHEN {condition} \
                 BEGIN SELECT RAISE(ABORT, 'poison'); END"
            ),
            Backend::Postgres => format!(
                "CREATE FUNCTION poison() RETURNS TRIGGER LANGUAGE plpgsql \
                 AS $$ BEGIN RAISE EXCEPTION 'poison'; END $$; \
                 CREATE TRIGGER poison BEFORE INSERT ON {table} FOR EACH ROW \
                 WHEN ({condition}) EXECUTE FUNCTION poison()"
            ),
        };
        match table {
            "journal" => self.tamper_journal(&sql).await,
            _ => self.tamper(&sql).await,
        }
    }

    /// Lets inserts through again that [`Database::poison`] made fail.
    pub(crate) async fn antidote(&self, table: &str) {
        let sql = match self.backend() {
            Backend::Sqlite => "DROP TRIGGER poison".to_owned(),
            Backend::Postgres => {
                format!("DROP TRIGGER poison ON {table}; DROP FUNCTION poison()")
            }
        };
        self.tamper(&sql).await;
    }

    /// Every row of every table as text, as a thief of the server's disk would have it.
    pub(crate) async fn dump(&self) -> String {
        let mut reader = self.reader().await.expect("a reader");
        let mut text = String::new();
        for table in super::schema::own_tables() {
            let sql = AssertSqlSafe(format!("SELECT CAST({table} AS TEXT) FROM {table}"));
            let rows = sqlx::query(sql).fetch_all(reader.connection()).await.expect("its rows");
            for row in rows {
                text += &row.get::<String, _>(0);
                text.push('\n');
            }
        }
        text
    }
}

/// Which database this run's tests use.
pub(crate) fn backend() -> Backend {
    if server().is_some() { Backend::Postgres } else { Backend::Sqlite }
}

/// The settings of the database that belongs to a folder, now and when it is opened again.
pub(crate) async fn settings(folder: &Path) -> DatabaseSettings {
    DatabaseSettings {
        url: url(folder).await,
        data_dir: folder.to_path_buf(),
        fatal: FatalHook::default(),
    }
}

/// The URL of a folder's own schema; none when its files are the database.
pub(crate) async fn url(folder: &Path) -> Option<String> {
    let server = server()?;
    install_default_drivers();
    // A folder of a test has a random name.
    let name: String = folder.to_string_lossy().replace(|c: char| !c.is_alphanumeric(), "_");
    let options = AnyConnectOptions::from_str(&server).expect("a URL of a server");
    let mut connection = AnyConnection::connect_with(&options).await.expect("the server is there");
    let create = format!("CREATE SCHEMA IF NOT EXISTS \"{name}\"");
    connection.execute(sqlx::raw_sql(AssertSqlSafe(create))).await.expect("a schema is made");
    connection.close().await.expect("it closes");
    Some(format!("{server}?options=-c%20search_path%3D%22{name}%22"))
}
