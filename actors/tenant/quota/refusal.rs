//! Why a command changed nothing.

use serde::Serialize;

use super::answer::Reservation;
use crate::clock::Timestamp;
use crate::money::Currency;
use crate::tenant::plan::PlanName;

/// Why a command changed nothing. Each has its own `code` and its fields for the problem document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
pub enum Refusal {
    /// The meter has not that much left.
    #[error("{meter} has {remaining} left of {limit}, and {requested} were asked for")]
    QuotaExceeded {
        /// The meter.
        meter: String,
        /// The limit in force.
        limit: u64,
        /// Units used.
        used: u64,
        /// Units in open holds.
        reserved: u64,
        /// `max(0, limit - reserved - used)`.
        remaining: u64,
        /// What was asked for.
        requested: u64,
        /// When a counter begins again; none for a level.
        resets_at: Option<Timestamp>,
        /// The plan in force.
        plan: PlanName,
    },
    /// The limit is used up, and the overage would cost more than the tenant allows.
    #[error("{requested} more of {meter} would cost more than the spend cap")]
    SpendCapReached {
        /// The meter.
        meter: String,
        /// The limit in force.
        limit: u64,
        /// Units used.
        used: u64,
        /// Units in open holds.
        reserved: u64,
        /// What was asked for.
        requested: u64,
        /// How much overage the period may cost.
        cap_minor: u64,
        /// What it costs so far, open holds included, rounded up.
        spent_minor: u64,
        /// What both are in.
        currency: Currency,
        /// When a counter begins again; none for a level.
        resets_at: Option<Timestamp>,
        /// The plan in force.
        plan: PlanName,
    },
    /// A spend cap makes no sense on a plan whose limits are all hard.
    #[error("the plan {plan} has no overage")]
    NoOverage {
        /// The plan in force.
        plan: PlanName,
    },
    /// What is owed in one currency cannot be billed under a plan in another.
    #[error(
        "{owed_minor} minor units of {currency} are owed in the open period, and the plan {plan} \
         is in {plan_currency}: let it come when the period ends"
    )]
    OwedInOtherCurrency {
        /// What is owed so far, rounded up.
        owed_minor: u64,
        /// What it is owed in.
        currency: Currency,
        /// The plan that was to come into force.
        plan: PlanName,
        /// What that one is in.
        plan_currency: Currency,
    },
    /// The spend cap is out of range.
    #[error("a spend cap must be 0 to {max_minor}")]
    InvalidSpendCap {
        /// The most that is accepted.
        max_minor: u64,
    },
    /// A correction would make usage less than nothing.
    #[error("{used} of {meter} are used, which cannot be corrected below 0")]
    NegativeUsage {
        /// The meter.
        meter: String,
        /// Units used.
        used: u64,
    },
    /// There are no events, or too many.
    #[error("there must be 1 to {max} events")]
    InvalidEvents {
        /// The most that is accepted.
        max: usize,
    },
    /// The grant's name is taken.
    #[error("there is such a grant already")]
    GrantExists,
    /// There is no such grant in force.
    #[error("there is no such grant")]
    GrantNotFound,
    /// The grant would be over before it begins.
    #[error("a grant must expire later than {now}")]
    InvalidExpiry {
        /// The present.
        now: Timestamp,
    },
    /// The tenant has too many grants.
    #[error("at most {max} grants may be in force at once")]
    TooManyGrants {
        /// How many may be in force.
        max: usize,
    },
    /// The plan does not include the feature.
    #[error("the plan {plan} does not include {feature}")]
    PlanRequired {
        /// What was asked for.
        feature: String,
        /// The plan in force.
        plan: PlanName,
    },
    /// The operator switched the feature off for this tenant.
    #[error("{feature} is switched off for this account")]
    FeatureOff {
        /// What was asked for.
        feature: String,
    },
    /// There is no such meter.
    #[error("there is no meter `{meter}`")]
    UnknownMeter {
        /// What was asked for.
        meter: String,
    },
    /// An amount or a sum is out of range.
    #[error("an amount of {meter} must be {min} to {max}")]
    InvalidAmount {
        /// The meter.
        meter: String,
        /// The least that is accepted.
        min: u64,
        /// The most that is accepted.
        max: u64,
    },
    /// There are no items, or too many.
    #[error("there must be 1 to {max} items")]
    InvalidItems {
        /// The most that is accepted.
        max: usize,
    },
    /// The time to live is out of range.
    #[error("a hold must live 1 to {max_s} seconds")]
    InvalidTtl {
        /// The most that is accepted now.
        max_s: u64,
    },
    /// Only a level can be freed.
    #[error("{meter} is a counter and cannot be freed")]
    NotALevel {
        /// The meter.
        meter: String,
    },
    /// The tenant has too many open holds.
    #[error("at most {max} holds may be open at once")]
    TooManyReservations {
        /// How many may be open.
        max: usize,
    },
    /// There is no such hold.
    #[error("there is no such reservation")]
    ReservationNotFound,
    /// The hold lapsed.
    #[error("the reservation expired at {expired_at}")]
    ReservationExpired {
        /// When it lapsed.
        expired_at: Timestamp,
    },
    /// The hold already ended in another way.
    #[error("the reservation was already settled in another way")]
    ReservationSettled {
        /// How it ended.
        settled: Box<Reservation>,
    },
    /// A commit names a meter that the hold has nothing of.
    #[error("the reservation holds nothing of {meter}")]
    MeterNotHeld {
        /// The meter.
        meter: String,
    },
    /// More was used than held, and the excess is not available.
    #[error("{requested} of {meter} exceed the {held} held and the {remaining} remaining")]
    ExceedsReservation {
        /// The meter.
        meter: String,
        /// Units held.
        held: u64,
        /// What is left beside the hold.
        remaining: u64,
        /// What was asked for.
        requested: u64,
    },
    /// The tenant has too many open jobs.
    #[error("at most {max} jobs may be open at once")]
    TooManyJobs {
        /// How many may be open.
        max: usize,
    },
    /// There is no such job, or step of it.
    #[error("there is no such job or step")]
    JobNotFound,
    /// The job is not in a state for that.
    #[error("the job is {state}, which does not allow that")]
    JobState {
        /// The state that it is in.
        state: &'static str,
    },
    /// The attempt that reports is not the one that is running.
    #[error("that attempt is no longer running")]
    StaleAttempt,
    /// The tenant lives in real time.
    #[error("only a tenant in test mode has a clock of its own")]
    NotInTestMode,
    /// The tenant lives in a time of its own.
    #[error("jobs run in real time, and this tenant's stands still")]
    InTestMode,
    /// A clock is not advanced backwards, nor too far at once.
    #[error("the clock can be advanced from {now} to {latest} at the latest")]
    InvalidClock {
        /// Where it stands.
        now: Timestamp,
        /// How far one advance may take it.
        latest: Timestamp,
    },
    /// The plan is too long in all.
    #[error("a plan may be at most {max_ms} ms long")]
    PlanTooLong {
        /// The most that is accepted.
        max_ms: u64,
    },
}

