//! The shapes of requests and answers, for the OpenAPI document.
//!
//! Requests are read into these. Answers of the domain are written as they are; the shapes here
//! describe them, and a test holds real answers against them.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

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

/// Asks for a login mail.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkBody {
    /// The address.
    pub email: String,
    /// The path to go to after the login.
    #[serde(default)]
    pub next: Option<String>,
}

/// Says that a mail is on its way if the address can receive one.
#[derive(Debug, Serialize, ToSchema)]
pub struct LinkAnswer {
    /// Always `sent`.
    pub status: &'static str,
    /// The link itself, in development mode alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub magic_link: Option<String>,
}

/// Proves that someone reads a mailbox: either `token`, or `email` with `code`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProofBody {
    /// The token out of the link's fragment.
    #[serde(default)]
    pub token: Option<String>,
    /// The address to which the code went.
    #[serde(default)]
    pub email: Option<String>,
    /// The code.
    #[serde(default)]
    pub code: Option<String>,
}

/// A session.
#[derive(Debug, Serialize, ToSchema)]
pub struct LoginAnswer {
    /// The bearer token.
    pub access_token: String,
    /// Always `Bearer`.
    pub token_type: &'static str,
    /// How long the token lives, in seconds.
    pub expires_in: u64,
    /// Who signed in.
    pub user: UserAnswer,
    /// The tenant for which the token speaks.
    pub tenant: TenantAnswer,
    /// The path to go to.
    pub next: String,
}

/// A user.
#[derive(Debug, Serialize, ToSchema)]
pub struct UserAnswer {
    /// The id.
    pub id: String,
    /// The address.
    pub email: String,
}

/// A tenant, as one of its members sees it.
#[derive(Debug, Serialize, ToSchema)]
pub struct TenantAnswer {
    /// The id.
    pub id: String,
    /// The name.
    pub name: String,
    /// The plan in force.
    pub plan: String,
    /// The member's role.
    pub role: String,
}

/// A tenant to which a user belongs.
#[derive(Debug, Serialize, ToSchema)]
pub struct MembershipAnswer {
    /// The id.
    pub id: String,
    /// The name.
    pub name: String,
    /// The member's role.
    pub role: String,
}

/// Who the caller is.
#[derive(Debug, Serialize, ToSchema)]
pub struct MeAnswer {
    /// The user.
    pub user_id: String,
    /// The user's address.
    pub email: String,
    /// The tenant for which the credential speaks.
    pub tenant_id: String,
    /// Its name.
    pub tenant_name: String,
    /// The user's role there.
    pub role: String,
    /// The plan in force there.
    pub plan: String,
    /// Every tenant of the user.
    pub tenants: Vec<MembershipAnswer>,
}

/// Changes to another tenant.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SwitchBody {
    /// The tenant.
    pub tenant_id: String,
}

/// One signed-in device.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionAnswer {
    /// The session's id.
    pub id: String,
    /// When it was opened.
    pub created_at: String,
    /// When it was last used.
    pub last_seen_at: String,
    /// When it ends.
    pub expires_at: String,
    /// What the device calls itself.
    pub user_agent: Option<String>,
    /// Whether it is the one that asks.
    pub current: bool,
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct ListAnswer<T> {
    /// The items.
    pub data: Vec<T>,
    /// Where the next page begins, if there is one.
    pub next_cursor: Option<String>,
}

/// A new API key, shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyAnswer {
    /// The key.
    pub api_key: String,
    /// When it was made.
    pub created_at: String,
}

/// An amount of one meter, in its base unit.
#[derive(Debug, ToSchema)]
pub struct ItemBody {
    /// The meter.
    pub meter: String,
    /// The amount.
    #[schema(minimum = 1)]
    pub amount: u64,
}

/// What is used, all or nothing.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ItemsBody {
    /// Amounts by meter.
    #[schema(min_items = 1, max_items = 64)]
    pub items: Vec<ItemBody>,
}

/// What is held before the work.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReserveBody {
    /// Amounts by meter.
    #[schema(min_items = 1, max_items = 64)]
    pub items: Vec<ItemBody>,
    /// How long the hold lives, in seconds.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 86400, default = 300)]
    pub ttl_s: Option<u64>,
}

/// What of a hold was used; without `items` all of it.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CommitBody {
    /// Amounts by meter.
    #[serde(default)]
    pub items: Option<Vec<ItemBody>>,
}

/// How long a hold lives from now on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtendBody {
    /// Seconds from now.
    #[schema(minimum = 1, maximum = 86400)]
    pub ttl_s: u64,
}

/// An admitted consume.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConsumedAnswer {
    /// Always true.
    pub admitted: bool,
    /// Where each meter stands.
    pub items: Vec<ConsumedItemAnswer>,
    /// The period that was charged.
    pub period: String,
    /// The entry's number in the tenant's journal.
    pub seq: u64,
}

/// One meter of a consume.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConsumedItemAnswer {
    /// The meter.
    pub meter: String,
    /// Units used by this call.
    pub charged: u64,
    /// Units used in the period.
    pub used: u64,
    /// What is left; null is unlimited.
    pub remaining: Option<u64>,
    /// The limit; null is unlimited.
    pub limit: Option<u64>,
}

/// A hold.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReservationAnswer {
    /// The id.
    pub id: String,
    /// `held`, `committed`, `released` or `expired`.
    pub state: String,
    /// When it lapses, or would have.
    pub expires_at: String,
    /// What was held, and what of it was used.
    pub items: Vec<ReservedItemAnswer>,
    /// What was left of each meter after the last change; null is unlimited.
    #[schema(value_type = std::collections::BTreeMap<String, Option<u64>>)]
    pub remaining: Value,
}

