//! What this process knows of revocations: which cached credentials must be looked up again.
//!
//! Revoking writes a numbered row in the revoking transaction; every node reads the rows after the
//! last one that it knows, in their order, at once after its own changes and every 300 ms besides.
//! A cached credential remembers up to which number it is known to be good. So the usual check is
//! one comparison, and nothing is asked of the database.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use crate::ids::{KeyId, SessionId, TenantId, UserId};

/// How many revocations are remembered; credentials checked before the oldest are looked up again.
const REMEMBERED: usize = 65_536;

/// Whose credentials must be looked up again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    Session(SessionId),
    User(UserId),
    Tenant(TenantId),
    Key(KeyId),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(id) => id.fmt(f),
            Self::User(id) => id.fmt(f),
            Self::Tenant(id) => id.fmt(f),
            Self::Key(id) => id.fmt(f),
        }
    }
}

impl FromStr for Subject {
    type Err = UnknownSubject;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse()
            .map(Self::Session)
            .or_else(|_| text.parse().map(Self::User))
            .or_else(|_| text.parse().map(Self::Tenant))
            .or_else(|_| text.parse().map(Self::Key))
            .map_err(|_| UnknownSubject)
    }
}

/// A kind of subject that this version does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a known subject")]
pub(super) struct UnknownSubject;

/// The revocations that are still remembered.
#[derive(Debug)]
pub(super) struct Revocations {
    latest: AtomicU64,
    known: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    last_of: HashMap<Subject, u64>,
    order: VecDeque<(u64, Subject)>,
    // Everything up to here may have been forgotten.
    floor: u64,
}

impl Revocations {
    /// Starts with nothing cached, so nothing before `latest` matters.
    pub(super) fn new(latest: u64) -> Self {
        let known = Known { floor: latest, ..Known::default() };
        Self { latest: AtomicU64::new(latest), known: RwLock::new(known) }
    }

    /// Returns the number of the last revocation that is known.
    pub(super) fn latest(&self) -> u64 {
        self.latest.load(Ordering::Acquire)
    }

    /// Adds the next revocations; their numbers only grow. What is unknown concerns everybody.
    pub(super) fn add(
        &self,
        rows: impl IntoIterator<Item = (u64, Result<Subject, UnknownSubject>)>,
    ) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for (seq, subject) in rows {
            if seq <= self.latest() {
                continue;
            }
            match subject {
                Ok(subject) => {
                    known.last_of.insert(subject, seq);
                    known.order.push_back((seq, subject));
                }
                Err(UnknownSubject) => known.floor = seq,
            }
            if known.order.len() > REMEMBERED {
                known.forget_oldest();
            }
            self.latest.store(seq, Ordering::Release);
        }
    }

    /// Tells whether one of the subjects was revoked after `checked`.
    pub(super) fn concern(&self, subjects: &[Subject], checked: u64) -> bool {
        if checked >= self.latest() {
            return false;
        }
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        checked < known.floor
            || subjects
                .iter()
                .any(|subject| known.last_of.get(subject).is_some_and(|seq| *seq > checked))
    }
}

impl Known {
    fn forget_oldest(&mut self) {
        let Some((seq, subject)) = self.order.pop_front() else { return };
        self.floor = self.floor.max(seq);
        if self.last_of.get(&subject) == Some(&seq) {
            self.last_of.remove(&subject);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: u128) -> Subject {
        Subject::User(UserId::from_bits(number))
    }

    #[test]
    fn a_revocation_concerns_its_subject_and_what_was_checked_before() {
        let revocations = Revocations::new(10);
        revocations.add([(11, Ok(user(1)))]);

        assert!(revocations.concern(&[user(2), user(1)], 10));
        assert!(!revocations.concern(&[user(2)], 10));
        assert!(!revocations.concern(&[user(1)], 11));
    }

    #[test]
    fn what_was_forgotten_concerns_everything_checked_before_it() {
        let revocations = Revocations::new(0);
        let many = u64::try_from(REMEMBERED).unwrap() + 5;
        revocations.add((1..=many).map(|seq| (seq, Ok(user(u128::from(seq))))));

        assert!(revocations.concern(&[user(0)], 4));
        assert!(!revocations.concern(&[user(0)], 5));
        assert!(revocations.concern(&[user(u128::from(many))], 5));
    }

    #[test]
    fn an_unknown_kind_of_subject_concerns_everybody() {
        let revocations = Revocations::new(0);
        revocations.add([(1, Err(UnknownSubject))]);

        assert!(revocations.concern(&[user(1)], 0));
        assert!(!revocations.concern(&[user(1)], 1));
    }

    #[test]
    fn subjects_are_written_as_their_ids() {
        for subject in [user(3), Subject::Tenant(TenantId::from_bits(4))] {
            assert_eq!(subject.to_string().parse(), Ok(subject));
        }
        assert_eq!("job_0".parse::<Subject>(), Err(UnknownSubject));
    }
}
