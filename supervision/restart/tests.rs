//! Too many crashes in the window quarantine; the length doubles to a cap and is forgiven by calm.

use proptest::prelude::*;

use super::*;

const SETTINGS: IntensitySettings = IntensitySettings {
    max_crashes: 3,
    within: Duration::from_mins(1),
    quarantine: Duration::from_secs(30),
    max_quarantine: Duration::from_secs(100),
};

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Crashes three times at once and returns the length of the quarantine.
fn crash_into_quarantine(intensity: &mut Intensity, now: Instant) -> Duration {
    assert_eq!(intensity.crashed(now), Verdict::Restart);
    assert_eq!(intensity.crashed(now), Verdict::Restart);
    match intensity.crashed(now) {
        Verdict::Quarantine { for_ } => for_,
        Verdict::Restart => panic!("the third crash in the window must quarantine"),
    }
}

#[test]
fn crashes_apart_from_each_other_never_quarantine() {
    let mut intensity = Intensity::new(SETTINGS);
    let mut now = Instant::now();

    for _ in 0..100 {
        assert_eq!(intensity.crashed(now), Verdict::Restart);
        now += seconds(30);
    }
}

#[test]
fn quarantine_doubles_to_the_cap() {
    let mut intensity = Intensity::new(SETTINGS);
    let mut now = Instant::now();

    for expected_s in [30, 60, 100, 100, 100] {
        let for_ = crash_into_quarantine(&mut intensity, now);
        assert_eq!(for_, seconds(expected_s));
        now += for_;
        assert_eq!(intensity.quarantined_for(now), None);
    }
}

#[test]
fn a_long_calm_forgives_and_a_short_one_does_not() {
    let mut intensity = Intensity::new(SETTINGS);
    let mut now = Instant::now();

    now += crash_into_quarantine(&mut intensity, now) + seconds(399);
    assert_eq!(crash_into_quarantine(&mut intensity, now), seconds(60));
    now += seconds(60) + seconds(400);
    assert_eq!(crash_into_quarantine(&mut intensity, now), seconds(30));
}

#[test]
fn a_lifted_quarantine_is_over_and_forgotten() {
    let mut intensity = Intensity::new(SETTINGS);
    let now = Instant::now();
    crash_into_quarantine(&mut intensity, now);

    intensity.lift();

    assert_eq!(intensity.quarantined_for(now), None);
    assert_eq!(crash_into_quarantine(&mut intensity, now), seconds(30));
}

#[test]
fn extreme_settings_do_not_overflow() {
    let extreme = IntensitySettings {
        max_crashes: 0,
        within: Duration::MAX,
        quarantine: seconds(1),
        max_quarantine: seconds(3600),
    };
    let mut intensity = Intensity::new(extreme);
    let now = Instant::now();

    for _ in 0..100 {
        assert!(matches!(intensity.crashed(now), Verdict::Quarantine { .. }));
    }
    assert_eq!(intensity.quarantined_for(now), Some(seconds(3600)));
}

proptest! {
    /// The reference counts over the whole list of crashes since the last quarantine.
    #[test]
    fn intensity_equals_a_count_over_the_whole_history(
        gaps_s in prop::collection::vec(0_u64..90, 1..80),
        max_crashes in 1_u32..6,
    ) {
        let mut intensity = Intensity::new(IntensitySettings { max_crashes, ..SETTINGS });
        let start = Instant::now();
        let (mut now_s, mut history) = (0, Vec::new());
        for gap_s in gaps_s {
            now_s += gap_s;
            history.push(now_s);
            let recent = history.iter().filter(|at| now_s - **at < 60).count();
            let verdict = intensity.crashed(start + seconds(now_s));
            if recent >= max_crashes as usize {
                let Verdict::Quarantine { for_ } = verdict else {
                    return Err(TestCaseError::fail("must quarantine"));
                };
                prop_assert!(for_ >= seconds(30) && for_ <= seconds(100));
                prop_assert_eq!(intensity.quarantined_for(start + seconds(now_s)), Some(for_));
                history.clear();
            } else {
                prop_assert_eq!(verdict, Verdict::Restart);
            }
        }
    }
}
