//! Whether the journal's order explains what clients saw, and when they saw it.
//!
//! The entries are the operations that changed something, in an order that is given. What is left to
//! find is a place for every answer that only tells how things stood: not before anything that had
//! ended when its call was sent, not after anything that was sent when it had ended. Taking the
//! earliest place for each, in the order in which they ended, finds one for all if there is any.

use serde_json::Value;

use super::matching::{Effect, Operations, View};
use super::timeline::{Figures, Held, Timeline};
use super::{Broken, Faults, Verb};

pub(super) fn check(operations: &Operations<'_>, timeline: &Timeline, faults: &mut Faults<'_>) {
    let Operations { effects, views } = operations;
    effects_follow_time(effects, faults);
    let mut views: Vec<&View<'_>> = views.iter().filter(|view| tells(view)).collect();
    views.sort_by_key(|view| view.ended);
    let not_before = Highest::of(effects.iter().map(|effect| (effect.ended, effect.seq)));
    let not_after = Lowest::of(effects.iter().map(|effect| (effect.sent, effect.seq)));
    // What was seen by the answers that have a place, by their ends.
    let mut seen = Highest::default();
    for view in views {
        let sent = view.call.sent;
        let first = not_before.before(sent).max(seen.before(sent));
        let last = not_after.after(view.ended);
        let last = last.map_or(timeline.last, |seq| seq.saturating_sub(1));
        let Some(place) = (first..=last).find(|seq| is_true(view, timeline, *seq)) else {
            let text = format!("true nowhere in {first}..={last}: {}", view.call.show());
            faults.add(Broken::Order, text);
            continue;
        };
        seen.push(view.ended, place);
    }
}

/// The highest number of everything up to a moment.
#[derive(Debug, Default)]
struct Highest(Vec<(u64, u64)>);

impl Highest {
    fn of(known: impl Iterator<Item = (u64, u64)>) -> Self {
        let mut known: Vec<_> = known.collect();
        known.sort_unstable();
        let mut highest = Self::default();
        for (moment, number) in known {
            highest.push(moment, number);
        }
        highest
    }

    /// Adds a number at a moment that is not earlier than those before it.
    fn push(&mut self, moment: u64, number: u64) {
        let highest = self.0.last().map_or(0, |(_, highest)| *highest);
        self.0.push((moment, highest.max(number)));
    }

    /// The highest number before a moment.
    fn before(&self, moment: u64) -> u64 {
        let count = self.0.partition_point(|(known, _)| *known < moment);
        self.0[..count].last().map_or(0, |(_, highest)| *highest)
    }
}

/// The lowest number of everything from a moment on.
#[derive(Debug)]
struct Lowest(Vec<(u64, u64)>);

impl Lowest {
    fn of(known: impl Iterator<Item = (u64, u64)>) -> Self {
        let mut known: Vec<_> = known.collect();
        known.sort_unstable();
        let mut lowest = u64::MAX;
        for (_, number) in known.iter_mut().rev() {
            lowest = lowest.min(*number);
            *number = lowest;
        }
        Self(known)
    }

    /// The lowest number after a moment.
    fn after(&self, moment: u64) -> Option<u64> {
        let count = self.0.partition_point(|(known, _)| *known <= moment);
        self.0.get(count).map(|(_, lowest)| *lowest)
    }
}

/// What ended before another was sent has the smaller number.
fn effects_follow_time(effects: &[Effect], faults: &mut Faults<'_>) {
    let mut effects = effects.to_vec();
    effects.sort_by_key(|effect| effect.seq);
    let mut earliest_end: Option<Effect> = None;
    for effect in effects.iter().rev() {
        if let Some(later) = earliest_end.filter(|later| later.ended < effect.sent) {
            let text = format!("entry {} ended before entry {} was sent", later.seq, effect.seq);
            faults.add(Broken::Order, text);
        }
        if earliest_end.is_none_or(|known| effect.ended < known.ended) {
            earliest_end = Some(*effect);
        }
    }
}

