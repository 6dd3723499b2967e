//! The usage page: a bar for every meter.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use tenantry_actors::tenant::plan::MeterKind;
use tenantry_actors::tenant::quota::MeterUsage;

use super::frame::{Frame, Visitor, page};
use super::words;
use crate::auth::Scope;
use crate::problem::Result;
use crate::routes::Web;

/// From here on a meter is said to be nearly used up, in hundredths.
const NEARLY_FULL_PERCENT: u64 = 80;

#[derive(Template)]
#[template(path = "usage.html")]
struct UsagePage {
    frame: Frame,
    plan: String,
    start: String,
    end: String,
    full: Option<String>,
    meters: Vec<MeterCard>,
    public_url: String,
}

struct MeterCard {
    name: String,
    title: String,
    used: String,
    limit: String,
    is_limited: bool,
    percent: u64,
    rest: String,
}

pub(super) async fn show(State(web): State<Web>, visitor: Visitor) -> Result<Response> {
    visitor.caller().may(Scope::UsageRead)?;
    let report = web.tenants.usage(visitor.caller().tenant()).await?;
    let nearly = report.meters.iter().filter(|m| m.percent.unwrap_or(0) >= NEARLY_FULL_PERCENT);
    let nearly: Vec<String> =
        nearly.map(|m| words::meter(&web.catalogue, m.meter.as_str())).collect();
    let plan = web.catalogue.plan(report.plan.as_str());
    let usage = UsagePage {
        frame: visitor.frame("usage"),
        plan: plan.map_or_else(|| report.plan.to_string(), |plan| plan.title.clone()),
        start: words::day(report.period.start),
        end: words::day(report.period.end),
        full: (!nearly.is_empty()).then(|| format!("Nearly used up: {}.", nearly.join(", "))),
        meters: report.meters.iter().map(|meter| card(&web, meter)).collect(),
        public_url: web.public_url.clone(),
    };
    Ok(page(StatusCode::OK, &usage))
}

fn card(web: &Web, meter: &MeterUsage) -> MeterCard {
    let name = meter.meter.to_string();
    let amount = |units| words::amount(units, &meter.unit);
    let held = if meter.reserved > 0 {
        format!(", {} held for running work", amount(meter.reserved))
    } else {
        String::new()
    };
    let left = match meter.remaining {
        Some(left) => format!("{} left{held}", amount(left)),
        None => format!("No limit{held}"),
    };
    let reset = match meter.kind {
        MeterKind::Counter => "Begins anew with each period.",
        MeterKind::Level => "What is stored now.",
    };
    MeterCard {
        title: words::meter(&web.catalogue, &name),
        used: amount(meter.used),
        limit: words::limit(meter.limit, &meter.unit),
        is_limited: meter.limit.is_some(),
        percent: words::bar(meter.percent, meter.used),
        rest: format!("{left}. {reset}"),
        name,
    }
}
