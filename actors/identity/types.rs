//! What identity takes and gives: requests, proofs, logins, principals and their rights.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::email::EmailAddress;
use crate::clock::Timestamp;
use crate::ids::{KeyId, RequestId, SessionId, TenantId, UserId};

/// Tells from where and within which request a change comes; it ends in the audit record, sealed.
#[derive(Clone, Debug)]
pub struct ClientInfo {
    /// The request that asks.
    pub request: RequestId,
    /// The client's address, if it is known.
    pub address: Option<IpAddr>,
    /// What the client calls itself, cut to a sane length by the caller.
    pub user_agent: Option<String>,
}

/// Asks for a login mail.
#[derive(Clone, Debug)]
pub struct LinkRequest {
    /// The address as it was typed.
    pub email: String,
    /// Where to go after the login; anything but a path of this site becomes `/`.
    pub next: Option<String>,
    /// Who asks.
    pub client: ClientInfo,
}

/// Says that a mail is on its way, for known and unknown addresses alike.
#[derive(Clone, Debug)]
pub struct LinkIssued {
    /// The link itself, in development mode alone.
    pub magic_link: Option<SecretString>,
}

/// Proves that someone reads a mailbox.
#[derive(Clone, Debug)]
pub enum Proof {
    /// The token out of the mailed link.
    Token(SecretString),
    /// The mailed code, typed in by hand.
    Code {
        /// The address to which the code went.
        email: String,
        /// The code, in any case and with or without its hyphen.
        code: SecretString,
    },
}

/// A session that was opened or went on.
#[derive(Clone, Debug)]
pub struct Login {
    /// The bearer token.
    pub access_token: SecretString,
    /// How long the bearer token lives, in seconds.
    pub expires_in_s: u64,
    /// The refresh cookie's new value; nothing if the one that the browser has stays good.
    pub refresh_token: Option<SecretString>,
    /// How long the refresh cookie lives, in seconds.
    pub refresh_max_age_s: u64,
    /// Who logged in.
    pub user: UserSummary,
    /// The tenant for which the token speaks.
    pub tenant: Membership,
    /// The path to go to, always on this site.
    pub next: String,
}

/// A user as the user may see himself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UserSummary {
    /// The user's id.
    pub id: UserId,
    /// The user's address.
    pub email: EmailAddress,
}

/// A tenant to which a user belongs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Membership {
    /// The tenant's id.
    pub id: TenantId,
    /// The tenant's name.
    pub name: String,
    /// What the user may do there.
    pub role: Role,
}

/// The answer to "who am I".
#[derive(Clone, Debug, Serialize)]
pub struct Me {
    /// The user's id.
    pub user_id: UserId,
    /// The user's address.
    pub email: EmailAddress,
    /// The tenant for which the credential speaks.
    pub tenant_id: TenantId,
    /// That tenant's name.
    pub tenant_name: String,
    /// The user's role there.
    pub role: Role,
    /// Every tenant to which the user belongs.
    pub tenants: Vec<Membership>,
}

/// One signed-in device.
#[derive(Clone, Debug, Serialize)]
pub struct SessionSummary {
    /// The session's id.
    pub id: SessionId,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When its cookie last rotated.
    pub last_seen_at: Timestamp,
    /// When it ends whatever happens.
    pub expires_at: Timestamp,
    /// What the device calls itself.
    pub user_agent: Option<String>,
    /// Whether it is the one that asks.
    pub current: bool,
}

/// A new API key, shown this once.
#[derive(Clone, Debug)]
pub struct IssuedKey {
    /// The key's id.
    pub id: KeyId,
    /// The key itself.
    pub api_key: SecretString,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Who stands behind a request, as far as a verified credential says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The tenant for which the credential speaks.
    pub tenant: TenantId,
    /// What was shown.
    pub credential: Credential,
    /// The user's role in the tenant; API keys have scopes and no role.
    pub role: Option<Role>,
    /// What the credential may do at all.
    pub scopes: Scopes,
    /// When the user last proved to read the mailbox; nothing for an API key.
    pub authenticated_at: Option<Timestamp>,
}

/// The kind of credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A signed-in user.
    Session {
        /// The session.
        session: SessionId,
        /// The user.
        user: UserId,
    },
    /// A program with an API key.
    ApiKey {
        /// The key.
        key: KeyId,
    },
}

impl Principal {
    /// Returns the signed-in user, if it is one.
    pub fn user(&self) -> Option<UserId> {
        match self.credential {
            Credential::Session { user, .. } => Some(user),
            Credential::ApiKey { .. } => None,
        }
    }

    /// Returns who acts, as journal entries and audit records name it.
    pub fn actor(&self) -> String {
        match self.credential {
            Credential::Session { user, .. } => user.to_string(),
            Credential::ApiKey { key } => key.to_string(),
        }
    }
}

/// What a member may do, from most to least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Works.
    Member,
    /// Works and manages members and keys.
    Admin,
    /// Does everything, billing and deletion among it.
    Owner,
}

impl Role {
    /// Returns the word that stands in the database and in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Member => "member",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Viewer, Self::Member, Self::Admin, Self::Owner]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or(UnknownWord)
    }
}

/// One thing that a credential may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Read usage.
    UsageRead,
    /// Consume and reserve.
    UsageWrite,
    /// Read jobs and artifacts.
    RenderRead,
    /// Submit and steer jobs.
    RenderWrite,
    /// Read plans and invoices.
    BillingRead,
    /// Read the account.
    AccountRead,
}

/// Every scope with its word, in the order in which they are written.
const SCOPES: [(Scope, &str); 6] = [
    (Scope::UsageRead, "usage:read"),
    (Scope::UsageWrite, "usage:write"),
    (Scope::RenderRead, "render:read"),
    (Scope::RenderWrite, "render:write"),
    (Scope::BillingRead, "billing:read"),
    (Scope::AccountRead, "account:read"),
];

/// A set of scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// Every scope there is.
    pub const ALL: Self = Self(0b11_1111);

    /// Tells whether the set holds the scope.
    pub fn contains(self, scope: Scope) -> bool {
        self.0 & (1 << scope as u8) != 0
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | 1 << scope as u8))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = SCOPES.iter().filter(|(scope, _)| self.contains(*scope)).map(|(_, word)| *word);
        f.write_str(&words.collect::<Vec<_>>().join(" "))
    }
}

impl FromStr for Scopes {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let find =
            |word: &str| SCOPES.iter().find(|(_, name)| *name == word).map(|(scope, _)| *scope);
        text.split_whitespace().map(|word| find(word).ok_or(UnknownWord)).collect()
    }
}

/// A role or scope that this version does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a known role or scope")]
pub struct UnknownWord;
