//! What the domain refuses, as problems.

use serde_json::{Value, json};
use tenantry_actors::identity::IdentityError;
use tenantry_actors::journal::JournalError;
use tenantry_actors::storage::StorageError;
use tenantry_actors::studio::plan::FieldError;
use tenantry_actors::tenant::TenantError;
use tenantry_actors::tenant::quota::Refusal;
use tenantry_actors::webhooks::WebhookError;

use super::{Problem, ProblemKind};

/// Seconds after which something that is away is worth another try.
const UNAVAILABLE_RETRY_S: u64 = 5;
/// Where the plans are shown; a path, because the problem is also read from other front ends.
pub(crate) const UPGRADE_PATH: &str = "/plans";

impl From<TenantError> for Problem {
    fn from(error: TenantError) -> Self {
        let unavailable = |kind| Self::new(kind).retry_after(UNAVAILABLE_RETRY_S);
        match error {
            TenantError::Refused(refusal) => refusal.into(),
            TenantError::KeyReused => Self::new(ProblemKind::IdempotencyKeyReused),
            TenantError::InFlight => Self::new(ProblemKind::RequestInFlight).retry_after(1),
            TenantError::Overloaded { retry_after_s } => {
                Self::new(ProblemKind::Overloaded).retry_after(retry_after_s)
            }
            TenantError::Quarantined { retry_after_s } => {
                Self::new(ProblemKind::TenantQuarantined).retry_after(retry_after_s)
            }
            TenantError::OutcomeUnknown => Self::new(ProblemKind::OutcomeUnknown),
            TenantError::StorageFull => unavailable(ProblemKind::StorageFull),
            TenantError::UnknownPlan => Self::new(ProblemKind::NotFound),
            TenantError::InvalidCursor => {
                Self::new(ProblemKind::MalformedQuery).detail("`cursor` is not one of this list")
            }
            TenantError::Unavailable => unavailable(ProblemKind::Unavailable),
            TenantError::DeadlineExceeded => Self::new(ProblemKind::DeadlineExceeded),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let text = sentence(&refusal.to_string());
        let invalid = |pointer: &str| Self::invalid(pointer, text.clone());
        let plain = |kind| Self::new(kind).detail(text.clone());
        let of_meter =
            |kind, meter: String| plain(kind).with("meter", meter).field("/items", text.clone());
        match refusal {
            Refusal::QuotaExceeded { .. } => {
                with_fields(ProblemKind::QuotaExceeded, &refusal, "QuotaExceeded", text)
            }
            Refusal::PlanRequired { feature, plan } => plain(ProblemKind::PlanRequired)
                .with("feature", feature)
                .with("plan", plan.as_str())
                .with("upgrade_url", UPGRADE_PATH),
            Refusal::FeatureOff { feature } => {
                plain(ProblemKind::FeatureOff).with("feature", feature)
            }
            Refusal::UnknownMeter { meter } => of_meter(ProblemKind::UnknownMeter, meter),
            Refusal::InvalidAmount { .. }
            | Refusal::InvalidItems { .. }
            | Refusal::NotALevel { .. } => invalid("/items"),
            Refusal::InvalidTtl { .. } => invalid("/ttl_s"),
            Refusal::PlanTooLong { .. } => invalid("/scenes"),
            Refusal::InvalidClock { now, latest } => {
                invalid("/to").with("now", now.to_string()).with("latest", latest.to_string())
            }
            Refusal::NotInTestMode => plain(ProblemKind::NotInTestMode),
            Refusal::InTestMode => plain(ProblemKind::InTestMode),
            Refusal::TooManyReservations { max } => {
                plain(ProblemKind::TooManyReservations).with("max", max)
            }
            Refusal::TooManyJobs { max } => plain(ProblemKind::TooManyJobs).with("max", max),
            Refusal::ReservationNotFound | Refusal::JobNotFound | Refusal::GrantNotFound => {
                Self::new(ProblemKind::NotFound)
            }
            Refusal::ReservationExpired { expired_at } => {
                plain(ProblemKind::ReservationExpired).with("expired_at", expired_at.to_string())
            }
            Refusal::ReservationSettled { settled } => plain(ProblemKind::ReservationSettled)
                .with("reservation", serde_json::to_value(&*settled).unwrap_or(Value::Null)),
            Refusal::ExceedsReservation { ref meter, held, remaining, requested } => {
                plain(ProblemKind::ExceedsReservation)
                    .with("meter", meter.as_str())
                    .with("held", held)
                    .with("remaining", remaining)
                    .with("requested", requested)
            }
            Refusal::MeterNotHeld { meter } => of_meter(ProblemKind::MeterNotHeld, meter),
            Refusal::OwedInOtherCurrency { owed_minor, currency, .. } => {
                plain(ProblemKind::OwedInOtherCurrency)
                    .with("owed_minor", owed_minor)
                    .with("currency", currency.code())
            }
            Refusal::JobState { state } => plain(ProblemKind::JobState).with("state", state),
            Refusal::SpendCapReached { .. } => {
                with_fields(ProblemKind::SpendCapReached, &refusal, "SpendCapReached", text)
            }
            Refusal::NoOverage { plan } => {
                plain(ProblemKind::NoOverage).with("plan", plan.as_str())
            }
            Refusal::InvalidSpendCap { .. } => invalid("/amount_minor"),
            Refusal::NegativeUsage { meter, used } => {
                plain(ProblemKind::NegativeUsage).with("meter", meter).with("used", used)
            }
            Refusal::InvalidEvents { .. } => plain(ProblemKind::TooManyEvents),
            Refusal::GrantExists => plain(ProblemKind::GrantExists),
            Refusal::InvalidExpiry { .. } => invalid("/expires_at"),
            Refusal::TooManyGrants { max } => plain(ProblemKind::TooManyGrants).with("max", max),
            Refusal::StaleAttempt => Self::internal("a stale attempt reached the edge"),
        }
    }
}

/// A refusal whose own fields are the members that the contract names.
fn with_fields(kind: ProblemKind, refusal: &Refusal, variant: &str, text: String) -> Problem {
    let mut problem = Problem::new(kind).detail(text);
    let fields = serde_json::to_value(refusal).ok();
    let fields = fields.as_ref().and_then(|value| value.get(variant));
    for (name, value) in fields.and_then(Value::as_object).into_iter().flatten() {
        problem = problem.with(name, value.clone());
    }
    problem.with("upgrade_url", json!(UPGRADE_PATH))
}

/// `the meter is gone` becomes `The meter is gone.`
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), letters.as_str())
}

