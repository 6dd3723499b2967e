//! The shapes of requests and answers, for the OpenAPI document.
//!
//! Requests are read into these. Answers of the domain are written as they are; the shapes here
//! describe them.

mod admin;
mod clock;
mod ledger;
mod login;
mod past;
mod quarantine;
mod studio;
mod usage;
mod webhooks;

use serde::Serialize;
use utoipa::ToSchema;

pub use admin::{
    ActorAnswer, CycleBody, EnforcementBody, ExtensionBody, FeatureBody, GrantBody,
    GrantEndedAnswer, GrantListedAnswer, GrantedAnswer, LevelAnswer, NodeAnswer, PlanBody,
    PlanChangeBody, RevokeBody, TenantDetailAnswer, TenantListedAnswer, TenantShape,
};
pub use clock::{AdvanceBody, AdvancedAnswer};
pub use ledger::{LedgerEntryAnswer, PublishedKeyAnswer, SignedStatementAnswer, listed_whole};
pub use login::{
    KeyAnswer, LinkAnswer, LinkBody, LoginAnswer, MeAnswer, MembershipAnswer, ProofBody,
    SessionAnswer, SwitchBody, TenantAnswer, UserAnswer,
};
pub use past::{
    AdjustBody, AdjustedAnswer, CorrectionAnswer, EventBody, EventData, EventResult, EventStatus,
    EventsAnswer, SpendCapAnswer, SpendCapBody,
};
pub use quarantine::LiftedAnswer;
pub use studio::{
    ArtifactAnswer, JobAnswer, LanguageAnswer, MoneyAnswer, PlanAnswer, RenderBody, SceneBody,
    StepAnswer, TemplateAnswer,
};
pub use usage::{
    CommitBody, ConsumedAnswer, ConsumedItemAnswer, ExtendBody, FeatureAnswer, FeatureSource,
    HistoryAnswer, HistoryPoint, ItemBody, ItemsBody, MeterAnswer, OverageAnswer, PeriodAnswer,
    ReservationAnswer, ReserveBody, ReservedItemAnswer, SpendAnswer, UsageAnswer,
};
pub use webhooks::{
    DeliveryAnswer, EndpointAnswer, EndpointBody, EndpointPatch, NewEndpointAnswer, RotateBody,
    SecretAnswer,
};

/// An error, as `application/problem+json`.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProblemDocument {
    /// Where the kind is explained; ends with `code`.
    pub r#type: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// This occurrence in words.
    pub detail: String,
    /// The kind, for programs.
    pub code: String,
    /// The request's id, for support.
    pub request_id: String,
    /// The request's path.
    pub instance: Option<String>,
    /// The fields that are wrong.
    pub errors: Option<Vec<FieldErrorDocument>>,
}

/// What is wrong with one field.
#[derive(Debug, Serialize, ToSchema)]
pub struct FieldErrorDocument {
    /// A JSON pointer into the request body.
    pub pointer: String,
    /// What is wrong with it.
    pub detail: String,
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct ListAnswer<T> {
    /// The items.
    pub data: Vec<T>,
    /// Where the next page begins, if there is one.
    pub next_cursor: Option<String>,
}
