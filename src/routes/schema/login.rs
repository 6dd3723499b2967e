//! The shapes of login, members and keys.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

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

/// A new API key, shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyAnswer {
    /// The key.
    pub api_key: String,
    /// When it was made.
    pub created_at: String,
}
