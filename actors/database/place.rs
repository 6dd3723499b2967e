//! Where the rows are: two files in the data folder, or one database of a server.

use std::fmt;
use std::path::{Path, PathBuf};

use super::connect::Access;
use super::{Backend, DataDir, DatabaseError};

/// The URLs behind a configured one. Its `Debug` shows none: a URL may hold a password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) backend: Backend,
    /// Identity, projections, outboxes.
    pub(super) main_url: String,
    /// The log.
    pub(super) journal_url: String,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("backend", &self.backend).finish_non_exhaustive()
    }
}

impl Place {
    /// Whether a URL leads to a server.
    pub(super) fn is_a_server(url: &str) -> bool {
        backend_of(url) == Some(Backend::Postgres)
    }

    pub(super) fn of(
        url: Option<&str>,
        folder: &DataDir,
        access: Access,
    ) -> Result<Self, DatabaseError> {
        if let Some(url) = url.filter(|url| Self::is_a_server(url)) {
            let (main_url, journal_url) = (url.to_owned(), url.to_owned());
            return Ok(Self { backend: Backend::Postgres, main_url, journal_url });
        }
        let main_url = sqlite_url(&main_path(url, folder)?, access);
        let journal_url = sqlite_url(&folder.path().join("journal.db"), access);
        Ok(Self { backend: Backend::Sqlite, main_url, journal_url })
    }
}

fn backend_of(url: &str) -> Option<Backend> {
    match url.split(':').next() {
        Some("postgres" | "postgresql") => Some(Backend::Postgres),
        Some("sqlite") => Some(Backend::Sqlite),
        _ => None,
    }
}

/// Where the main file is; the journal always lies in the data folder.
fn main_path(url: Option<&str>, folder: &DataDir) -> Result<PathBuf, DatabaseError> {
    let Some(url) = url else { return Ok(folder.path().join("tenantry.db")) };
    let Some(rest) = url.strip_prefix("sqlite:") else {
        let scheme = url.split(':').next().unwrap_or_default();
        let reason =
            format!("`{scheme}` databases are not served; use `sqlite://<path>` or `postgres://…`");
        return Err(DatabaseError::Url { reason });
    };
    let path = rest.strip_prefix("//").unwrap_or(rest);
    let path = path.split('?').next().unwrap_or_default();
    if path.is_empty() || path.contains(":memory:") {
        let reason = "the database must be a file: `sqlite://<path>`".into();
        return Err(DatabaseError::Url { reason });
    }
    std::path::absolute(path).map_err(|source| DatabaseError::Folder { path: path.into(), source })
}

/// A URL that leads to `path` whatever characters it has.
fn sqlite_url(path: &Path, access: Access) -> String {
    let mut url = String::from("sqlite://");
    for character in path.to_string_lossy().chars() {
        match character {
            '%' => url.push_str("%25"),
            '?' => url.push_str("%3F"),
            '#' => url.push_str("%23"),
            other => url.push(other),
        }
    }
    url.push_str(match access {
        Access::Own => "?mode=rwc",
        // Not `ro`: a reader of a WAL file must be able to write its shared index.
        Access::Inspect => "?mode=rw",
    });
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_may_hold_characters_that_mean_something_in_a_url() {
        let url = sqlite_url(Path::new("/tmp/a b?c#d%e.db"), Access::Own);

        assert_eq!(url, "sqlite:///tmp/a b%3Fc%23d%25e.db?mode=rwc");
    }

    #[test]
    fn a_password_is_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let folder = DataDir::without_lock(folder.path()).unwrap();
        let url = Some("postgresql://someone:secret@host/name");

        let place = Place::of(url, &folder, Access::Own).unwrap();

        assert_eq!(place.backend, Backend::Postgres);
        assert!(!format!("{place:?}").contains("secret"));
    }
}