/// One meter of a hold.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReservedItemAnswer {
    /// The meter.
    pub meter: String,
    /// Units held.
    pub amount: u64,
    /// Units used, once the hold has ended.
    pub charged: Option<u64>,
}

/// Where a tenant stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct UsageAnswer {
    /// The plan in force.
    pub plan: String,
    /// The open period.
    pub period: PeriodAnswer,
    /// Every meter of the plan.
    pub meters: Vec<MeterAnswer>,
}

/// A period, from `start` to before `end`.
#[derive(Debug, Serialize, ToSchema)]
pub struct PeriodAnswer {
    /// Its first instant.
    pub start: String,
    /// The first instant after it.
    pub end: String,
}

/// Where one meter stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct MeterAnswer {
    /// The meter.
    pub meter: String,
    /// What one unit is.
    pub unit: String,
    /// `counter` or `level`.
    pub kind: String,
    /// Units used.
    pub used: u64,
    /// Units in open holds.
    pub reserved: u64,
    /// The limit; null is unlimited.
    pub limit: Option<u64>,
    /// What can still be taken; null is unlimited.
    pub remaining: Option<u64>,
    /// `used` in hundredths of the limit; null is unlimited.
    pub percent: Option<u64>,
    /// What is beyond the limit.
    pub overage: OverageAnswer,
}

/// Usage beyond a limit.
#[derive(Debug, Serialize, ToSchema)]
pub struct OverageAnswer {
    /// Whether more than the limit may be taken.
    pub allowed: bool,
    /// Units beyond the limit.
    pub units: u64,
    /// What they cost so far.
    pub amount_minor: i64,
}

/// Usage over time.
#[derive(Debug, Serialize, ToSchema)]
pub struct HistoryAnswer {
    /// Oldest first.
    pub data: Vec<HistoryPoint>,
}

/// Usage of one day or month.
#[derive(Debug, Serialize, ToSchema)]
pub struct HistoryPoint {
    /// Where it begins.
    pub start: String,
    /// Units used.
    pub amount: u64,
}

/// Whether the plan in force includes a feature.
#[derive(Debug, Serialize, ToSchema)]
pub struct FeatureAnswer {
    /// The feature.
    pub feature: String,
    /// Whether it is included.
    pub allowed: bool,
    /// The plan in force.
    pub plan: String,
    /// Where to get it, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upgrade_url: Option<String>,
}

/// A plan of the catalogue.
#[derive(Debug, Serialize, ToSchema)]
pub struct PlanAnswer {
    /// Its name.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// What a month costs; null is by agreement.
    pub price: Option<MoneyAnswer>,
    /// Limits by meter; null is unlimited.
    #[schema(value_type = std::collections::BTreeMap<String, Option<u64>>)]
    pub limits: Value,
    /// What it includes.
    pub features: Vec<String>,
}

/// An amount of money.
#[derive(Debug, Serialize, ToSchema)]
pub struct MoneyAnswer {
    /// In the currency's smallest unit.
    pub amount_minor: i64,
    /// The currency.
    pub currency: String,
}

/// A language that can be spoken.
#[derive(Debug, Serialize, ToSchema)]
pub struct LanguageAnswer {
    /// The tag for `language`.
    pub language: String,
    /// Its name.
    pub name: String,
    /// Its voices.
    pub voices: Vec<String>,
}

/// A plan to render.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct RenderBody {
    /// What the video is about.
    #[schema(min_length = 1, max_length = 200)]
    pub topic: String,
    /// A language of `GET /api/voices`.
    pub language: String,
    /// `F` or `M`.
    pub voice: String,
    /// `720p`, `1080p` or `4k`.
    pub resolution: String,
    /// The scenes in order.
    #[schema(min_items = 1, max_items = 20)]
    pub scenes: Vec<SceneBody>,
}

/// One picture and what is said over it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SceneBody {
    /// What the picture shows.
    pub image_prompt: String,
    /// What is said.
    pub narration: String,
    /// How long it lasts, in seconds.
    #[schema(minimum = 0.5, maximum = 600)]
    pub duration_s: f64,
}

/// A ready-made plan to start from.
#[derive(Debug, Serialize, ToSchema)]
pub struct TemplateAnswer {
    /// Its name.
    pub name: String,
    /// Its title.
    pub title: String,
    /// The plan.
    pub plan: RenderBody,
}

/// A render job.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobAnswer {
    /// The id.
    pub id: String,
    /// `queued`, `running`, `succeeded`, `failed` or `cancelled`.
    pub state: String,
    /// How far it is.
    pub progress_percent: u64,
    /// The step that is being worked on.
    pub step: Option<String>,
    /// Every step.
    pub steps: Vec<StepAnswer>,
    /// What it is less than asked for.
    pub degraded: Vec<String>,
    /// What can be fetched.
    pub artifacts: Vec<ArtifactAnswer>,
    /// What it used so far.
    #[schema(value_type = Vec<Object>)]
    pub usage: Value,
    /// Why it failed, as a problem.
    #[schema(value_type = Option<ProblemDocument>)]
    pub error: Option<Value>,
}

/// A step of a job.
#[derive(Debug, Serialize, ToSchema)]
pub struct StepAnswer {
    /// Its name.
    pub name: String,
    /// `pending`, `running`, `succeeded`, `failed` or `cancelled`.
    pub state: String,
    /// How many attempts were started.
    pub attempts: u32,
    /// When the last attempt began.
    pub started_at: Option<String>,
    /// When the last attempt ended.
    pub ended_at: Option<String>,
    /// Why the last attempt failed.
    pub error: Option<String>,
}

/// A file of a job.
#[derive(Debug, Serialize, ToSchema)]
pub struct ArtifactAnswer {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// What it is.
    pub content_type: String,
    /// Where it is.
    pub url: String,
}