impl From<IdentityError> for Problem {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::InvalidEmail(_) => Self::invalid("/email", "expected an e-mail address"),
            IdentityError::LinkInvalid => Self::new(ProblemKind::LinkInvalid),
            IdentityError::TooManyLinks { retry_after_s } => Self::new(ProblemKind::RateLimited)
                .detail("Too many login mails were asked for.")
                .retry_after(retry_after_s),
            IdentityError::Unauthenticated => Self::new(ProblemKind::Unauthenticated),
            IdentityError::Forbidden => Self::new(ProblemKind::RoleRequired),
            IdentityError::NotFound => Self::new(ProblemKind::NotFound),
            IdentityError::InvalidName => Self::invalid("/name", "expected 1 to 100 characters"),
            IdentityError::StorageFull => {
                Self::new(ProblemKind::StorageFull).retry_after(UNAVAILABLE_RETRY_S)
            }
            IdentityError::Unavailable => {
                Self::new(ProblemKind::Unavailable).retry_after(UNAVAILABLE_RETRY_S)
            }
            IdentityError::Key(_) | IdentityError::Inconsistent(_) => Self::internal(error),
        }
    }
}

impl From<WebhookError> for Problem {
    fn from(error: WebhookError) -> Self {
        match error {
            WebhookError::Url(fault) => Self::invalid("/url", fault.to_string()),
            WebhookError::Overlap { .. } => Self::invalid("/overlap_seconds", error.to_string()),
            WebhookError::TooMany { max } => Self::new(ProblemKind::TooManyWebhookEndpoints)
                .detail(sentence(&error.to_string()))
                .with("max", max),
            WebhookError::NotFound => Self::new(ProblemKind::NotFound),
            WebhookError::Disabled => Self::new(ProblemKind::WebhookEndpointDisabled),
            WebhookError::InvalidCursor => {
                Self::new(ProblemKind::MalformedQuery).detail("`cursor` is not one of this list")
            }
            WebhookError::Store(error) => error.into(),
            WebhookError::Sender(_) => Self::internal(error),
        }
    }
}

impl From<JournalError> for Problem {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Store(store) if store.is_transient() => {
                Self::new(ProblemKind::Unavailable)
                    .caused_by(store)
                    .retry_after(UNAVAILABLE_RETRY_S)
            }
            error => Self::internal(error),
        }
    }
}

impl From<StorageError> for Problem {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::NotFound | StorageError::InvalidKey => Self::new(ProblemKind::NotFound),
            StorageError::InvalidRange { size_bytes } => {
                let range = http::HeaderValue::from_str(&format!("bytes */{size_bytes}"));
                let range = range.unwrap_or_else(|_| http::HeaderValue::from_static("bytes */0"));
                Self::new(ProblemKind::RangeNotSatisfiable)
                    .header(http::header::CONTENT_RANGE, range)
            }
            StorageError::Full => {
                Self::new(ProblemKind::StorageFull).retry_after(UNAVAILABLE_RETRY_S)
            }
            error => Self::new(ProblemKind::Unavailable)
                .caused_by(error)
                .retry_after(UNAVAILABLE_RETRY_S),
        }
    }
}

impl From<Vec<FieldError>> for Problem {
    fn from(errors: Vec<FieldError>) -> Self {
        errors.into_iter().fold(Self::new(ProblemKind::Invalid), |problem, error| {
            problem.field(error.pointer, error.detail)
        })
    }
}
