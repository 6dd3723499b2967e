//! The events that endpoints can be told about, one line each.

use std::fmt;
use std::str::FromStr;

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal;)+) => {
        /// What happened, as endpoints subscribe to it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum EventKind { $($(#[doc = $doc])+ $name,)+ }

        impl EventKind {
            /// Every kind, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Returns the word that requests and payloads carry.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)+ }
            }
        }
    };
}

kinds! {
    /// Usage of a meter reached 50, 80 or 100 % of its limit; once per meter, part and period.
    ThresholdReached = "usage.threshold_reached";
    /// Usage of a meter passed its limit; once per meter and period.
    OverLimit = "usage.over_limit";
    /// A hold lapsed, and its units are available again.
    ReservationExpired = "reservation.expired";
    /// A plan came into force.
    PlanChanged = "plan.changed";
    /// A period ended, and another began.
    PeriodRolled = "period.rolled";
    /// A job came to its end, and its files are there.
    JobSucceeded = "job.succeeded";
    /// A job failed for good.
    JobFailed = "job.failed";
    /// A job was no longer wanted.
    JobCancelled = "job.cancelled";
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// There is no such event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no such event")]
pub struct UnknownEvent;

impl FromStr for EventKind {
    type Err = UnknownEvent;

    fn from_str(word: &str) -> Result<Self, UnknownEvent> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == word).ok_or(UnknownEvent)
    }
}

/// What an endpoint is told about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subscription {
    /// Everything, also what later versions tell.
    All,
    /// These kinds.
    Only(Vec<EventKind>),
}

/// The word for everything.
const ALL: &str = "*";

impl Subscription {
    /// Reads a list of words: `["*"]`, or one kind or more, each once.
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, UnknownEvent> {
        let words: Vec<&str> = words.into_iter().collect();
        if words == [ALL] {
            return Ok(Self::All);
        }
        let mut kinds: Vec<EventKind> =
            words.iter().map(|word| word.parse()).collect::<Result<_, _>>()?;
        kinds.sort_unstable();
        kinds.dedup();
        // Nothing at all, or a word twice, is a mistake of the caller.
        if kinds.is_empty() || kinds.len() != words.len() {
            return Err(UnknownEvent);
        }
        Ok(Self::Only(kinds))
    }

    /// Says whether an event is told.
    pub fn wants(&self, kind: EventKind) -> bool {
        match self {
            Self::All => true,
            Self::Only(kinds) => kinds.contains(&kind),
        }
    }

    /// Returns the words.
    pub fn words(&self) -> Vec<&'static str> {
        match self {
            Self::All => vec![ALL],
            Self::Only(kinds) => kinds.iter().map(|kind| kind.as_str()).collect(),
        }
    }
}

/// As it stands in a row: the words with spaces between them.
impl fmt::Display for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().join(" "))
    }
}

impl FromStr for Subscription {
    type Err = UnknownEvent;

    fn from_str(text: &str) -> Result<Self, UnknownEvent> {
        Self::parse(text.split(' '))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_is_everything_or_a_list_of_kinds_each_once() {
        let all: Subscription = "*".parse().unwrap();
        let some = Subscription::parse(["plan.changed", "usage.threshold_reached"]).unwrap();

        assert!(all.wants(EventKind::JobFailed));
        assert!(some.wants(EventKind::PlanChanged) && !some.wants(EventKind::JobFailed));
        assert_eq!(some.to_string().parse(), Ok(some));
        for bad in [&[][..], &[""], &["*", "plan.changed"], &["plan.changed"; 2], &["plan"]] {
            assert_eq!(Subscription::parse(bad.iter().copied()), Err(UnknownEvent), "{bad:?}");
        }
    }
}
