//! Ready-made plans, as the API shows them.

use tenantry_actors::studio::plan::Voice;
use tenantry_actors::studio::templates::Template;

use super::schema::{RenderBody, SceneBody, TemplateAnswer};

/// A voice as requests name it.
pub(crate) fn voice_name(voice: Voice) -> &'static str {
    match voice {
        Voice::F => "F",
        Voice::M => "M",
    }
}

impl From<&Template> for TemplateAnswer {
    fn from(template: &Template) -> Self {
        let plan = &template.plan;
        let scenes = plan.scenes.iter().map(|scene| SceneBody {
            image_prompt: scene.image_prompt.clone(),
            narration: scene.narration.clone(),
            duration_s: std::time::Duration::from_millis(scene.duration_ms).as_secs_f64(),
        });
        Self {
            name: template.name.to_owned(),
            title: template.title.to_owned(),
            plan: RenderBody {
                topic: plan.topic.clone(),
                language: plan.language.clone(),
                voice: voice_name(plan.voice).to_owned(),
                resolution: plan.resolution.as_str().to_owned(),
                scenes: scenes.collect(),
            },
        }
    }
}
