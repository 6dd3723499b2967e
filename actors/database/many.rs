//! Statements over many rows at once: one round trip and one step of the journal for 256 rows.
//!
//! SQLite gets the placeholders without numbers: the driver looks a numbered one up by its name,
//! among all that the statement has, which for hundreds costs more than the rows themselves.

use std::sync::OnceLock;

use sqlx::{Any, AnyConnection};

use super::{StoreError, placeholders};

/// Rows per statement, largest first: a few sizes, so that every text stays prepared.
const SIZES: [usize; 4] = [256, 32, 4, 1];
/// How the driver names the database whose placeholders need no numbers.
const SQLITE: &str = "SQLite";

/// A value of a row.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'v> {
    Text(&'v str),
    Number(i64),
}

impl<'v> From<&'v str> for Value<'v> {
    fn from(text: &'v str) -> Self {
        Self::Text(text)
    }
}

impl<'v> From<&'v String> for Value<'v> {
    fn from(text: &'v String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

/// A statement `<head> <groups of placeholders> <end>`.
#[derive(Debug)]
pub(super) struct Many {
    head: &'static str,
    columns: usize,
    end: &'static str,
    texts: OnceLock<[String; 4]>,
    unnumbered: OnceLock<[String; 4]>,
}

impl Many {
    pub(super) const fn new(head: &'static str, columns: usize, end: &'static str) -> Self {
        Self { head, columns, end, texts: OnceLock::new(), unnumbered: OnceLock::new() }
    }

    /// Runs the statement over all rows, whose values stand one after another.
    pub(super) async fn run(
        &'static self,
        connection: &mut AnyConnection,
        values: &[Value<'_>],
    ) -> Result<(), StoreError> {
        let is_sqlite = connection.backend_name() == SQLITE;
        let texts = if is_sqlite { self.unnumbered() } else { self.texts() };
        let mut rest = values;
        for (size, text) in SIZES.iter().zip(texts) {
            while rest.len() >= size * self.columns {
                let (now, later) = rest.split_at(size * self.columns);
                let query =
                    now.iter().fold(
                        sqlx::query::<Any>(text.as_str()),
                        |query, value| match value {
                            Value::Text(text) => query.bind(*text),
                            Value::Number(number) => query.bind(*number),
                        },
                    );
                query.execute(&mut *connection).await?;
                rest = later;
            }
        }
        Ok(())
    }

    /// The statements as both databases understand them.
    pub(super) fn texts(&'static self) -> &'static [String; 4] {
        self.texts.get_or_init(|| {
            SIZES.map(|size| {
                format!("{} {} {}", self.head, placeholders(size, self.columns), self.end)
            })
        })
    }

    /// The statements with a `?` for each value, in the same order.
    fn unnumbered(&'static self) -> &'static [String; 4] {
        self.unnumbered.get_or_init(|| {
            let group = format!("({})", vec!["?"; self.columns].join(", "));
            SIZES.map(|size| {
                format!("{} {} {}", self.head, vec![group.as_str(); size].join(", "), self.end)
            })
        })
    }
}
