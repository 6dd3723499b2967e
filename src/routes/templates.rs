//! Ready-made plans to start from.

use std::sync::LazyLock;

use tenantry_actors::studio::plan::{RenderPlan, Voice};

use super::schema::{RenderBody, SceneBody, TemplateAnswer};

/// The plans' file: JSON, as a client would send each plan.
const FILE: &str = include_str!("templates.json");

/// A plan with a name.
#[derive(Clone, Debug, serde::Deserialize)]
pub(crate) struct PlanTemplate {
    /// Its name in addresses.
    pub(crate) name: String,
    /// Its name for people.
    pub(crate) title: String,
    /// The plan.
    pub(crate) plan: RenderPlan,
}

/// Every template.
pub(crate) fn all() -> &'static [PlanTemplate] {
    static ALL: LazyLock<Vec<PlanTemplate>> =
        LazyLock::new(|| serde_json::from_str(FILE).unwrap_or_default());
    &ALL
}

/// A voice as requests name it.
pub(crate) fn voice_name(voice: Voice) -> &'static str {
    match voice {
        Voice::F => "F",
        Voice::M => "M",
    }
}

impl From<&PlanTemplate> for TemplateAnswer {
    fn from(template: &PlanTemplate) -> Self {
        let plan = &template.plan;
        let scenes = plan.scenes.iter().map(|scene| SceneBody {
            image_prompt: scene.image_prompt.clone(),
            narration: scene.narration.clone(),
            duration_s: std::time::Duration::from_millis(scene.duration_ms).as_secs_f64(),
        });
        Self {
            name: template.name.clone(),
            title: template.title.clone(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_a_plan() {
        let names: Vec<_> = all().iter().map(|template| template.name.as_str()).collect();

        assert_eq!(names, ["lighthouse", "bread", "tides"]);
    }
}
