//! When a threshold counts as reached.

use super::*;

#[test]
fn each_threshold_is_reached_once_per_period_and_a_jump_is_the_highest() {
    let mut world = World::new(100);
    let mut reached = |images: u64| -> Vec<(u8, u64)> {
        let applied =
            world.quota.apply(&Command::Consume { items: vec![item("images", images)] }, world.now);
        world.now = world.now.plus_s(4 * 86_400);
        applied
            .facts
            .iter()
            .filter_map(|(_, fact)| match fact {
                Fact::ThresholdReached { percent, used, .. } => Some((*percent, *used)),
                _ => None,
            })
            .collect()
    };

    assert_eq!(reached(49), []);
    assert_eq!(reached(1), [(50, 50)], "27 November");
    assert_eq!(reached(100), [(100, 100)], "1 December: a jump over all three");
    assert_eq!(reached(1), [], "refused");
}

#[test]
fn a_threshold_does_not_fire_again_after_space_was_freed() {
    let mut world = World::new(100);
    let facts = |world: &mut World, command: Command| {
        let applied = world.quota.apply(&command, world.now);
        applied.facts.iter().map(|(_, fact)| fact.kind()).collect::<Vec<_>>()
    };
    let store = |amount| Command::Consume { items: vec![item("storage_bytes", amount)] };
    let free = |amount| Command::Free { items: vec![item("storage_bytes", amount)] };

    assert_eq!(facts(&mut world, store(9_000)), ["consumed", "threshold_reached"]);
    assert_eq!(facts(&mut world, free(9_000)), ["freed"]);
    assert_eq!(facts(&mut world, store(9_000)), ["consumed"]);
    assert_eq!(facts(&mut world, store(1_000)), ["consumed", "threshold_reached"]);
}
