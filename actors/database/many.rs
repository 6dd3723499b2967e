//! Statements over many rows at once: one round trip and one step of the journal for 64 rows.

use std::sync::OnceLock;

use sqlx::{Any, AnyConnection};

use super::{StoreError, placeholders};

/// Rows per statement, largest first: a few sizes, so that every text stays prepared.
const SIZES: [usize; 3] = [64, 8, 1];

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
    texts: OnceLock<[String; 3]>,
}

impl Many {
    pub(super) const fn new(head: &'static str, columns: usize, end: &'static str) -> Self {
        Self { head, columns, end, texts: OnceLock::new() }
    }

    /// Runs the statement over all rows, whose values stand one after another.
    pub(super) async fn run(
        &'static self,
        connection: &mut AnyConnection,
        values: &[Value<'_>],
    ) -> Result<(), StoreError> {
        let mut rest = values;
        for (size, text) in SIZES.iter().zip(self.texts()) {
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

    pub(super) fn texts(&'static self) -> &'static [String; 3] {
        self.texts.get_or_init(|| {
            SIZES.map(|size| {
                format!("{} {} {}", self.head, placeholders(size, self.columns), self.end)
            })
        })
    }
}
