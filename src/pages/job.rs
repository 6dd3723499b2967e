//! The page of one job: its progress, then its video.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use tenantry_actors::ids::JobId;
use tenantry_actors::tenant::job_view::{JobView, StepView};
use tenantry_actors::tenant::steps::JobState;

use super::form::UserForm;
use super::frame::{Frame, Visitor, page, see_other};
use super::words;
use crate::auth::Scope;
use crate::problem::Result;
use crate::routes::{PathId, Web, render};

#[derive(Template)]
#[template(path = "job.html")]
struct JobPage {
    frame: Frame,
    csrf: String,
    id: String,
    state: &'static str,
    headline: &'static str,
    status: String,
    percent: u8,
    is_open: bool,
    can_retry: bool,
    problem: Option<Trouble>,
    video: Option<Video>,
    degraded: Vec<String>,
    usage: Vec<Used>,
    steps: Vec<StepLine>,
}

struct Trouble {
    title: String,
    detail: String,
}

struct Video {
    url: String,
    size: String,
}

struct Used {
    name: String,
    amount: String,
}

struct StepLine {
    name: String,
    state: String,
    title: String,
    how: String,
}

pub(super) async fn show(
    State(web): State<Web>,
    visitor: Visitor,
    PathId(id): PathId<JobId>,
) -> Result<Response> {
    visitor.caller().may(Scope::RenderRead)?;
    let job = web.tenants.job(visitor.caller().tenant(), id).await?;
    Ok(page(StatusCode::OK, &job_page(&web, &visitor, &job)))
}

fn job_page(web: &Web, visitor: &Visitor, job: &JobView) -> JobPage {
    let headline = match job.state {
        JobState::Queued => "Your video is waiting for its turn",
        JobState::Running => "Rendering your video",
        JobState::Succeeded => "Your video is ready",
        JobState::Failed => "This did not work",
        JobState::Cancelled => "Cancelled",
    };
    let status = match (job.state, &job.step) {
        (JobState::Running, Some(step)) => {
            format!("{} %: {}", job.progress_percent, words::step(&step.to_string()))
        }
        (JobState::Running | JobState::Queued, _) => format!("{} %", job.progress_percent),
        (JobState::Succeeded, _) => {
            format!("{} scenes, {}", job.scenes, words::amount(job.length_ms, "ms"))
        }
        (JobState::Failed | JobState::Cancelled, _) => {
            "What was not used was given back.".to_owned()
        }
    };
    let is_video = |kind: &str| kind.starts_with("video/");
    let video = job.artifacts.iter().find(|artifact| is_video(&artifact.content_type));
    let used = job.usage.iter().map(|item| {
        let meter = item.meter.as_str();
        Used {
            name: words::meter(&web.catalogue, meter),
            amount: words::amount(item.amount, words::unit(&web.catalogue, meter)),
        }
    });
    JobPage {
        frame: visitor.frame("library"),
        csrf: visitor.token.as_str().to_owned(),
        id: job.id.to_string(),
        state: job.state.as_str(),
        headline,
        status,
        percent: job.progress_percent,
        is_open: !job.state.is_ended(),
        can_retry: matches!(job.state, JobState::Failed | JobState::Cancelled),
        problem: job
            .error
            .as_ref()
            .map(|error| Trouble { title: error.title.to_owned(), detail: error.detail.clone() }),
        video: video
            .map(|artifact| Video { url: artifact.url.clone(), size: words::size(artifact.bytes) }),
        degraded: job.degraded.iter().copied().map(degraded).collect(),
        usage: used.collect(),
        steps: job.steps.iter().map(step_line).collect(),
    }
}

fn degraded(cause: tenantry_actors::tenant::steps::Cause) -> String {
    let word = serde_json::to_value(cause).ok();
    let word = word.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default();
    word.replace(['_', '-'], " ")
}

fn step_line(step: &StepView) -> StepLine {
    let state = serde_json::to_value(step.state).ok();
    let state = state.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    let name = step.name.to_string();
    let word = match state.as_str() {
        "pending" => "",
        "running" => "working",
        "succeeded" => "done",
        other => other,
    };
    let again = step.attempts > 1 && state != "succeeded";
    let how = if again { format!("{word}, attempt {}", step.attempts) } else { word.to_owned() };
    StepLine { title: words::step(&name), name, state, how }
}

pub(super) async fn cancel(
    State(web): State<Web>,
    PathId(id): PathId<JobId>,
    form: UserForm,
) -> Result<Response> {
    let call = &form.visitor.call;
    call.caller.may(Scope::RenderWrite)?;
    web.tenants.cancel(call.caller.tenant(), id, call.context()).await?;
    Ok(see_other(&format!("/jobs/{id}")))
}

pub(super) async fn retry(
    State(web): State<Web>,
    PathId(id): PathId<JobId>,
    form: UserForm,
) -> Result<Response> {
    let call = &form.visitor.call;
    call.caller.may(Scope::RenderWrite)?;
    web.tenants.retry(call.caller.tenant(), id, call.context()).await?;
    Ok(see_other(&format!("/jobs/{id}")))
}

pub(super) async fn delete(
    State(web): State<Web>,
    PathId(id): PathId<JobId>,
    form: UserForm,
) -> Result<Response> {
    let call = &form.visitor.call;
    call.caller.may(Scope::RenderWrite)?;
    render::remove(&web, call, id).await?;
    Ok(see_other("/library"))
}
