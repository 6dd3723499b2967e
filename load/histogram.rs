//! A histogram of latencies with a bounded relative error, in the layout of `HdrHistogram`.

use std::time::Duration;

/// Buckets per doubling, as a power of two: 128 buckets keep the error below one percent.
const SUB_BITS: u32 = 7;
/// Enough for every 64-bit number of nanoseconds.
const BUCKETS: usize = ((64 - SUB_BITS as usize) << SUB_BITS) + (1 << SUB_BITS);

/// Counts of latencies.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    /// Makes an empty histogram.
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0 }
    }

    /// Counts one latency.
    pub(crate) fn record(&mut self, latency: Duration) {
        let latency_ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket_of(latency_ns)] += 1;
        self.total += 1;
    }

    /// Adds another histogram's counts.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
    }

    /// Tells how many latencies were counted.
    pub(crate) fn len(&self) -> u64 {
        self.total
    }

    /// Tells the latency that this many of a million did not exceed.
    pub(crate) fn quantile(&self, per_million: u64) -> Duration {
        let rank = (u128::from(self.total) * u128::from(per_million)).div_ceil(1_000_000);
        let mut seen = 0_u128;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += u128::from(*count);
            if seen >= rank && *count > 0 {
                return Duration::from_nanos(upper_bound_of(bucket));
            }
        }
        Duration::ZERO
    }
}

fn bucket_of(value: u64) -> usize {
    let exponent = value.checked_ilog2().unwrap_or(0).saturating_sub(SUB_BITS);
    let within = usize::try_from(value >> exponent).unwrap_or(0);
    ((exponent as usize) << SUB_BITS) + within
}

fn upper_bound_of(bucket: usize) -> u64 {
    let exponent = (bucket >> SUB_BITS).saturating_sub(1);
    let within = (bucket - (exponent << SUB_BITS)) as u64;
    (u128::from(within + 1) << exponent).try_into().map_or(u64::MAX, |bound: u64| bound - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_its_values_within_one_percent() {
        let powers = (0..64).map(|bits| 1_u64 << bits);
        let values = powers.flat_map(|power| [power - 1, power, power + 1, power + power / 3]);

        for value in values.chain([u64::MAX]) {
            let bound = upper_bound_of(bucket_of(value));
            assert!(bound >= value, "{value}");
            assert!(bound - value <= value / 128, "{value} in a bucket up to {bound}");
        }
    }

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        for bucket in 0..BUCKETS - 1 {
            let bound = upper_bound_of(bucket);
            assert_eq!(bucket_of(bound), bucket);
            assert_eq!(bucket_of(bound + 1), bucket + 1);
        }
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_list() {
        let (mut first, mut second) = (Histogram::new(), Histogram::new());
        (1..=500).for_each(|us| first.record(Duration::from_micros(us)));
        (501..=1000).for_each(|us| second.record(Duration::from_micros(us)));
        first.merge(&second);

        assert_eq!(first.len(), 1000);
        for (per_million, exact_us) in [(500_000, 500), (990_000, 990), (999_000, 999)] {
            let found_us = first.quantile(per_million).as_micros();
            assert!((exact_us..=exact_us + exact_us / 100).contains(&found_us), "{found_us}");
        }
        assert_eq!(Histogram::new().quantile(990_000), Duration::ZERO);
    }
}
