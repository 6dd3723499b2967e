//! One line of the journal: an immutable fact, numbered and chained per tenant.
//!
//! `{"v":1,"tenant":…,"seq":…,"at":…,"kind":…,<the fact>,"by":…,"req":…,"idem":…,"fp":…,"prev":…,"hash":…}`
//!
//! The hash is SHA-256, in hex, over the text of `prev` followed by the line without its `hash`
//! member; so anyone can verify a chain with `sha256sum`. A line holds no client text: only
//! identifiers, numbers, names from the catalogue, and digests.

mod hash;

use std::io::Write;

use serde::{Deserialize, Serialize};

pub use self::hash::{EntryHash, InvalidHash};
use crate::clock::Timestamp;
use crate::ids::{RequestId, TenantId};
use crate::tenant::quota::Fact;
use crate::tenant::state::TenantOutcome;
use crate::tenant::steps::JobFact;

/// The form of lines that this version writes.
const VERSION: u32 = 1;
/// `,"hash":"` and 64 digits and `"}`.
const HASH_TAIL_BYTES: usize = 75;
/// Most lines are shorter; longer ones grow the buffer.
const USUAL_LINE_BYTES: usize = 640;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum EntryBody {
    /// To the quota.
    Usage(Fact),
    /// To a job.
    Job(JobFact),
}

impl EntryBody {
    /// Returns the kind as the line has it; a closed set, fit for a metric's label.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Usage(fact) => fact.kind(),
            Self::Job(fact) => fact.kind(),
        }
    }
}

/// Who caused an entry, and by which request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Author<'a> {
    /// `usr_…`, `key_…` or `system`.
    pub by: &'a str,
    /// The request.
    pub req: Option<RequestId>,
    /// The keyed digest of route and idempotency key.
    pub idem: Option<&'a str>,
    /// The keyed digest of method, route and canonical body.
    pub fp: Option<&'a str>,
}

impl Author<'_> {
    /// What happens by itself.
    pub const SYSTEM: Author<'static> = Author { by: "system", req: None, idem: None, fp: None };
}

/// Where an entry stands in its tenant's journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The tenant.
    pub tenant: TenantId,
    /// The number, from 1 and without gaps.
    pub seq: u64,
    /// When it happened; never earlier than the entry before.
    pub at: Timestamp,
    /// The hash of the entry before.
    pub prev: EntryHash,
}

/// Writes an entry's line and returns it with its hash.
#[expect(clippy::missing_panics_doc, reason = "writing plain data into memory cannot fail")]
pub fn seal(body: &EntryBody, place: &Place, author: &Author<'_>) -> (String, EntryHash) {
    let mut line = Vec::with_capacity(USUAL_LINE_BYTES);
    write_line(&mut line, body, place, author).expect("a buffer in memory takes every byte");
    let hash = EntryHash::of(place.prev, [&line, b"}"]);
    line.extend_from_slice(b",\"hash\":\"");
    line.extend_from_slice(&hash.hex());
    line.extend_from_slice(b"\"}");
    (String::from_utf8(line).expect("JSON is UTF-8"), hash)
}

