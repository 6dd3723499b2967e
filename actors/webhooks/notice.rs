//! What a line of the journal tells endpoints: computed without the database, from the line alone.

use aws_lc_rs::digest::{Context, SHA256};
use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use super::EventKind;
use crate::clock::Timestamp;
use crate::ids::{DeliveryId, EndpointId, EventId, TenantId};
use crate::journal::Line;
use crate::journal::entry::EntryBody;
use crate::tenant::period::PeriodName;
use crate::tenant::plan::PlanName;
use crate::tenant::quota::{Charge, Closed, Fact};
use crate::tenant::steps::{JobFact, JobState};

/// Bytes of a delivery's fingerprint: enough to tell any two apart.
const FINGERPRINT_BYTES: usize = 16;

/// Something that endpoints may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) kind: EventKind,
    /// The entry that tells it.
    pub(crate) seq: u64,
    pub(crate) at: Timestamp,
    /// Of notices of a kind with the same word here, an endpoint is told one.
    pub(crate) once: String,
    /// Ids, figures and names of the catalogue; never a client's text.
    data: Value,
}

/// What is told, and the word for which it is told once; without one, each entry is.
struct Told {
    kind: EventKind,
    once: Option<String>,
    data: Value,
}

impl Told {
    fn each(kind: EventKind, data: Value) -> Self {
        Self { kind, once: None, data }
    }
}

impl Notice {
    /// Returns what a line tells: nothing for most.
    pub(crate) fn all_of(line: &Line) -> Vec<Self> {
        let told = match &line.body {
            EntryBody::Usage(fact) => of_usage(fact),
            EntryBody::Job(fact) => of_job(fact),
        };
        let (seq, at) = (line.seq, line.at);
        let notice = |told: Told| {
            let once = told.once.unwrap_or_else(|| seq.to_string());
            Self { kind: told.kind, seq, at, once, data: told.data }
        };
        told.into_iter().map(notice).collect()
    }

    /// Names the event, the same each time that its entry is projected.
    pub(crate) fn event(&self, tenant: TenantId) -> EventId {
        EventId::derived(self.at, &bytes(tenant, self.kind.as_str(), &self.once, "event"))
    }

    /// Names the event's way to one endpoint, likewise.
    pub(crate) fn delivery(&self, tenant: TenantId, endpoint: EndpointId) -> DeliveryId {
        delivery_id(tenant, (self.kind.as_str(), &self.once), self.at, endpoint)
    }

    /// Digests what every delivery of the event has in common.
    pub(crate) fn fingerprint(&self, tenant: TenantId) -> String {
        let event = self.event(tenant).to_string();
        fingerprint(&event, self.at.as_micros(), &self.body(tenant))
    }

    /// Writes what is sent, byte for byte.
    pub(crate) fn body(&self, tenant: TenantId) -> String {
        json!({
            "id": self.event(tenant),
            "type": self.kind.as_str(),
            "timestamp": self.at,
            "tenant_id": tenant,
            "seq": self.seq,
            "data": self.data,
        })
        .to_string()
    }
}

/// Names the way of an event to one endpoint, told by its kind and the word for which it is told
/// once.
pub(crate) fn delivery_id(
    tenant: TenantId,
    (kind, once): (&str, &str),
    at: Timestamp,
    endpoint: EndpointId,
) -> DeliveryId {
    DeliveryId::derived(at, &bytes(tenant, kind, once, &endpoint.to_string()))
}

/// Digests what every delivery of an event has in common.
pub(crate) fn fingerprint(event: &str, at: i64, body: &str) -> String {
    let mut context = Context::new(&SHA256);
    context.update(event.as_bytes());
    context.update(&at.to_be_bytes());
    context.update(body.as_bytes());
    HEXLOWER.encode(&context.finish().as_ref()[..FINGERPRINT_BYTES])
}

