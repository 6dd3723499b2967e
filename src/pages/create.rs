//! The create page: a plan as a form, from a template or from nothing.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tenantry_actors::ids::RequestId;
use tenantry_actors::studio::plan::{FieldError, RenderPlan, SCENES_MAX};
use tenantry_actors::studio::templates::{Template as PlanTemplate, templates};

use super::form::{Fields, UserForm};
use super::frame::{Frame, Visitor, page, see_other};
use crate::auth::Scope;
use crate::problem::{Problem, ProblemKind, Result};
use crate::routes::templates::voice_name;
use crate::routes::{Web, render};

/// The feature that 4k needs.
const FEATURE_4K: &str = "4k";

#[derive(Template)]
#[template(path = "create.html")]
struct CreatePage {
    frame: Frame,
    csrf: String,
    /// The idempotency key of this form: a second press begins nothing new.
    key: String,
    templates: Vec<Chip>,
    errors: Vec<Mistake>,
    topic: String,
    languages: Vec<LanguageOption>,
    voice: String,
    resolution: String,
    has_4k: bool,
    scenes: Vec<SceneFields>,
}

struct Chip {
    name: String,
    title: String,
    is_current: bool,
}

struct Mistake {
    anchor: String,
    label: String,
    detail: String,
}

struct LanguageOption {
    tag: String,
    name: String,
    is_current: bool,
}

/// One scene as its fields.
#[derive(Clone, Debug, Default)]
struct SceneFields {
    number: usize,
    image_prompt: String,
    narration: String,
    duration_s: String,
}

/// A plan as its fields: what was typed, right or wrong.
#[derive(Clone, Debug, Default)]
struct PlanFields {
    topic: String,
    language: String,
    voice: String,
    resolution: String,
    scenes: Vec<SceneFields>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct CreateArgs {
    template: Option<String>,
}

pub(super) async fn show(
    State(web): State<Web>,
    visitor: Visitor,
    args: std::result::Result<Query<CreateArgs>, axum::extract::rejection::QueryRejection>,
) -> Result<Response> {
    let name = args.ok().and_then(|Query(args)| args.template);
    let template = templates().iter().find(|known| Some(known.name) == name.as_deref());
    let plan = match template {
        Some(template) => PlanFields::of(template),
        None => PlanFields::blank(),
    };
    form_page(&web, &visitor, plan, Vec::new(), name.as_deref()).await
}

pub(super) async fn submit(State(web): State<Web>, form: UserForm) -> Result<Response> {
    let UserForm { visitor, fields } = form;
    visitor.caller().may(Scope::RenderWrite)?;
    let mut plan = PlanFields::read(&fields);
    let action = fields.one("action");
    if action == "add" {
        plan.scenes.truncate(SCENES_MAX.saturating_sub(1));
        plan.scenes.push(SceneFields { duration_s: "5".to_owned(), ..SceneFields::default() });
        return form_page(&web, &visitor, plan, Vec::new(), None).await;
    }
    if let Some(number) = action.strip_prefix("remove-") {
        let removed = number.parse::<usize>().unwrap_or_default();
        plan.scenes.retain(|scene| scene.number != removed);
        return form_page(&web, &visitor, plan, Vec::new(), None).await;
    }
    let checked = match RenderPlan::from_value(&plan.document(), &web.voices) {
        Ok(checked) => checked,
        Err(errors) => return form_page(&web, &visitor, plan, errors, None).await,
    };
    let key = fields.one("key");
    if key.parse::<RequestId>().is_err() {
        return Err(Problem::new(ProblemKind::IdempotencyKeyInvalid));
    }
    let answer = render::begin(&web, &visitor.call, key, checked).await?;
    Ok(see_other(&format!("/jobs/{}", answer.value.id)))
}

async fn form_page(
    web: &Web,
    visitor: &Visitor,
    mut plan: PlanFields,
    errors: Vec<FieldError>,
    template: Option<&str>,
) -> Result<Response> {
    for (index, scene) in plan.scenes.iter_mut().enumerate() {
        scene.number = index + 1;
    }
    let has_4k = web.tenants.allows(visitor.caller().tenant(), FEATURE_4K).await?;
    let status = if errors.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    let chips = templates().iter().map(|known| Chip {
        name: known.name.to_owned(),
        title: known.title.to_owned(),
        is_current: Some(known.name) == template,
    });
    let languages = web.voices.languages().map(|language| LanguageOption {
        tag: language.tag.clone(),
        name: language.name.clone(),
        is_current: language.tag == plan.language,
    });
    let created = CreatePage {
        frame: visitor.frame("create"),
        csrf: visitor.token.as_str().to_owned(),
        key: RequestId::generate(web.clock.as_ref()).to_string(),
        templates: chips.collect(),
        errors: errors.into_iter().map(Mistake::of).collect(),
        topic: plan.topic,
        languages: languages.collect(),
        voice: plan.voice,
        resolution: plan.resolution,
        has_4k,
        scenes: plan.scenes,
    };
    Ok(page(status, &created))
}

impl Mistake {
    /// Where on the page the field stands that a pointer names.
    fn of(error: FieldError) -> Self {
        let parts: Vec<&str> = error.pointer.split('/').skip(1).collect();
        let (anchor, label) = match parts.as_slice() {
            ["scenes", index, field] => {
                let number = index.parse::<usize>().unwrap_or_default() + 1;
                (format!("{field}-{number}"), format!("Scene {number}, {}", label(field)))
            }
            ["scenes", ..] => ("scenes".to_owned(), "Scenes".to_owned()),
            [field] => ((*field).to_owned(), label(field).to_owned()),
            _ => (String::new(), String::new()),
        };
        Self { anchor, label, detail: error.detail }
    }
}

fn label(field: &str) -> &str {
    match field {
        "topic" => "Topic",
        "language" => "Language",
        "voice" => "Voice",
        "resolution" => "Picture",
        "image_prompt" => "what it shows",
        "narration" => "what is said",
        "duration_s" => "seconds",
        other => other,
    }
}

impl PlanFields {
    fn blank() -> Self {
        Self {
            language: "en".to_owned(),
            voice: "F".to_owned(),
            resolution: "720p".to_owned(),
            scenes: vec![SceneFields { duration_s: "5".to_owned(), ..SceneFields::default() }],
            ..Self::default()
        }
    }