/// Writes all but the hash and the closing brace.
fn write_line(
    line: &mut Vec<u8>,
    body: &EntryBody,
    place: &Place,
    author: &Author<'_>,
) -> std::io::Result<()> {
    let Place { tenant, seq, at, prev } = place;
    write!(line, r#"{{"v":{VERSION},"tenant":"{tenant}","seq":{seq},"at":"{at}""#)?;
    // The fact is an object of its own: its braces become the comma before and nothing after.
    let opening = line.len();
    serde_json::to_writer(&mut *line, body)?;
    line[opening] = b',';
    line.pop();
    line.extend_from_slice(b",\"by\":");
    serde_json::to_writer(&mut *line, author.by)?;
    if let Some(req) = author.req {
        write!(line, r#","req":"{req}""#)?;
    }
    if let Some(idem) = author.idem {
        line.extend_from_slice(b",\"idem\":");
        serde_json::to_writer(&mut *line, idem)?;
    }
    if let Some(fp) = author.fp {
        line.extend_from_slice(b",\"fp\":");
        serde_json::to_writer(&mut *line, fp)?;
    }
    write!(line, r#","prev":"{prev}""#)
}

/// A parsed line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The tenant.
    pub tenant: TenantId,
    /// The number, from 1 and without gaps.
    pub seq: u64,
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub body: EntryBody,
    /// `usr_…`, `key_…` or `system`.
    pub by: String,
    /// The request.
    pub req: Option<RequestId>,
    /// The keyed digest of route and idempotency key.
    pub idem: Option<String>,
    /// The keyed digest of method, route and canonical body.
    pub fp: Option<String>,
    /// The hash of the entry before.
    pub prev: EntryHash,
    /// The hash of this entry.
    pub hash: EntryHash,
}

/// All members of a line but its fact's own.
#[derive(Deserialize)]
struct Envelope {
    v: u32,
    tenant: TenantId,
    seq: u64,
    at: Timestamp,
    kind: String,
    by: String,
    #[serde(default)]
    req: Option<RequestId>,
    #[serde(default)]
    idem: Option<String>,
    #[serde(default)]
    fp: Option<String>,
    prev: EntryHash,
    hash: EntryHash,
}

impl Entry {
    /// Parses a line and verifies its own hash; whether it follows another is asked of a chain.
    pub fn parse(line: &str) -> Result<Self, EntryError> {
        let malformed = |error: serde_json::Error| EntryError::Malformed(error.to_string());
        let envelope: Envelope = serde_json::from_str(line).map_err(malformed)?;
        if envelope.v != VERSION {
            return Err(EntryError::Version(envelope.v));
        }
        let hash = hash_of(line, envelope.prev);
        if hash != Some(envelope.hash) {
            return Err(EntryError::Tampered { seq: envelope.seq });
        }
        let body = if is_job_kind(&envelope.kind) {
            EntryBody::Job(serde_json::from_str(line).map_err(malformed)?)
        } else {
            EntryBody::Usage(serde_json::from_str(line).map_err(malformed)?)
        };
        let Envelope { tenant, seq, at, by, req, idem, fp, prev, hash, .. } = envelope;
        Ok(Self { tenant, seq, at, body, by, req, idem, fp, prev, hash })
    }

    /// Answers the repetition of the command that this entry was made by.
    pub fn answer(&self) -> TenantOutcome {
        TenantOutcome::of(&self.body, self.seq, self.at)
    }
}

/// Answers a command's repetition by its entry alone, as the first time.
pub fn answer_of(entry: &Entry) -> TenantOutcome {
    entry.answer()
}

fn is_job_kind(kind: &str) -> bool {
    matches!(
        kind,
        "job_submitted"
            | "step_started"
            | "step_succeeded"
            | "step_failed"
            | "job_cancelled"
            | "job_expired"
            | "job_retried"
            | "job_deleted"
    )
}

/// Computes what a line's hash must be; none if it does not end in one.
fn hash_of(line: &str, prev: EntryHash) -> Option<EntryHash> {
    let (head, tail) = line.split_at_checked(line.len().checked_sub(HASH_TAIL_BYTES)?)?;
    tail.starts_with(",\"hash\":\"").then(|| EntryHash::of(prev, [head.as_bytes(), b"}"]))
}

/// What of a line makes its chain.
#[derive(Deserialize)]
struct Link {
    tenant: TenantId,
    seq: u64,
    at: Timestamp,
    prev: EntryHash,
    hash: EntryHash,
}

impl Link {
    /// Reads a line without its meaning and verifies its own hash.
    fn read(tenant: TenantId, line: &str) -> Result<Self, EntryError> {
        let link: Self =
            serde_json::from_str(line).map_err(|error| EntryError::Malformed(error.to_string()))?;
        if hash_of(line, link.prev) != Some(link.hash) || link.tenant != tenant {
            return Err(EntryError::Tampered { seq: link.seq });
        }
        Ok(link)
    }
}

/// Where a chain stands: what the next line must follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The last entry's number; 0 before the first.
    pub seq: u64,
    /// The last entry's hash.
    pub hash: EntryHash,
    /// The last entry's time.
    pub at: Timestamp,
}

impl Head {
    /// Before a tenant's first entry.
    pub const GENESIS: Self = Self { seq: 0, hash: EntryHash::GENESIS, at: Timestamp::MIN };

    /// Where the chain stands after a line, whatever stood before, and the hash that it follows.
    pub fn at(tenant: TenantId, line: &str) -> Result<(Self, EntryHash), EntryError> {
        let Link { seq, at, prev, hash, .. } = Link::read(tenant, line)?;
        Ok((Self { seq, hash, at }, prev))
    }

    /// As [`Head::follow`], without reading what happened.
    pub fn pass(&mut self, tenant: TenantId, line: &str) -> Result<(), EntryError> {
        let Link { seq, at, prev, hash, .. } = Link::read(tenant, line)?;
        let expected = self.seq + 1;
        if seq != expected {
            return Err(EntryError::Gap { expected, found: seq });
        }
        if prev != self.hash || at < self.at {
            return Err(EntryError::Unchained { seq });
        }
        *self = Self { seq, hash, at };
        Ok(())
    }

    /// Parses the next line of a chain and verifies that it follows.
    pub fn follow(&mut self, tenant: TenantId, line: &str) -> Result<Entry, EntryError> {
        let entry = Entry::parse(line)?;
        let expected = self.seq + 1;
        if entry.tenant != tenant || entry.seq != expected {
            return Err(EntryError::Gap { expected, found: entry.seq });
        }
        if entry.prev != self.hash || entry.at < self.at {
            return Err(EntryError::Unchained { seq: entry.seq });
        }
        *self = Self { seq: entry.seq, hash: entry.hash, at: entry.at };
        Ok(entry)
    }
}

/// Verifies a tenant's lines from a head onwards and returns where they end.
pub fn verify_chain<'a>(
    tenant: TenantId,
    from: Head,
    lines: impl IntoIterator<Item = &'a str>,
) -> Result<Head, EntryError> {
    let mut head = from;
    for line in lines {
        head.follow(tenant, line)?;
    }
    Ok(head)
}

/// A line is not a good entry, or not the next one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// It is not a line of the journal.
    #[error("the line is malformed: {0}")]
    Malformed(String),
    /// It has another version's form.
    #[error("the line has version {0}, which this program does not read")]
    Version(u32),
    /// Its hash is not that of its text.
    #[error("entry {seq} was changed: its hash does not match")]
    Tampered {
        /// Its number.
        seq: u64,
    },
    /// Its number is not the next one.
    #[error("entry {expected} is missing, and {found} is there")]
    Gap {
        /// The next number.
        expected: u64,
        /// The number that was found.
        found: u64,
    },
    /// It does not follow the entry before it.
    #[error("entry {seq} does not follow the one before it")]
    Unchained {
        /// Its number.
        seq: u64,
    },
}

#[cfg(test)]
mod tests;
