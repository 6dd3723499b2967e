//! The table that a measurement ends with.

use std::fmt::Write as _;
use std::time::Duration;

/// One row: what was measured under which name.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) name: String,
    /// Requests answered 200 a second.
    pub(crate) per_s: u64,
    /// The latencies at 50, 99 and 99.9 percent.
    pub(crate) latencies: [Duration; 3],
    /// The server's processor time for a request.
    pub(crate) server_cpu: Duration,
    /// The generator's processor time for a request.
    pub(crate) own_cpu: Duration,
    /// The share of the bare server's requests a second, in percent.
    pub(crate) percent_of_bare: Option<u64>,
}

/// Renders rows below their headings, in columns.
pub(crate) fn render(rows: &[Row]) -> String {
    let headings = [
        "measured",
        "requests/s",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "server CPU us",
        "load CPU us",
        "of bare",
    ];
    let mut lines = vec![headings.map(str::to_owned)];
    lines.extend(rows.iter().map(cells));
    let widths: [usize; 8] = std::array::from_fn(|column| {
        lines.iter().map(|line| line[column].len()).max().unwrap_or(0)
    });
    let mut text = String::new();
    for line in &lines {
        let _ = write!(text, "{:<width$}", line[0], width = widths[0]);
        for (cell, width) in line.iter().zip(widths).skip(1) {
            let _ = write!(text, "  {cell:>width$}");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

fn cells(row: &Row) -> [String; 8] {
    let [p50, p99, p999] = row.latencies.map(milliseconds);
    [
        row.name.clone(),
        row.per_s.to_string(),
        p50,
        p99,
        p999,
        row.server_cpu.as_micros().to_string(),
        row.own_cpu.as_micros().to_string(),
        row.percent_of_bare.map_or_else(String::new, |percent| format!("{percent} %")),
    ]
}

fn milliseconds(duration: Duration) -> String {
    format!("{}.{:02}", duration.as_millis(), duration.subsec_micros() % 1000 / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let row = |name: &str, per_s, percent_of_bare| Row {
            name: name.to_owned(),
            per_s,
            latencies: [Duration::from_micros(1234), Duration::from_millis(20), Duration::ZERO],
            server_cpu: Duration::from_micros(31),
            own_cpu: Duration::from_micros(9),
            percent_of_bare,
        };

        let text = render(&[row("bare", 41_000, None), row("consume", 9_000, Some(22))]);

        let expected = "\
measured  requests/s  p50 ms  p99 ms  p99.9 ms  server CPU us  load CPU us  of bare
bare           41000    1.23   20.00      0.00             31            9
consume         9000    1.23   20.00      0.00             31            9     22 %
";
        assert_eq!(text, expected);
    }
}