    fn of(template: &PlanTemplate) -> Self {
        let plan = &template.plan;
        let scene = |scene: &tenantry_actors::studio::plan::Scene| SceneFields {
            number: 0,
            image_prompt: scene.image_prompt.clone(),
            narration: scene.narration.clone(),
            duration_s: seconds(scene.duration_ms),
        };
        Self {
            topic: plan.topic.clone(),
            language: plan.language.clone(),
            voice: voice_name(plan.voice).to_owned(),
            resolution: plan.resolution.as_str().to_owned(),
            scenes: plan.scenes.iter().map(scene).collect(),
        }
    }

    /// Reads what was typed; one scene too many is kept, so that the check can say so.
    fn read(fields: &Fields) -> Self {
        let mut narrations = fields.all("narration");
        let mut durations = fields.all("duration_s");
        let scenes = fields.all("image_prompt").take(SCENES_MAX + 1).enumerate().map(
            |(index, image_prompt)| SceneFields {
                number: index + 1,
                image_prompt: unix_lines(image_prompt),
                narration: unix_lines(narrations.next().unwrap_or_default()),
                duration_s: durations.next().unwrap_or_default().trim().to_owned(),
            },
        );
        Self {
            topic: fields.one("topic").trim().to_owned(),
            language: fields.one("language").to_owned(),
            voice: fields.one("voice").to_owned(),
            resolution: fields.one("resolution").to_owned(),
            scenes: scenes.collect(),
        }
    }

    /// The plan as the API would get it, so that one check serves both.
    fn document(&self) -> Value {
        let scene = |scene: &SceneFields| {
            let number = scene.duration_s.replace(',', ".").parse::<serde_json::Number>();
            json!({
                "image_prompt": scene.image_prompt,
                "narration": scene.narration,
                "duration_s": number.map_or_else(|_| json!(scene.duration_s), Value::Number),
            })
        };
        json!({
            "topic": self.topic,
            "language": self.language,
            "voice": self.voice,
            "resolution": self.resolution,
            "scenes": self.scenes.iter().map(scene).collect::<Vec<_>>(),
        })
    }
}

/// Browsers send line ends as CR LF.
fn unix_lines(text: &str) -> String {
    text.replace("\r\n", "\n")
}

fn seconds(ms: u64) -> String {
    let (whole, rest) = (ms / 1_000, ms % 1_000);
    if rest == 0 { whole.to_string() } else { format!("{whole}.{rest:03}") }
}
