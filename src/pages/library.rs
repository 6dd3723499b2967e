//! The library: a tenant's jobs, newest first, and what they store.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use tenantry_actors::tenant::job_view::{JobSummary, JobsQuery};

use super::frame::{Frame, Visitor, page};
use super::words;
use crate::auth::Scope;
use crate::problem::Result;
use crate::routes::Web;

/// Jobs on one page.
const PAGE_JOBS: usize = 20;
/// The meter of stored bytes.
const STORAGE: &str = "storage_bytes";

#[derive(Template)]
#[template(path = "library.html")]
struct LibraryPage {
    frame: Frame,
    storage: StorageLine,
    jobs: Vec<JobLine>,
    next: Option<String>,
}

struct StorageLine {
    text: String,
    percent: u64,
}

struct JobLine {
    id: String,
    state: &'static str,
    created: String,
    created_at: String,
    what: String,
    percent: u8,
    is_open: bool,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct LibraryArgs {
    cursor: Option<String>,
}

pub(super) async fn show(
    State(web): State<Web>,
    visitor: Visitor,
    args: std::result::Result<Query<LibraryArgs>, axum::extract::rejection::QueryRejection>,
) -> Result<Response> {
    visitor.caller().may(Scope::RenderRead)?;
    let cursor = args.ok().and_then(|Query(args)| args.cursor);
    let tenant = visitor.caller().tenant();
    let query = JobsQuery { state: None, cursor, limit: PAGE_JOBS };
    let jobs = web.tenants.jobs(tenant, query).await?;
    let usage = web.tenants.usage(tenant).await?;
    let stored = usage.meters.iter().find(|meter| meter.meter.as_str() == STORAGE);
    let storage = stored.map_or_else(
        || StorageLine { text: String::new(), percent: 0 },
        |meter| {
            let used = words::amount(meter.used, &meter.unit);
            let limit = words::limit(meter.limit, &meter.unit);
            let text = format!("{used} of {limit} stored.");
            StorageLine { text, percent: words::bar(meter.percent, meter.used) }
        },
    );
    let library = LibraryPage {
        frame: visitor.frame("library"),
        storage,
        jobs: jobs.data.iter().map(line).collect(),
        next: jobs.next_cursor,
    };
    Ok(page(StatusCode::OK, &library))
}

fn line(job: &JobSummary) -> JobLine {
    let video = job.artifacts.iter().find(|a| a.content_type.starts_with("video/"));
    let size = video.map(|video| format!(", {}", words::size(video.bytes))).unwrap_or_default();
    let scenes = if job.scenes == 1 { "scene" } else { "scenes" };
    JobLine {
        id: job.id.to_string(),
        state: job.state.as_str(),
        created: words::moment(job.created_at),
        created_at: job.created_at.to_string(),
        what: format!("{} {scenes}, {}{size}", job.scenes, job.resolution.as_str()),
        percent: job.progress_percent,
        is_open: !job.state.is_ended(),
    }
}
