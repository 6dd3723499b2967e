//! The parts that a job is made of.

use super::*;

#[test]
fn segments_are_short_cover_the_scene_and_begin_on_whole_frames() {
    for scene_ms in [1, 199, 500, 9_800, 9_801, 10_000, 12_345, 59_999, 600_000, 1_800_000] {
        let lengths = segment_lengths_ms(scene_ms);

        assert_eq!(lengths.iter().map(|ms| u64::from(*ms)).sum::<u64>(), scene_ms);
        assert!(lengths.iter().all(|ms| (1..=SEGMENT_MAX_MS).contains(ms)), "{lengths:?}");
        let (_, inner) = lengths.split_last().unwrap();
        assert!(inner.iter().all(|ms| ms % 200 == 0));
    }
}

#[test]
fn the_time_for_joining_grows_with_what_is_joined() {
    let timeouts = StepTimeouts::default();

    assert_eq!(timeouts.timeout_ms(StepName::Image(1), 1 << 30), 60_000);
    assert_eq!(timeouts.timeout_ms(StepName::Assemble, 0), 60_000);
    assert_eq!(timeouts.timeout_ms(StepName::Assemble, 1 << 30), 60_000 + 1_024 * 100);
}

#[test]
fn a_steps_name_has_one_text() {
    let names = [
        (StepName::Image(1), "image-01"),
        (StepName::Speech(20), "speech-20"),
        (StepName::Segment(1, 3), "segment-01-003"),
        (StepName::Assemble, "assemble"),
        (StepName::Publish, "publish"),
    ];
    for (name, text) in names {
        assert_eq!(name.to_string(), text);
        assert_eq!(text.parse(), Ok(name));
    }
    for text in ["", "image", "image-1", "image-+1", "image-01-", "segment-01", "assemble-01"] {
        assert_eq!(text.parse::<StepName>(), Err(InvalidStepName), "{text}");
    }
}
