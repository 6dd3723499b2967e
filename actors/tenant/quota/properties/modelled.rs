//! The machine beside its naive model: 200,000 scripts in four tests, so that they run at once.

use std::cell::Cell;

use proptest::test_runner::{Config, RngSeed, TestRunner};

use super::scripts::{LIMITS, script};
use super::*;
use crate::tenant::quota::model::{Model, ModelVerdict, code};
use crate::tenant::quota::tests::fixture::sold;

/// Most scripts are short, so that there can be many.
const SHORT_CASES: u32 = 50_000;
/// Some are long: holds, grants and periods then meet in every way.
const LONG_CASES: u32 = 250;

/// Compares every answer, and after it every figure.
fn compare(script: &Script, effective: &Cell<u32>) -> Result<(), TestCaseError> {
    let mut quota = quota();
    let mut model = Model::new(sold("pro", LIMITS), at(START));
    let mut now = at(START);
    for (command, pause) in script {
        let applied = quota.apply(command, now);
        let expected = model.apply(command, now);
        quota.check();
        let found = match (&applied.verdict, applied.own) {
            (Verdict::Admitted(_), Some(own)) => {
                effective.set(effective.get() + 1);
                ModelVerdict::Done(is_flagged(&applied.facts[own].1))
            }
            (Verdict::Admitted(_), None) => ModelVerdict::Again,
            (Verdict::Refused(refusal), _) => code(refusal),
            (Verdict::MoreDue, _) => panic!("no script has 256 holds"),
        };
        prop_assert_eq!(found, expected, "{:?} at {}", command, now);
        for account in quota.book.accounts() {
            let figures = (account.used, account.reserved, account.limit);
            let (open, meter) = (model.open, &account.meter);
            let modelled =
                (model.used(open, meter), model.reserved(open, meter), model.limit(open, meter));
            prop_assert_eq!(figures, modelled, "{} after {:?} at {}", meter, command, now);
        }
        for grant in quota.grants.iter().filter(|grant| !grant.is_ended) {
            let known = model.grants.iter().find(|known| known.id == grant.terms.id).unwrap();
            prop_assert_eq!(grant.left, model.left(known), "{} after {:?}", known.id, command);
        }
        prop_assert_eq!(quota.committed_micros(now), model.committed(), "{:?}", command);
        prop_assert_eq!(quota.owed_micros, model.owed, "owed after {:?} at {}", command, now);
        for id in (0..6).map(rsv) {
            let known = quota.reservation(id, now).map(|known| known.state);
            prop_assert_eq!(known, model.state(id));
        }
        now = now.plus_s(*pause);
    }
    Ok(())
}

fn is_flagged(fact: &Fact) -> bool {
    match fact {
        Fact::Consumed { items, .. }
        | Fact::Reserved { items, .. }
        | Fact::JobHeld { items, .. }
        | Fact::Committed { items, .. }
        | Fact::PartCommitted { items, .. }
        | Fact::CommittedLate { items, .. }
        | Fact::Recorded { items, .. }
        | Fact::Adjusted { items, .. } => items.iter().any(|charge| charge.would_refuse),
        _ => false,
    }
}

/// One of the tests that share the cases out.
fn agrees(part: u64) {
    let (all, effective) = (Cell::new(0u32), Cell::new(0u32));
    for (cases, lengths) in [(SHORT_CASES, 1..7), (LONG_CASES, 10..60)] {
        let mut config = Config { cases, failure_persistence: None, ..Config::default() };
        if let RngSeed::Fixed(seed) = config.rng_seed {
            // Each test has cases of its own.
            config.rng_seed = RngSeed::Fixed(seed.wrapping_add(part));
        }
        let outcome = TestRunner::new(config).run(&script(lengths), |script| {
            all.set(all.get() + u32::try_from(script.len()).unwrap());
            compare(&script, &effective)
        });
        outcome.unwrap();
    }
    let (all, effective) = (all.get(), effective.get());
    assert!(
        effective * 4 > all,
        "only {effective} of {all} commands had an effect: too many skips"
    );
}

#[test]
fn the_machine_agrees_with_a_naive_model() {
    agrees(0);
}

#[test]
fn the_machine_agrees_with_a_naive_model_again() {
    agrees(1);
}

#[test]
fn the_machine_agrees_with_a_naive_model_once_more() {
    agrees(2);
}

#[test]
fn the_machine_agrees_with_a_naive_model_to_the_end() {
    agrees(3);
}
