//! Whole plans through real ffmpeg and espeak-ng.

use super::*;

fn two_scenes() -> Arc<RenderPlan> {
    let mut plan = RenderPlan::clone(&example("story-3-scenes.json"));
    plan.scenes.truncate(2);
    plan.scenes[0].duration_ms = 1_730;
    plan.scenes[0].narration = "A light.".to_owned();
    plan.scenes[1].duration_ms = 500;
    plan.scenes[1].narration = "It went out over the water.".to_owned();
    Arc::new(plan)
}

#[tokio::test]
async fn a_plan_becomes_a_video() {
    let workshop = Workshop::open().await;
    let plan = two_scenes();

    let results = workshop.render(&plan).await;

    let video = &results[&StepName::Assemble];
    let file = workshop.fetch(video, "video.mp4").await;
    let stream = "stream=codec_name,width,height,pix_fmt,avg_frame_rate";
    assert_eq!(probed(&file, stream), "h264,1280,720,yuv420p,25/1 aac,0/0");
    let spoken: Vec<u64> = (1..=2).map(|n| results[&StepName::Speech(n)].duration_ms).collect();
    let expected_ms: u64 = spoken
        .iter()
        .zip(&plan.scenes)
        .map(|(spoken, scene)| spoken.max(&scene.duration_ms).div_ceil(40) * 40)
        .sum();
    assert!(spoken[1] > 500, "the second scene lasts as long as its speech");
    assert!(video.duration_ms.abs_diff(expected_ms) <= 60, "{} {expected_ms}", video.duration_ms);
    assert_eq!(video.artifacts[0].name, "video.mp4");
    assert_eq!(video.artifacts[0].bytes, video.bytes);
    assert_eq!(std::fs::metadata(&file).unwrap().len(), video.bytes);
    // Players can begin before all is there.
    let bytes = std::fs::read(&file).unwrap();
    let position = |name: &[u8]| bytes.windows(4).position(|window| window == name).unwrap();
    assert!(position(b"moov") < position(b"mdat"));
    let amount = |meter: &str| -> u64 {
        let items = results.values().flat_map(|result| &result.usage);
        items.filter(|item| item.meter.as_str() == meter).map(|item| item.amount).sum()
    };
    assert_eq!(amount("images"), 2);
    assert_eq!(amount("tts_ms"), spoken.iter().sum::<u64>());
    assert_eq!(amount("render_ms"), expected_ms);
    assert_eq!(amount("storage_bytes"), video.bytes);
    assert!(results.values().all(|result| result.degraded.is_none()));
    assert!(workshop.scratch_is_empty());
}

#[tokio::test]
async fn the_examples_are_plans_within_all_limits() {
    let voices = Workshop::open().await.studio.voices();

    let templates = templates::templates();

    assert_eq!(templates.iter().map(|t| t.plan.scenes.len()).collect::<Vec<_>>(), [3, 20, 6]);
    for template in templates {
        assert_eq!(template.plan.validate(&voices), Ok(()), "{}", template.name);
        let value = serde_json::to_value(&template.plan).unwrap();
        assert_eq!(RenderPlan::from_value(&value, &voices).as_ref(), Ok(&template.plan));
    }
    assert!(voices.has("cmn") && voices.has("ar") && !voices.has("xx"));
    assert!(voices.languages().count() > 100);
}
