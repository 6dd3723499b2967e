//! What a comparison found: rows, and what they say about the aims.

use std::io::Write as _;
use std::time::Duration;

use super::arm::Arm;
use super::table::{Row, columns, grouped, render};

/// Everything that was found so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    rows: Vec<Row>,
    aims: Vec<Aim>,
    failures: Vec<String>,
}

/// One aim, and what was found.
#[derive(Debug)]
struct Aim {
    what: String,
    wanted: String,
    found: String,
    is_met: bool,
    counts: bool,
}

impl Report {
    /// Adds an arm's row.
    pub(super) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Adds an aim: a rate that is at least so many percent of another's.
    pub(super) fn aim_at_share(&mut self, arm: &Arm, of: &Arm, wanted_percent: u64) {
        let percent = arm.per_s() * 100 / of.per_s().max(1);
        self.aims.push(Aim {
            what: format!("{}: rate, of that of {}", arm.name(), of.name()),
            wanted: format!("at least {}", hundredths(wanted_percent)),
            found: hundredths(percent),
            is_met: percent >= wanted_percent,
            counts: arm.doubts().is_empty() && of.doubts().is_empty(),
        });
    }

    /// Adds an aim: a latency at 99 percent that is at most so many percent of another's.
    pub(super) fn aim_at_p99_within(&mut self, arm: &Arm, of: &Arm, wanted_percent: u64) {
        let [p99, other] = [arm, of].map(|arm| arm.latency(990_000).as_micros());
        let percent = u64::try_from(p99 * 100 / other.max(1)).unwrap_or(u64::MAX);
        self.aims.push(Aim {
            what: format!("{}: p99, of that of {}", arm.name(), of.name()),
            wanted: format!("at most {}", hundredths(wanted_percent)),
            found: hundredths(percent),
            is_met: percent <= wanted_percent,
            counts: arm.doubts().is_empty() && of.doubts().is_empty(),
        });
    }

    /// Adds an aim: something that takes less than so long.
    pub(super) fn aim_below(
        &mut self,
        what: &str,
        found: Duration,
        wanted: Duration,
        counts: bool,
    ) {
        self.aims.push(Aim {
            what: what.to_owned(),
            wanted: format!("below {wanted:.0?}"),
            found: format!("{found:.2?}"),
            is_met: found < wanted,
            counts,
        });
    }

    /// Adds an aim: a number that is at least or at most so large.
    pub(super) fn aim_at_number(
        &mut self,
        what: &str,
        found: u64,
        wanted: std::ops::RangeInclusive<u64>,
        counts: bool,
    ) {
        let (low, high) = wanted.clone().into_inner();
        self.aims.push(Aim {
            what: what.to_owned(),
            wanted: match high {
                u64::MAX => format!("at least {}", grouped(low)),
                _ => format!("at most {}", grouped(high)),
            },
            found: grouped(found),
            is_met: wanted.contains(&found),
            counts,
        });
    }

    /// Keeps what went wrong with a part; the others are still measured.
    pub(super) fn keep<T>(&mut self, part: &str, outcome: anyhow::Result<T>) -> Option<T> {
        match outcome {
            Ok(value) => Some(value),
            Err(error) => {
                let text = format!("{part}: {error:#}");
                let _ = say(&format!("not measured: {text}"));
                self.failures.push(text);
                None
            }
        }
    }

    /// Prints everything, and fails if a part failed. An aim that was missed is no failure.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        say(&format!("\n{}", render(&self.rows)))?;
        if !self.aims.is_empty() {
            say(&aims(&self.aims))?;
        }
        anyhow::ensure!(self.failures.is_empty(), "{}", self.failures.join("\n"));
        Ok(())
    }
}

fn aims(aims: &[Aim]) -> String {
    let headings = ["aim", "wanted", "found", "met"].map(str::to_owned);
    let lines = aims.iter().map(|aim| {
        let met = match (aim.is_met, aim.counts) {
            (true, true) => "yes",
            (true, false) => "does not count",
            (false, _) => "no",
        };
        [aim.what.clone(), aim.wanted.clone(), aim.found.clone(), met.to_owned()]
    });
    columns(&[headings].into_iter().chain(lines).collect::<Vec<_>>())
}

fn hundredths(percent: u64) -> String {
    format!("{}.{:02}", percent / 100, percent % 100)
}

/// Prints a line at once.
pub(super) fn say(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aim_is_met_only_by_figures_that_count() {
        let mut report = Report::default();
        let second = Duration::from_secs(1);

        report.aim_below("start", Duration::from_millis(900), second, true);
        report.aim_below("start", Duration::from_millis(900), second, false);
        report.aim_below("start", second, second, true);
        report.aim_at_number("memory", 1500, 0..=1499, true);
        report.aim_at_number("events", 100_000, 100_000..=u64::MAX, true);

        let text = aims(&report.aims);
        let met: Vec<&str> =
            text.lines().skip(2).map(|line| line.rsplit('|').nth(1).unwrap().trim()).collect();
        assert_eq!(met, ["yes", "does not count", "no", "no", "yes"]);
    }

    #[test]
    fn a_part_that_fails_fails_the_whole_at_its_end() {
        let mut report = Report::default();

        assert_eq!(report.keep("one", Ok(1)), Some(1));
        assert_eq!(report.keep::<u32>("other", Err(anyhow::anyhow!("no disk"))), None);

        assert!(report.finish().unwrap_err().to_string().contains("other: no disk"));
    }
}
