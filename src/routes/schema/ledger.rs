//! The shapes of the ledger.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::ListAnswer;

/// One entry of the tenant's journal, exactly as it was committed: its hash is over its bytes.
#[derive(Debug, Serialize, ToSchema)]
pub struct LedgerEntryAnswer {
    /// The form of the line.
    pub v: u32,
    /// The tenant.
    pub tenant: String,
    /// The number, from 1 and without gaps.
    pub seq: u64,
    /// When it happened.
    pub at: String,
    /// What happened; the other members depend on it.
    pub kind: String,
    /// Who caused it.
    pub by: String,
    /// Within which request.
    pub req: Option<String>,
    /// The period that it belongs to.
    pub period: Option<Value>,
    /// What it moved, by meter, and where each stood afterwards.
    pub items: Option<Vec<Value>>,
    /// The hash of the entry before.
    pub prev: String,
    /// The hash of this entry.
    pub hash: String,
}

/// What the entries of a period come to, signed.
#[derive(Debug, Serialize, ToSchema)]
pub struct SignedStatementAnswer {
    /// The text that is signed: a JSON object.
    pub statement: String,
    /// `Ed25519`.
    pub algorithm: String,
    /// The key, as `GET /api/ledger/keys` names it.
    pub key_id: String,
    /// The signature over the text's bytes, in base64url.
    pub signature: String,
}

/// A public key.
#[derive(Debug, Serialize, ToSchema)]
pub struct PublishedKeyAnswer {
    /// `statements` or `journal-heads`.
    pub purpose: String,
    /// Its name.
    pub key_id: String,
    /// `Ed25519`.
    pub algorithm: String,
    /// The key, for `openssl`.
    pub public_key_pem: String,
}

/// A list that has no further page.
pub fn listed_whole<T>(data: Vec<T>) -> ListAnswer<T> {
    ListAnswer { data, next_cursor: None }
}
