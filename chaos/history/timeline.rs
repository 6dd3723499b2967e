//! Where everything of a tenant stood after each entry.

use std::collections::BTreeMap;

/// Where a meter of the open period stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) used: u64,
    pub(super) reserved: u64,
}

/// Where everything stood after each entry.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    /// The number of the last entry.
    pub(super) last: u64,
    /// The figures of the open period, from an entry on.
    pub(super) figures: BTreeMap<String, Vec<(u64, Figures)>>,
    /// The holds' states, from an entry on.
    pub(super) holds: BTreeMap<String, Vec<(u64, &'static str)>>,
    /// What each hold holds, and until when it may.
    pub(super) held: BTreeMap<String, Held>,
}

/// A hold's units by meter, and when it lapses if nothing else ends it.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    pub(super) parts: BTreeMap<String, u64>,
    pub(super) expires_at: String,
}

impl Timeline {
    /// A meter's figures after entry `seq`.
    pub(super) fn figures(&self, meter: &str, seq: u64) -> Figures {
        self.figures.get(meter).and_then(|known| at(known, seq)).unwrap_or_default()
    }

    /// A hold's state after entry `seq`; none before it was made.
    pub(super) fn hold(&self, id: &str, seq: u64) -> Option<&'static str> {
        self.holds.get(id).and_then(|known| at(known, seq))
    }
    /// The holds that are open after entry `seq` and that nothing but time ends, by that time. A
    /// read may show what is due as done before there is an entry of it.
    pub(super) fn lapsing(&self, seq: u64) -> Vec<(&str, &Held)> {
        let lapses = |id: &str| {
            let states = self.holds.get(id).map_or(&[][..], Vec::as_slice);
            let mut later = states.iter().filter(|(from, _)| *from > seq).map(|(_, state)| *state);
            self.hold(id, seq) == Some("held") && later.all(|state| state == "expired")
        };
        let mut all: Vec<(&str, &Held)> =
            self.held.iter().map(|(id, held)| (id.as_str(), held)).collect();
        all.retain(|(id, _)| lapses(id));
        all.sort_by_key(|(_, held)| held.expires_at.as_str());
        all
    }
}

/// What was true after `seq`, of what became true with each number.
fn at<T: Copy>(known: &[(u64, T)], seq: u64) -> Option<T> {
    let count = known.partition_point(|(from, _)| *from <= seq);
    known.get(count.checked_sub(1)?).map(|(_, value)| *value)
}