fn bytes(tenant: TenantId, kind: &str, once: &str, what: &str) -> [u8; 10] {
    let mut context = Context::new(&SHA256);
    context.update(&tenant.bits().to_be_bytes());
    for part in [kind, once, what] {
        context.update(part.as_bytes());
        context.update(b"\n");
    }
    let mut bytes = [0; 10];
    bytes.copy_from_slice(&context.finish().as_ref()[..10]);
    bytes
}

fn of_usage(fact: &Fact) -> Vec<Told> {
    match fact {
        Fact::Consumed { items, period }
        | Fact::Committed { items, period, .. }
        | Fact::CommittedLate { items, period, .. }
        | Fact::PartCommitted { items, period, .. }
        | Fact::Recorded { items, period, .. } => over_limit(items, period),
        Fact::Adjusted { items, delta, period, .. } if *delta > 0 => over_limit(items, period),
        Fact::ThresholdReached { meter, percent, used, limit, period, .. } => {
            let data = json!({
                "meter": meter, "percent": percent, "used": used, "limit": limit, "period": period,
            });
            vec![Told::each(EventKind::ThresholdReached, data)]
        }
        Fact::Expired { reservation, items, expires_at, period, .. } => {
            let items: Vec<Value> = items.iter().map(returned).collect();
            let data = json!({
                "reservation_id": reservation, "expired_at": expires_at, "items": items,
                "period": period,
            });
            vec![Told::each(EventKind::ReservationExpired, data)]
        }
        Fact::PlanSet { terms, .. } => vec![plan_changed(&terms.plan)],
        Fact::PeriodRolled { from, to, closed, plan, .. } => {
            let meters: Vec<Value> = closed.iter().map(stood).collect();
            let data = json!({ "closed": from, "opened": to, "meters": meters });
            let mut told = vec![Told::each(EventKind::PeriodRolled, data)];
            told.extend(plan.as_ref().map(plan_changed));
            told
        }
        _ => Vec::new(),
    }
}

/// Tells of the meters whose use passed their limit just now. One that falls back and passes it
/// again in the same period is told once.
fn over_limit(items: &[Charge], period: &PeriodName) -> Vec<Told> {
    let mut told = Vec::new();
    for charge in items {
        let Some(limit) = charge.limit else { continue };
        if charge.used <= limit || charge.used.saturating_sub(charge.amount) > limit {
            continue;
        }
        let data = json!({
            "meter": charge.meter, "used": charge.used, "limit": limit,
            "over": charge.used.saturating_sub(limit), "period": period,
        });
        let once = Some(format!("{} {}", charge.meter, period.as_str()));
        told.push(Told { kind: EventKind::OverLimit, once, data });
    }
    told
}

fn plan_changed(plan: &PlanName) -> Told {
    Told::each(EventKind::PlanChanged, json!({ "plan": plan }))
}

fn stood(closed: &Closed) -> Value {
    json!({ "meter": closed.meter, "used": closed.used, "reserved": closed.reserved })
}

fn of_job(fact: &JobFact) -> Vec<Told> {
    let mut told = match fact {
        JobFact::StepSucceeded { items, period, .. } => over_limit(items, period),
        _ => Vec::new(),
    };
    let kind = match fact.end().map(|end| end.state) {
        Some(JobState::Succeeded) => EventKind::JobSucceeded,
        Some(JobState::Failed) => EventKind::JobFailed,
        Some(JobState::Cancelled) => EventKind::JobCancelled,
        Some(JobState::Queued | JobState::Running) | None => return told,
    };
    let mut data = json!({ "job_id": fact.job() });
    match fact {
        JobFact::StepFailed { step, code, .. } => {
            data["step"] = step.to_string().into();
            data["code"] = code.as_str().into();
        }
        JobFact::JobExpired { .. } => data["code"] = "job-expired".into(),
        _ => {}
    }
    told.push(Told::each(kind, data));
    told
}

fn returned(charge: &Charge) -> Value {
    json!({ "meter": charge.meter, "amount": charge.held })
}
