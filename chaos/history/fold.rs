//! Adds a tenant's entries up, by rules of its own.

use std::collections::BTreeMap;

use serde_json::Value;

use super::timeline::{Figures, Held, Timeline};
use super::{Broken, Entry, Faults, Rules};

impl Timeline {
    /// Adds the entries up; what does not add up is a fault.
    pub(super) fn fold(entries: &[Entry], rules: &Rules, faults: &mut Faults<'_>) -> Self {
        let mut fold = Fold {
            timeline: Self::default(),
            rules,
            limits: rules.limits.clone(),
            is_hard: true,
            scheduled: None,
            open: Period::default(),
            earlier: BTreeMap::new(),
            holds: BTreeMap::new(),
            faults,
        };
        for entry in entries {
            fold.entry(entry);
            fold.timeline.last = entry.seq();
        }
        fold.timeline
    }
}

struct Fold<'a, 'f> {
    timeline: Timeline,
    rules: &'a Rules,
    /// The limits that are known: of the other meters the entries are believed.
    limits: BTreeMap<String, Option<u64>>,
    /// Whether an admission must stay within the limit: a spend cap may let it go on.
    is_hard: bool,
    /// Limits that come into force with the next period.
    scheduled: Option<Value>,
    open: Period,
    /// The counters of periods that have ended, by the period's name.
    earlier: BTreeMap<String, BTreeMap<String, Figures>>,
    /// What open holds hold, by meter.
    holds: BTreeMap<String, BTreeMap<String, u64>>,
    faults: &'a mut Faults<'f>,
}

/// The open period: its name, once an entry has said it, and where its meters stand.
#[derive(Default)]
struct Period {
    name: Option<String>,
    accounts: BTreeMap<String, Figures>,
}

/// How a kind of entry moves the figures of its items.
#[derive(Clone, Copy)]
enum Move {
    /// `amount` is used, and must be available.
    Use,
    /// `amount` is held, and must be available.
    Hold,
    /// `held` leaves the hold, `amount` is used; an excess must be available.
    Settle,
    /// `held` leaves the hold.
    Return,
    /// `amount` of a level is gone.
    Free,
    /// `amount` was used already, and counts whatever is available.
    Record,
    /// `delta` is added or taken away.
    Correct(i64),
    /// Nothing moves.
    Keep,
    /// A fact of which the checker knows no rule: its figures are believed.
    Believe,
}

impl Move {
    fn of(entry: &Entry) -> Self {
        match entry.kind() {
            "recorded" | "committed_late" => Self::Record,
            "adjusted" => Self::Correct(entry.body["delta"].as_i64().unwrap_or_default()),
            "consumed" => Self::Use,
            "reserved" | "job_held" => Self::Hold,
            "committed" | "part_committed" => Self::Settle,
            "released" | "expired" | "job_closed" => Self::Return,
            "freed" => Self::Free,
            "extended" => Self::Keep,
            _ => Self::Believe,
        }
    }

    /// The figures afterwards; `None` when more would be taken away than there is.
    fn apply(self, before: Figures, amount: u64, held: u64) -> Option<Figures> {
        let Figures { used, reserved } = before;
        let (used, reserved) = match self {
            Self::Use | Self::Record => (used.checked_add(amount)?, reserved),
            Self::Correct(delta) => (used.checked_add_signed(delta)?, reserved),
            Self::Hold => (used, reserved.checked_add(amount)?),
            Self::Settle => (used.checked_add(amount)?, reserved.checked_sub(held)?),
            Self::Return => (used, reserved.checked_sub(held)?),
            Self::Free => (used.checked_sub(amount)?, reserved),
            Self::Keep | Self::Believe => (used, reserved),
        };
        Some(Figures { used, reserved })
    }

    /// Whether this is an admission of new units.
    fn admits(self, amount: u64, held: u64) -> bool {
        match self {
            Self::Use | Self::Hold => true,
            Self::Settle => amount > held,
            Self::Return
            | Self::Free
            | Self::Record
            | Self::Correct(_)
            | Self::Keep
            | Self::Believe => false,
        }
    }
}

impl Fold<'_, '_> {
    fn entry(&mut self, entry: &Entry) {
        match entry.kind() {
            "period_rolled" => return self.roll(entry),
            "plan_set" => return self.plan(entry),
            "plan_scheduled" => {
                self.scheduled = Some(entry.body["terms"].clone());
                return;
            }
            // What is granted adds to the limit, by rules of its own.
            "granted" => return self.forget_limit(&entry.body["grant"]["meter"]),
            "grant_revoked" | "grant_expired" => return self.forget_limit(&entry.body["meter"]),
            // Overage is paid for: a limit is no longer the end.
            "spend_cap_set" => {
                self.is_hard = entry.body["amount_minor"] == 0;
                return;
            }
            "threshold_reached" => return self.threshold(entry),
            _ => {}
        }
        let moves = Move::of(entry);
        let period = entry.text("period");
        let is_open = !self.earlier.contains_key(period);
        if is_open && !period.is_empty() {
            self.open.name = Some(period.to_owned());
        }
        for item in entry.items() {
            self.item(entry, moves, item);
        }
        if let Some(id) = entry.body["reservation"].as_str() {
            self.hold(entry, id);
        }
    }

