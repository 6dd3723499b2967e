//! The shapes of the catalogue and of render jobs.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::ProblemDocument;

/// A plan of the catalogue.
#[derive(Debug, Serialize, ToSchema)]
pub struct PlanAnswer {
    /// Its name.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// What a month costs; null is by agreement.
    pub price: Option<MoneyAnswer>,
    /// Limits by meter; null is unlimited.
    #[schema(value_type = std::collections::BTreeMap<String, Option<u64>>)]
    pub limits: Value,
    /// What it includes.
    pub features: Vec<String>,
}

/// An amount of money.
#[derive(Debug, Serialize, ToSchema)]
pub struct MoneyAnswer {
    /// In the currency's smallest unit.
    pub amount_minor: i64,
    /// The currency.
    pub currency: String,
}

/// A language that can be spoken.
#[derive(Debug, Serialize, ToSchema)]
pub struct LanguageAnswer {
    /// The tag for `language`.
    pub language: String,
    /// Its name.
    pub name: String,
    /// Its voices.
    pub voices: Vec<String>,
}

/// A plan to render.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct RenderBody {
    /// What the video is about.
    #[schema(min_length = 1, max_length = 200)]
    pub topic: String,
    /// A language of `GET /api/voices`.
    pub language: String,
    /// `F` or `M`.
    pub voice: String,
    /// `720p`, `1080p` or `4k`.
    pub resolution: String,
    /// The scenes in order.
    #[schema(min_items = 1, max_items = 20)]
    pub scenes: Vec<SceneBody>,
}

/// One picture and what is said over it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SceneBody {
    /// What the picture shows.
    pub image_prompt: String,
    /// What is said.
    pub narration: String,
    /// How long it lasts, in seconds.
    #[schema(minimum = 0.5, maximum = 600)]
    pub duration_s: f64,
}

/// A ready-made plan to start from.
#[derive(Debug, Serialize, ToSchema)]
pub struct TemplateAnswer {
    /// Its name.
    pub name: String,
    /// Its title.
    pub title: String,
    /// The plan.
    pub plan: RenderBody,
}

/// A render job.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobAnswer {
    /// The id.
    pub id: String,
    /// `queued`, `running`, `succeeded`, `failed` or `cancelled`.
    pub state: String,
    /// How far it is.
    pub progress_percent: u64,
    /// The step that is being worked on.
    pub step: Option<String>,
    /// Every step.
    pub steps: Vec<StepAnswer>,
    /// What it is less than asked for.
    pub degraded: Vec<String>,
    /// What can be fetched.
    pub artifacts: Vec<ArtifactAnswer>,
    /// What it used so far.
    #[schema(value_type = Vec<Object>)]
    pub usage: Value,
    /// Why it failed, as a problem.
    #[schema(value_type = Option<ProblemDocument>)]
    pub error: Option<Value>,
}

/// A step of a job.
#[derive(Debug, Serialize, ToSchema)]
pub struct StepAnswer {
    /// Its name.
    pub name: String,
    /// `pending`, `running`, `succeeded`, `failed` or `cancelled`.
    pub state: String,
    /// How many attempts were started.
    pub attempts: u32,
    /// When the last attempt began.
    pub started_at: Option<String>,
    /// When the last attempt ended.
    pub ended_at: Option<String>,
    /// Why the last attempt failed.
    pub error: Option<String>,
}

/// A file of a job.
#[derive(Debug, Serialize, ToSchema)]
pub struct ArtifactAnswer {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// What it is.
    pub content_type: String,
    /// Where it is.
    pub url: String,
}