impl Refusal {
    /// Returns the slug that ends the problem's `type`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::QuotaExceeded { .. } => "quota-exceeded",
            Self::SpendCapReached { .. } => "spend-cap-reached",
            Self::NoOverage { .. } => "no-overage",
            Self::OwedInOtherCurrency { .. } => "owed-in-other-currency",
            Self::InvalidSpendCap { .. } => "invalid-spend-cap",
            Self::NegativeUsage { .. } => "negative-usage",
            Self::InvalidEvents { .. } => "invalid-events",
            Self::GrantExists => "grant-exists",
            Self::GrantNotFound => "grant-not-found",
            Self::InvalidExpiry { .. } => "invalid-expiry",
            Self::TooManyGrants { .. } => "too-many-grants",
            Self::PlanRequired { .. } => "plan-required",
            Self::FeatureOff { .. } => "feature-off",
            Self::UnknownMeter { .. } => "unknown-meter",
            Self::InvalidAmount { .. } => "invalid-amount",
            Self::InvalidItems { .. } => "invalid-items",
            Self::InvalidTtl { .. } => "invalid-ttl",
            Self::NotALevel { .. } => "not-a-level",
            Self::TooManyReservations { .. } => "too-many-reservations",
            Self::ReservationNotFound => "reservation-not-found",
            Self::ReservationExpired { .. } => "reservation-expired",
            Self::ReservationSettled { .. } => "reservation-settled",
            Self::MeterNotHeld { .. } => "meter-not-held",
            Self::ExceedsReservation { .. } => "exceeds-reservation",
            Self::TooManyJobs { .. } => "too-many-jobs",
            Self::JobNotFound => "job-not-found",
            Self::JobState { .. } => "job-state",
            Self::StaleAttempt => "stale-attempt",
            Self::NotInTestMode => "not-in-test-mode",
            Self::InTestMode => "in-test-mode",
            Self::InvalidClock { .. } => "invalid-clock",
            Self::PlanTooLong { .. } => "plan-too-long",
        }
    }
}