/// Whether an answer tells how things stood. That the server was busy says nothing of a tenant.
fn tells(view: &View<'_>) -> bool {
    view.answer.is_success()
        || matches!(
            view.answer.code(),
            "quota-exceeded"
                | "exceeds-reservation"
                | "reservation-settled"
                | "reservation-expired"
                | "not-found"
                | "negative-usage"
        )
}

/// Whether an answer was true after entry `seq`.
fn is_true(view: &View<'_>, timeline: &Timeline, seq: u64) -> bool {
    let body = &view.answer.body;
    let hold = |id: &str| timeline.hold(id, seq);
    match (&view.call.verb, view.answer.code()) {
        (Verb::Usage, "") => {
            // What is due may be shown as done: the first to lapse, or the first two, and so on.
            let lapsing = timeline.lapsing(seq);
            let rows = || body["meters"].as_array().into_iter().flatten();
            (0..=lapsing.len())
                .any(|count| rows().all(|row| reads(timeline, row, seq, &lapsing[..count])))
        }
        (Verb::Look(id), "") if body["state"] == "expired" && hold(id) == Some("held") => {
            timeline.lapsing(seq).iter().any(|(lapsing, _)| lapsing == id)
        }
        (Verb::Look(id) | Verb::Commit(id) | Verb::Release(id), "") => {
            hold(id).is_some_and(|state| body["state"] == state)
        }
        (Verb::Consume | Verb::Reserve | Verb::Extend(_), "quota-exceeded") => {
            let meter = body["meter"].as_str().unwrap_or_default();
            let number = |name: &str| body[name].as_u64();
            let left = number("limit").zip(number("used").zip(number("reserved"))).map(
                |(limit, (used, reserved))| limit.saturating_sub(used).saturating_sub(reserved),
            );
            stands(timeline, meter, body, seq)
                && left == number("remaining")
                && number("requested") > left
                && number("requested") == Some(view.call.requested(meter))
        }
        (Verb::Adjust, "negative-usage") => {
            let meter = view.call.body["meter"].as_str().unwrap_or_default();
            let used = timeline.figures(meter, seq).used;
            let delta = view.call.body["delta"].as_i64().unwrap_or_default();
            body["used"].as_u64() == Some(used) && used.checked_add_signed(delta).is_none()
        }
        (Verb::Commit(id), "exceeds-reservation") => hold(id) == Some("held"),
        (Verb::Commit(id) | Verb::Release(id) | Verb::Extend(id), "reservation-settled") => {
            matches!(hold(id), Some("committed" | "released"))
        }
        (Verb::Commit(id) | Verb::Release(id) | Verb::Extend(id), "reservation-expired") => {
            hold(id) == Some("expired")
        }
        (Verb::Look(id) | Verb::Commit(id) | Verb::Release(id) | Verb::Extend(id), "not-found") => {
            hold(id).is_none()
        }
        _ => true,
    }
}

/// Whether a meter reads so after entry `seq` and the lapse of some holds.
fn reads(timeline: &Timeline, row: &Value, seq: u64, lapsed: &[(&str, &Held)]) -> bool {
    let meter = row["meter"].as_str().unwrap_or_default();
    let Figures { used, reserved } = timeline.figures(meter, seq);
    let gone: u64 = lapsed.iter().filter_map(|(_, held)| held.parts.get(meter)).sum();
    row["used"].as_u64() == Some(used) && row["reserved"].as_u64() == reserved.checked_sub(gone)
}

/// Whether a meter stood so after entry `seq`.
fn stands(timeline: &Timeline, meter: &str, said: &Value, seq: u64) -> bool {
    let figures = timeline.figures(meter, seq);
    said["used"].as_u64() == Some(figures.used)
        && said["reserved"].as_u64() == Some(figures.reserved)
}
