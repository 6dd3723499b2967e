//! What there is: plans, features, languages and templates.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, HeaderValue};
use serde_json::{Map, Value};
use tenantry_actors::studio::templates::templates;
use tenantry_actors::tenant::plan::Plan;

use super::Web;
use super::openapi::Problems;
use super::schema::{
    FeatureAnswer, FeatureSource, LanguageAnswer, ListAnswer, MoneyAnswer, PlanAnswer,
    TemplateAnswer,
};
use crate::auth::{Caller, Scope};
use crate::problem::{Problem, ProblemKind, Result, UPGRADE_PATH};

/// Public lists change with a new release only.
const CACHE_PUBLIC: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// Says whether this tenant may use a feature: by its plan, unless the operator says otherwise.
#[utoipa::path(
    get, path = "/api/features/{name}", tag = "usage",
    params(("name" = String, Path, description = "The feature")),
    responses((status = 200, body = FeatureAnswer), Problems), security(("bearer" = []))
)]
pub(super) async fn feature(
    State(web): State<Web>,
    caller: Caller,
    name: std::result::Result<Path<String>, axum::extract::rejection::PathRejection>,
) -> Result<axum::Json<FeatureAnswer>> {
    caller.may(Scope::UsageRead)?;
    let missing = || Problem::new(ProblemKind::NotFound);
    let Path(name) = name.map_err(|_| missing())?;
    if !web.catalogue.features().contains(&name) {
        return Err(missing());
    }
    let stand = web.tenants.feature(caller.tenant(), &name).await?;
    // A larger plan does not help against the operator's word.
    let is_missing = !stand.allowed && !stand.is_switched;
    let upgrade_url = is_missing.then(|| format!("{}{UPGRADE_PATH}", web.public_url));
    Ok(axum::Json(FeatureAnswer {
        feature: name,
        allowed: stand.allowed,
        plan: stand.plan.to_string(),
        source: if stand.is_switched { FeatureSource::Operator } else { FeatureSource::Plan },
        upgrade_url,
    }))
}

/// Lists the plans.
#[utoipa::path(
    get, path = "/api/billing/plans", tag = "billing",
    responses((status = 200, body = ListAnswer<PlanAnswer>))
)]
pub(super) async fn plans(State(web): State<Web>) -> Response {
    listed(web.catalogue.plans().iter().map(plan).collect())
}

fn plan(plan: &Plan) -> PlanAnswer {
    let limits: Map<String, Value> =
        plan.terms.meters.iter().map(|m| (m.meter.to_string(), m.limit.into())).collect();
    PlanAnswer {
        name: plan.name.to_string(),
        title: plan.title.clone(),
        price: plan.price.map(|price| MoneyAnswer {
            amount_minor: price.amount_minor,
            currency: price.currency.to_string(),
        }),
        limits: limits.into(),
        features: plan.terms.features.iter().cloned().collect(),
    }
}

/// Lists the languages that can be spoken.
#[utoipa::path(
    get, path = "/api/voices", tag = "studio",
    responses((status = 200, body = ListAnswer<LanguageAnswer>))
)]
pub(super) async fn voices(State(web): State<Web>) -> Response {
    let languages = web.voices.languages().map(|language| LanguageAnswer {
        language: language.tag.clone(),
        name: language.name.clone(),
        voices: language.voices.iter().map(|voice| (*voice).to_owned()).collect(),
    });
    listed(languages.collect())
}

/// Lists ready-made plans to start from.
#[utoipa::path(
    get, path = "/api/templates", tag = "studio",
    responses((status = 200, body = ListAnswer<TemplateAnswer>))
)]
pub(super) async fn list_templates() -> Response {
    listed(templates().iter().map(TemplateAnswer::from).collect())
}

fn listed<T: serde::Serialize>(data: Vec<T>) -> Response {
    let list = ListAnswer { data, next_cursor: None };
    ([(CACHE_CONTROL, CACHE_PUBLIC)], axum::Json(list)).into_response()
}
