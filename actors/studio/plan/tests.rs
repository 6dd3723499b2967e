use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn voices() -> Voices {
    Voices::parse("Pty Language Age/Gender VoiceName File\n 5 en-gb --/M English gmw/en\n")
}

fn story() -> Value {
    json!({
        "topic": "A lighthouse", "language": "en-gb", "voice": "F", "resolution": "720p",
        "scenes": [
            {"image_prompt": "A lighthouse", "narration": "It stood alone.", "duration_s": 2.5},
            {"image_prompt": "The sea", "narration": "", "duration_s": 600},
        ],
    })
}

fn faults(value: &Value) -> Vec<String> {
    let errors = RenderPlan::from_value(value, &voices()).unwrap_err();
    errors.into_iter().map(|error| error.pointer).collect()
}

fn with(pointer: &str, value: Value) -> Value {
    let mut plan = story();
    *plan.pointer_mut(pointer).unwrap() = value;
    plan
}

#[test]
fn a_good_plan_is_read_with_its_durations_in_milliseconds() {
    let plan = RenderPlan::from_value(&story(), &voices()).unwrap();

    assert_eq!(plan.scenes[0].duration_ms, 2_500);
    assert_eq!(plan.scenes[1].duration_ms, 600_000);
    assert_eq!(plan.voice, Voice::F);
    assert_eq!(plan.resolution, Resolution::Hd);
    assert_eq!(plan.scene(2), plan.scenes.last());
    assert_eq!(plan.scene(0), None);
}

#[test]
fn a_stored_plan_is_the_plan_that_was_stored() {
    let plan = RenderPlan::from_value(&story(), &voices()).unwrap();
    let text = serde_json::to_string(&plan).unwrap();

    assert!(text.contains("\"duration_s\":2.5"), "{text}");
    assert_eq!(serde_json::from_str::<RenderPlan>(&text).unwrap(), plan);
    assert_eq!(serde_json::to_value(&plan).unwrap()["scenes"][1]["duration_s"], json!(600));
}

#[test]
fn every_fault_is_named_with_its_place() {
    assert_eq!(faults(&json!([])), [""]);
    assert_eq!(faults(&json!({})), ["/topic", "/language", "/voice", "/resolution", "/scenes"]);
    assert_eq!(faults(&with("/voice", json!("f"))), ["/voice"]);
    assert_eq!(faults(&with("/resolution", json!(720))), ["/resolution"]);
    assert_eq!(faults(&with("/language", json!("tlh"))), ["/language"]);
    assert_eq!(faults(&with("/language", json!("-v evil"))), ["/language"]);
    assert_eq!(faults(&with("/topic", json!("  "))), ["/topic"]);
    assert_eq!(faults(&with("/topic", json!("a\u{0}b"))), ["/topic"]);
    assert_eq!(faults(&with("/scenes", json!({}))), ["/scenes"]);
    assert_eq!(faults(&with("/scenes", json!([]))), ["/scenes"]);
    assert_eq!(faults(&with("/scenes/1", json!(null))), ["/scenes/1"]);
    assert_eq!(faults(&with("/scenes/0/narration", json!(7))), ["/scenes/0/narration"]);
    assert_eq!(faults(&with("/scenes/0/image_prompt", json!(""))), ["/scenes/0/image_prompt"]);
    for duration in [json!(0.499), json!(600.001), json!(-1), json!(1e300), json!("2"), json!(null)]
    {
        let pointer = "/scenes/1/duration_s";
        assert_eq!(faults(&with(pointer, duration.clone())), [pointer], "{duration}");
    }
}

#[test]
fn several_faults_are_told_at_once() {
    let mut plan = with("/topic", json!(1));
    plan["scenes"][1]["duration_s"] = json!(0);
    plan["scenes"][0]["colour/~"] = json!("red");
    plan["extra"] = json!(1);

    assert_eq!(
        faults(&plan),
        ["/extra", "/topic", "/scenes/0/colour~1~0"],
        "shape is told first, limits once the shape is right"
    );
}

#[test]
fn texts_have_limits_in_characters() {
    let long = |chars: usize| json!("ß".repeat(chars));

    assert!(RenderPlan::from_value(&with("/topic", long(TOPIC_CHARS_MAX)), &voices()).is_ok());
    assert_eq!(faults(&with("/topic", long(TOPIC_CHARS_MAX + 1))), ["/topic"]);
    let pointer = "/scenes/0/narration";
    let limit = with(pointer, long(NARRATION_CHARS_MAX));
    assert!(RenderPlan::from_value(&limit, &voices()).is_ok());
    assert_eq!(faults(&with(pointer, long(NARRATION_CHARS_MAX + 1))), [pointer]);
}

#[test]
fn a_plan_is_limited_as_a_whole() {
    let scene = |narration: &str, duration_s: u64| json!({"image_prompt": "x", "narration": narration, "duration_s": duration_s});

    assert_eq!(faults(&with("/scenes", json!(vec![scene("", 1); 21]))), ["/scenes"]);
    assert_eq!(faults(&with("/scenes", json!(vec![scene("", 600); 4]))), ["/scenes"]);
    let wordy = "word ".repeat(1_000);
    assert_eq!(faults(&with("/scenes", json!(vec![scene(&wordy, 1); 6]))), ["/scenes"]);
}

#[test]
fn an_object_of_many_unknown_fields_makes_a_short_answer() {
    let mut plan = story();
    for number in 0..10_000 {
        plan[format!("x{number}")] = json!(1);
    }

    assert_eq!(faults(&plan).len(), 17);
}

#[test]
fn seconds_are_read_as_text() {
    for (text, ms) in [
        ("0.5", Some(500)),
        ("600", Some(600_000)),
        ("6e2", Some(600_000)),
        ("6.0E+2", Some(600_000)),
        ("0.0005", Some(1)),
        ("0.0004", Some(0)),
        ("0.00005", Some(0)),
        ("1.2345", Some(1_235)),
        ("1.2344", Some(1_234)),
        ("5e-1", Some(500)),
        ("1e-300", Some(0)),
        ("1e300", None),
        ("-1", None),
        ("", None),
        (".5", None),
        ("NaN", None),
        ("1e999999999999", None),
    ] {
        assert_eq!(seconds::to_ms(text), ms, "{text}");
    }
}

proptest! {
    #[test]
    fn a_duration_survives_being_written_and_read(duration_ms in 0u64..10_000_000) {
        let scene = Scene { image_prompt: "x".into(), narration: String::new(), duration_ms };
        let text = serde_json::to_string(&scene).unwrap();
        prop_assert_eq!(serde_json::from_str::<Scene>(&text).unwrap(), scene);
    }

    #[test]
    fn no_json_makes_the_reader_panic(text in "[\\[\\]{}\":,a-z0-9 .e-]{0,200}") {
        if let Ok(value) = serde_json::from_str::<Value>(&text) {
            let _ = RenderPlan::from_value(&value, &voices());
        }
    }
}
