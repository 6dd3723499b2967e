//! The names of everything that supervision measures, with what they mean.

/// The counter of started tasks, by name.
pub(crate) const TASKS_STARTED_TOTAL: &str = "tenantry_tasks_started_total";
/// The gauge of running tasks, by name.
pub(crate) const TASKS_RUNNING: &str = "tenantry_tasks_running";
/// The counter of tasks that panicked, by name.
pub(crate) const TASKS_PANICKED_TOTAL: &str = "tenantry_tasks_panicked_total";
/// The counter of refused entries, by gate.
pub(crate) const GATE_REFUSED_TOTAL: &str = "tenantry_gate_refused_total";
/// The gauge of a breaker's state, by dependency: 0 closed, 1 half-open, 2 open.
pub(crate) const BREAKER_STATE: &str = "tenantry_breaker_state";
/// The counter of a breaker's changes of state, by dependency and new state.
pub(crate) const BREAKER_TRANSITIONS_TOTAL: &str = "tenantry_breaker_transitions_total";
/// The counter of calls through a breaker, by dependency and outcome.
pub(crate) const BREAKER_CALLS_TOTAL: &str = "tenantry_breaker_calls_total";
/// The counter of retries and of giving up, by dependency and outcome.
pub(crate) const RETRY_ATTEMPTS_TOTAL: &str = "tenantry_retry_attempts_total";

/// One thing that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Its name in the metrics.
    pub name: &'static str,
    /// Whether it counts or shows a level.
    pub kind: Kind,
    /// Its labels, each of a closed set of values.
    pub labels: &'static [&'static str],
    /// What it means, in one sentence.
    pub meaning: &'static str,
}

/// Whether something counts or shows a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
}

const fn measured(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    meaning: &'static str,
) -> Measured {
    Measured { name, kind, labels, meaning }
}

/// Everything that supervision measures.
pub const MEASURED: [Measured; 8] = [
    measured(TASKS_STARTED_TOTAL, Kind::Counter, &["task"], "Tasks started."),
    measured(TASKS_RUNNING, Kind::Gauge, &["task"], "Tasks that run now."),
    measured(TASKS_PANICKED_TOTAL, Kind::Counter, &["task"], "Tasks that panicked."),
    measured(GATE_REFUSED_TOTAL, Kind::Counter, &["gate"], "Entries refused for want of room."),
    measured(
        BREAKER_STATE,
        Kind::Gauge,
        &["dependency"],
        "State of a breaker: 0 closed, 1 half-open, 2 open.",
    ),
    measured(
        BREAKER_TRANSITIONS_TOTAL,
        Kind::Counter,
        &["dependency", "to"],
        "Changes of a breaker's state.",
    ),
    measured(
        BREAKER_CALLS_TOTAL,
        Kind::Counter,
        &["dependency", "outcome"],
        "Calls through a breaker, also those that it did not let through.",
    ),
    measured(
        RETRY_ATTEMPTS_TOTAL,
        Kind::Counter,
        &["dependency", "outcome"],
        "Retries, and calls that were given up.",
    ),
];

/// Tells the installed recorder what each metric means.
///
/// ```
/// tenantry_supervision::measured::describe();
/// ```
pub fn describe() {
    for Measured { name, kind, meaning, .. } in MEASURED {
        match kind {
            Kind::Counter => metrics::describe_counter!(name, meaning),
            Kind::Gauge => metrics::describe_gauge!(name, meaning),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_book_lists_everything_measured_with_its_labels() {
        let book = include_str!("../docs/src/supervision.md");

        for Measured { name, labels, .. } in MEASURED {
            let row = book.lines().find(|line| line.starts_with("| `t") && line.contains(name));
            let row = row.unwrap_or_else(|| panic!("{name} is not in the book"));
            assert!(labels.iter().all(|label| row.contains(&format!("`{label}`"))), "{row}");
        }
    }
}
