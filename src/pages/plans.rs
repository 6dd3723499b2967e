//! The plans: what each includes and costs.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use tenantry_actors::tenant::plan::Plan;

use super::frame::{Frame, MaybeVisitor, page};
use super::words;
use crate::problem::Result;
use crate::routes::Web;

#[derive(Template)]
#[template(path = "plans.html")]
struct PlansPage {
    frame: Frame,
    plans: Vec<PlanCard>,
}

struct PlanCard {
    name: String,
    title: String,
    price: String,
    lines: Vec<String>,
    is_current: bool,
}

pub(super) async fn show(State(web): State<Web>, visitor: MaybeVisitor) -> Result<Response> {
    let current = match &visitor.0 {
        Some(visitor) => Some(web.tenants.plan_name(visitor.caller().tenant()).await?),
        None => None,
    };
    let is_current = |plan: &Plan| current.as_ref() == Some(&plan.name);
    let cards = web.catalogue.plans().iter().map(|plan| card(&web, plan, is_current(plan)));
    let plans = PlansPage { frame: visitor.frame("plans"), plans: cards.collect() };
    Ok(page(StatusCode::OK, &plans))
}

fn card(web: &Web, plan: &Plan, is_current: bool) -> PlanCard {
    let price = match plan.price {
        None => "By agreement".to_owned(),
        Some(price) if price.amount_minor == 0 => "Free of charge".to_owned(),
        Some(price) => {
            let (whole, cents) = (price.amount_minor / 100, price.amount_minor % 100);
            let cents = if cents == 0 { String::new() } else { format!(".{cents:02}") };
            let currency = price.currency.to_string().to_uppercase();
            format!("{whole}{cents} {currency} a month")
        }
    };
    let limits = plan.terms.meters.iter().map(|meter| {
        let limit = words::limit(meter.limit, &meter.unit);
        format!("{}: {limit}", words::meter(&web.catalogue, meter.meter.as_str()))
    });
    let features = plan.terms.features.iter().map(|feature| format!("Includes {feature}"));
    PlanCard {
        name: plan.name.to_string(),
        title: plan.title.clone(),
        price,
        lines: limits.chain(features).collect(),
        is_current,
    }
}
