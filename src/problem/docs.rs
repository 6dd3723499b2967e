//! The problems' page in the book: its table is written out of the kinds.

use std::fmt::Write as _;

use super::ProblemKind;

/// The table of all kinds, as the page shows it.
pub fn table() -> String {
    let mut table = "| code | status | title |\n| --- | --- | --- |\n".to_owned();
    for kind in ProblemKind::ALL {
        let (code, status, title) = (kind.code(), kind.status().as_u16(), kind.title());
        let _ = writeln!(table, "| [`{code}`](#{code}) | {status} | {title} |");
    }
    table
}