    fn item(&mut self, entry: &Entry, moves: Move, item: &Value) {
        let Some(meter) = item["meter"].as_str() else { return };
        let number = |name: &str| item[name].as_u64();
        let (Some(used), Some(reserved)) = (number("used"), number("reserved")) else { return };
        let (amount, held) =
            (number("amount").unwrap_or_default(), number("held").unwrap_or_default());
        let is_level = self.rules.levels.contains(meter);
        let earlier = self.earlier.get_mut(entry.text("period")).filter(|_| !is_level);
        let is_open = earlier.is_none();
        let accounts = earlier.unwrap_or(&mut self.open.accounts);
        let figures = accounts.entry(meter.to_owned()).or_default();
        let said = Figures { used, reserved };
        let expected = match moves {
            Move::Believe => Some(said),
            _ => moves.apply(*figures, amount, held),
        };
        if expected != Some(said) {
            let text = format!("{meter} comes to {expected:?}: {}", entry.line);
            self.faults.add(Broken::Unbalanced, text);
        }
        *figures = said;
        if is_open {
            let known = self.timeline.figures.entry(meter.to_owned()).or_default();
            known.push((entry.seq(), said));
        }
        self.limit(entry, meter, item["limit"].as_u64());
        let limit = self.limits.get(meter).copied().unwrap_or(item["limit"].as_u64());
        let total = used.checked_add(reserved);
        let fits = limit.is_none_or(|limit| total.is_some_and(|total| total <= limit));
        // In shadow mode what would be refused is admitted and says so.
        let is_shadow = item["would_refuse"] == true;
        if moves.admits(amount, held) && self.is_hard && !fits && !is_shadow {
            self.faults.add(Broken::Oversold, format!("{meter}, limit {limit:?}: {}", entry.line));
        }
    }

    /// The limit in an entry must be the one that the checker knows, if it knows one.
    fn limit(&mut self, entry: &Entry, meter: &str, said: Option<u64>) {
        if let Some(known) = self.limits.get(meter)
            && *known != said
        {
            let text = format!("the limit of {meter} is {known:?}: {}", entry.line);
            self.faults.add(Broken::Unbalanced, text);
        }
    }

    fn hold(&mut self, entry: &Entry, id: &str) {
        let state = match entry.kind() {
            "reserved" | "extended" => "held",
            "committed" => "committed",
            "released" => "released",
            "expired" => "expired",
            _ => return,
        };
        let mut parts = BTreeMap::<String, u64>::new();
        for item in entry.items() {
            let member = if state == "held" { "amount" } else { "held" };
            let units = item[member].as_u64().unwrap_or_default();
            if units > 0 {
                let meter = item["meter"].as_str().unwrap_or_default().to_owned();
                *parts.entry(meter).or_default() += units;
            }
        }
        let open = self.holds.get(id);
        let fits = match entry.kind() {
            "reserved" => open.is_none() && !self.timeline.holds.contains_key(id),
            _ => open == Some(&parts),
        };
        if !fits {
            self.faults.add(Broken::Hold, format!("{open:?} was held: {}", entry.line));
        }
        if state == "held" {
            let expires_at = entry.text("expires_at").to_owned();
            let held = Held { parts: parts.clone(), expires_at };
            self.timeline.held.insert(id.to_owned(), held);
            self.holds.insert(id.to_owned(), parts);
        } else {
            self.holds.remove(id);
        }
        self.timeline.holds.entry(id.to_owned()).or_default().push((entry.seq(), state));
    }

    fn roll(&mut self, entry: &Entry) {
        for closed in entry.body["closed"].as_array().into_iter().flatten() {
            let meter = closed["meter"].as_str().unwrap_or_default();
            let known = self.open.accounts.get(meter).copied().unwrap_or_default();
            let number = |name: &str| closed[name].as_u64().unwrap_or_default();
            if known != (Figures { used: number("used"), reserved: number("reserved") }) {
                self.faults.add(Broken::Unbalanced, format!("{known:?}: {}", entry.line));
            }
        }
        let (levels, counters) = std::mem::take(&mut self.open.accounts)
            .into_iter()
            .partition(|(meter, _)| self.rules.levels.contains(meter));
        self.open.accounts = levels;
        if let Some(name) = self.open.name.take() {
            self.earlier.insert(name, counters);
        }
        for (meter, known) in &mut self.timeline.figures {
            if !self.rules.levels.contains(meter) {
                known.push((entry.seq(), Figures::default()));
            }
        }
        if entry.body["plan"].is_string()
            && let Some(terms) = self.scheduled.take()
        {
            self.limit_by(&terms);
        }
    }

    /// A plan's limits are those that its entry copied. With another cycle the open period goes on
    /// under another name.
    fn plan(&mut self, entry: &Entry) {
        if entry.body["period"].is_object() {
            self.open.name = None;
        }
        self.limit_by(&entry.body["terms"]);
    }

    fn forget_limit(&mut self, meter: &Value) {
        self.limits.remove(meter.as_str().unwrap_or_default());
    }

    fn limit_by(&mut self, terms: &Value) {
        for terms in terms["meters"].as_array().into_iter().flatten() {
            let meter = terms["meter"].as_str().unwrap_or_default().to_owned();
            self.limits.insert(meter, terms["limit"].as_u64());
        }
    }

    fn threshold(&mut self, entry: &Entry) {
        let figures = self.timeline.figures(entry.text("meter"), entry.seq());
        if Some(figures.used) != entry.body["used"].as_u64() {
            self.faults.add(Broken::Unbalanced, format!("{figures:?}: {}", entry.line));
        }
    }
}
