//! The table that a measurement ends with, in a form that a book can take over.

use std::fmt::Write as _;
use std::time::Duration;

/// What one row of a table has.
const COLUMNS: usize = 10;

/// One row: what was measured under which name.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// What was measured.
    pub(super) name: String,
    /// Requests acknowledged a second.
    pub(super) per_s: u64,
    /// The latencies at 50, 99 and 99.9 percent.
    pub(super) latencies: [Duration; 3],
    /// The server's processor time for a request.
    pub(super) server_cpu: Duration,
    /// The generator's processor time for a request.
    pub(super) own_cpu: Duration,
    /// The share of the bare server's requests a second, in percent.
    pub(super) percent_of_bare: Option<u64>,
    /// How long after its end a round's work was finished, at most.
    pub(super) drained_in: Option<Duration>,
    /// Why the figures do not count.
    pub(super) doubts: Vec<String>,
}

/// Renders rows below their headings, and below them why some of them do not count.
pub(super) fn render(rows: &[Row]) -> String {
    let headings: [&str; COLUMNS] = [
        "measured",
        "requests/s",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "server CPU µs",
        "load CPU µs",
        "of bare",
        "drained ms",
        "counts",
    ];
    let mut lines = vec![headings.map(str::to_owned)];
    lines.extend(rows.iter().map(cells));
    let mut text = columns(&lines);
    for row in rows.iter().filter(|row| !row.doubts.is_empty()) {
        let _ = write!(text, "\n* {}: {}", row.name, row.doubts.join("; "));
    }
    text.push('\n');
    text
}

/// Renders cells as columns with the first line as headings; all but the first one to the right.
pub(super) fn columns<const N: usize>(lines: &[[String; N]]) -> String {
    let widths: [usize; N] = std::array::from_fn(|column| {
        lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0).max(3)
    });
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        for (column, (cell, width)) in line.iter().zip(widths).enumerate() {
            let _ = match column {
                0 => write!(text, "| {cell:<width$} |"),
                _ => write!(text, " {cell:>width$} |"),
            };
        }
        text.push('\n');
        if index == 0 {
            for (column, width) in widths.into_iter().enumerate() {
                let _ = match column {
                    0 => write!(text, "| {:-<width$} |", ""),
                    _ => write!(text, " {:->rest$}: |", "", rest = width - 1),
                };
            }
            text.push('\n');
        }
    }
    text
}

fn cells(row: &Row) -> [String; COLUMNS] {
    let [p50, p99, p999] = row.latencies.map(milliseconds);
    let counts = if row.doubts.is_empty() { "yes" } else { "no" };
    [
        row.name.clone(),
        grouped(row.per_s),
        p50,
        p99,
        p999,
        row.server_cpu.as_micros().to_string(),
        row.own_cpu.as_micros().to_string(),
        row.percent_of_bare.map_or_else(String::new, |percent| format!("{percent} %")),
        row.drained_in.map_or_else(String::new, |wait| wait.as_millis().to_string()),
        counts.to_owned(),
    ]
}

fn milliseconds(duration: Duration) -> String {
    format!("{}.{:02}", duration.as_millis(), duration.subsec_micros() % 1000 / 10)
}

/// Writes a number with commas between its thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other_and_doubts_below_them() {
        let row = |name: &str, per_s, percent_of_bare, doubts: &[&str]| Row {
            name: name.to_owned(),
            per_s,
            latencies: [Duration::from_micros(1234), Duration::from_millis(20), Duration::ZERO],
            server_cpu: Duration::from_micros(31),
            own_cpu: Duration::from_micros(9),
            percent_of_bare,
            drained_in: percent_of_bare.map(|_| Duration::from_millis(120)),
            doubts: doubts.iter().map(|doubt| (*doubt).to_owned()).collect(),
        };

        let text = render(&[
            row("bare", 41_000, None, &[]),
            row("consume", 9_000, Some(22), &["memory grew", "ran 2 s"]),
        ]);

        let expected = "\
| measured | requests/s | p50 ms | p99 ms | p99.9 ms | server CPU µs | load CPU µs | of bare | drained ms | counts |
| -------- | ---------: | -----: | -----: | -------: | ------------: | ----------: | ------: | ---------: | -----: |
| bare     |     41,000 |   1.23 |  20.00 |     0.00 |            31 |           9 |         |            |    yes |
| consume  |      9,000 |   1.23 |  20.00 |     0.00 |            31 |           9 |    22 % |        120 |     no |

* consume: memory grew; ran 2 s
";
        assert_eq!(text, expected);
    }

    #[test]
    fn thousands_are_told_apart() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
