//! What can happen to a tenant, in any order and at any pace.

use proptest::prelude::*;

use super::*;
use crate::ids::GrantId;
use crate::tenant::quota::tests::fixture::sold;

const METERS: [&str; 4] = ["images", "tts_ms", "storage_bytes", "unheard_of"];
/// Two hours and a day before a month ends.
pub(super) const START: &str = "2026-11-29T22:00:00Z";

/// What happens, and how many seconds before the next.
pub(super) type Script = Vec<(Command, u64)>;

/// Times that meet: minutes, hours, a day, and from the start to the month's end.
fn round() -> impl Strategy<Value = u64> {
    prop::sample::select(vec![0, 60, 300, 3_600, 7_200, 86_400, 93_600])
}

fn name() -> impl Strategy<Value = MeterName> {
    // Mostly one meter, so that things meet.
    prop_oneof![40 => Just(0usize), 20 => 1..3usize, 1 => Just(3usize)]
        .prop_map(|index| meter(METERS[index]))
}

pub(super) fn items(max: u64) -> impl Strategy<Value = Vec<Item>> {
    let amounts = prop_oneof![20 => 1..=max, 1 => Just(0u64)];
    let item = (name(), amounts).prop_map(|(meter, amount)| Item { meter, amount });
    prop::collection::vec(item, 1..3)
}

fn limits() -> impl Strategy<Value = [Option<u64>; 3]> {
    let limit = || prop_oneof![6 => (0..12u64).prop_map(Some), 1 => Just(None)];
    (limit(), limit(), limit()).prop_map(|(a, b, c)| [a, b, c])
}

fn when() -> impl Strategy<Value = Timestamp> {
    let around = -200_000..400i64;
    around.prop_map(|seconds| {
        Timestamp::from_micros(at("2026-12-01T06:00:00Z").as_micros() + seconds * 1_000_000)
    })
}

fn event() -> impl Strategy<Value = Event> {
    let amount = prop_oneof![12 => 1..4u64, 1 => Just(0u64)];
    (0..30u8, name(), amount, when()).prop_map(|(number, meter, amount, at)| Event {
        digest: EventDigest::from_bytes([number; 16]),
        meter,
        amount,
        at,
    })
}

fn grant() -> impl Strategy<Value = Command> {
    let expiry = prop_oneof![1 => Just(None), 3 => (0..60u64).prop_map(|h| Some(h * 3_600))];
    (0..4u128, name(), 0..12u64, 0..3u8, expiry, any::<bool>()).prop_map(
        |(number, meter, amount, priority, expiry, rollover)| Command::Grant {
            id: GrantId::from_bits(number),
            meter,
            amount,
            priority,
            expires_at: expiry.map(|seconds| at(START).plus_s(seconds)),
            rollover,
            source: GrantSource::TopUp,
        },
    )
}

fn plan_command() -> impl Strategy<Value = Command> {
    let terms = (limits(), any::<bool>()).prop_map(|(limits, is_sold)| {
        if is_sold { sold("pro", limits) } else { plan("other", limits) }
    });
    let when = prop_oneof![2 => Just(PlanChange::Now), 1 => Just(PlanChange::PeriodEnd)];
    (terms, when).prop_map(|(terms, when)| Command::SetPlan { terms, cycle: None, when })
}

fn told() -> impl Strategy<Value = Command> {
    let adjust = (name(), -8..9i64).prop_map(|(meter, delta)| Command::Adjust {
        meter,
        delta,
        reason: Digest("why".to_owned()),
        reference: None,
    });
    let cap = prop_oneof![1 => Just(0u64), 3 => 0..60u64];
    let mode = prop_oneof![1 => Just(Enforcement::Shadow), 3 => Just(Enforcement::Enforced)];
    prop_oneof![
        4 => prop::collection::vec(event(), 1..5).prop_map(|events| Command::Record { events }),
        4 => adjust,
        3 => cap.prop_map(|amount_minor| Command::SetSpendCap { amount_minor }),
        6 => grant(),
        2 => (0..4u128).prop_map(|id| Command::RevokeGrant { id: GrantId::from_bits(id) }),
        1 => mode.prop_map(|mode| Command::SetEnforcement { mode }),
        4 => plan_command(),
    ]
}

pub(super) fn command() -> impl Strategy<Value = Command> {
    let id = || (0u128..3).prop_map(rsv);
    let job = || (0u128..2).prop_map(JobId::from_bits);
    let ttl = || prop_oneof![round().prop_map(|seconds| seconds.clamp(1, 86_400)), 1..=86_400u64];
    prop_oneof![
        6 => items(6).prop_map(|items| Command::Consume { items }),
        8 => (id(), items(8), ttl())
            .prop_map(|(id, items, ttl_s)| Command::Reserve { id, items, ttl_s }),
        6 => (id(), prop::option::of(items(10)), any::<bool>())
            .prop_map(|(id, items, late)| Command::Commit { id, items, late }),
        4 => id().prop_map(|id| Command::Release { id }),
        2 => (id(), ttl()).prop_map(|(id, ttl_s)| Command::Extend { id, ttl_s }),
        3 => (job(), items(8)).prop_map(|(job, items)| Command::HoldJob { job, items }),
        4 => (job(), items(5)).prop_map(|(job, items)| Command::CommitPart { job, items }),
        2 => job().prop_map(|job| Command::CloseJob { job }),
        2 => items(6).prop_map(|items| Command::Free { items }),
        16 => told(),
        1 => Just(Command::Tick),
    ]
}

pub(super) fn script(lengths: std::ops::Range<usize>) -> impl Strategy<Value = Script> {
    let pause = prop_oneof![
        8 => round(),
        4 => 0..120u64,
        3 => 120..7_200u64,
        2 => 7_200..90_000u64,
        1 => 90_000..3_000_000u64,
    ];
    // Many begin with grants and a cap, so that short ones come to something.
    let cap = (0..60u64).prop_map(|amount_minor| Command::SetSpendCap { amount_minor });
    let given = prop::collection::vec(prop_oneof![3 => grant(), 1 => cap], 0..4);
    (given, prop::collection::vec((command(), pause), lengths)).prop_map(|(given, script)| {
        given.into_iter().map(|command| (command, 0)).chain(script).collect()
    })
}

pub(super) fn quota() -> Quota {
    Quota::new(sold("pro", LIMITS))
}

pub(super) const LIMITS: [Option<u64>; 3] = [Some(5), Some(6), Some(8)];

/// Runs a script and shows every turn to `see`.
pub(super) fn run(
    quota: &mut Quota,
    script: &Script,
    mut see: impl FnMut(&Quota, &Applied, Timestamp),
) {
    let mut now = at(START);
    for (command, pause) in script {
        let applied = quota.apply(command, now);
        see(quota, &applied, now);
        now = now.plus_s(*pause);
    }
}
