//! Who may make attempts: places that tenants share, however long the queue of one of them is.

use std::collections::HashMap;

use crate::database::webhook_deliveries::queues::Queue;
use crate::ids::{EndpointId, TenantId};

/// Attempts under way at once: in all, of one tenant, and to one endpoint.
pub(super) const ALL_MAX: usize = 128;
const TENANT_MAX: usize = 16;
const ENDPOINT_MAX: usize = 4;

/// How many attempts are under way, and whose.
#[derive(Debug, Default)]
pub(super) struct Places {
    taken: usize,
    tenants: HashMap<TenantId, usize>,
    endpoints: HashMap<EndpointId, usize>,
}

/// Which queues have places now.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    /// Queues, each with how many of its deliveries may be tried.
    pub(super) queues: Vec<(Queue, usize)>,
    /// The last tenant whose turn it was, if there was no place for all.
    pub(super) turn: Option<TenantId>,
}

impl Places {
    /// How many are free.
    pub(super) fn free(&self) -> usize {
        ALL_MAX.saturating_sub(self.taken)
    }

    /// Attempts under way to an endpoint.
    pub(super) fn of_endpoint(&self, endpoint: EndpointId) -> usize {
        self.endpoints.get(&endpoint).copied().unwrap_or(0)
    }

    /// Takes places for queues of which something is due, in turns: the first endpoint of each
    /// tenant, then the second of each, and so on, and again. `most` says how many an endpoint may
    /// have under way at the most.
    pub(super) fn choose(
        &mut self,
        queues: &[Queue],
        most: impl Fn(EndpointId) -> usize,
    ) -> Chosen {
        let mut nth: HashMap<TenantId, usize> = HashMap::new();
        let mut order: Vec<(usize, usize)> = Vec::with_capacity(queues.len());
        for (at, queue) in queues.iter().enumerate() {
            let nth = nth.entry(queue.tenant).or_default();
            order.push((*nth, at));
            *nth += 1;
        }
        order.sort_unstable();
        let mut granted = vec![0; queues.len()];
        let mut chosen = Chosen::default();
        for round in 0..ENDPOINT_MAX {
            for (nth, at) in &order {
                let queue = &queues[*at];
                let is_first = round == 0 && *nth == 0;
                if is_first && self.free() == 0 {
                    // Whoever comes after has the next turn.
                    return chosen.with(queues, &granted);
                }
                if self.of_endpoint(queue.endpoint) < most(queue.endpoint) && self.enter(queue) {
                    granted[*at] += 1;
                }
                if is_first {
                    chosen.turn = Some(queue.tenant);
                }
            }
        }
        chosen.turn = None;
        chosen.with(queues, &granted)
    }

    /// Gives a place back.
    pub(super) fn leave(&mut self, tenant: TenantId, endpoint: EndpointId) {
        self.taken = self.taken.saturating_sub(1);
        leave_one(&mut self.tenants, &tenant);
        leave_one(&mut self.endpoints, &endpoint);
    }

    /// Takes a place, unless the endpoint or its tenant has its share. A tenant never takes more
    /// than it leaves free, so that however many are slow there is room for one more.
    fn enter(&mut self, queue: &Queue) -> bool {
        let own = self.tenants.get(&queue.tenant).copied().unwrap_or(0);
        let is_open =
            own < TENANT_MAX.min(self.free()) && self.of_endpoint(queue.endpoint) < ENDPOINT_MAX;
        if is_open {
            self.taken += 1;
            *self.tenants.entry(queue.tenant).or_default() += 1;
            *self.endpoints.entry(queue.endpoint).or_default() += 1;
        }
        is_open
    }
}

impl Chosen {
    fn with(mut self, queues: &[Queue], granted: &[usize]) -> Self {
        let granted = queues.iter().copied().zip(granted.iter().copied());
        self.queues = granted.filter(|(_, places)| *places > 0).collect();
        self
    }
}

fn leave_one<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn queue(tenant: u128, endpoint: u128) -> Queue {
        let endpoint = EndpointId::from_bits(tenant * 100 + endpoint);
        Queue { tenant: TenantId::from_bits(tenant), endpoint, due_at: Timestamp::MIN }
    }

    fn places_of(chosen: &Chosen, tenant: u128) -> usize {
        let tenant = TenantId::from_bits(tenant);
        chosen.queues.iter().filter(|(it, _)| it.tenant == tenant).map(|(_, count)| count).sum()
    }

    const ANY: usize = usize::MAX;

    #[test]
    fn a_tenant_of_many_endpoints_has_the_share_of_one_tenant() {
        let mut places = Places::default();
        let many: Vec<Queue> = (0..20).map(|endpoint| queue(1, endpoint)).collect();

        let chosen = places.choose(&many, |_| ANY);
        assert_eq!(places_of(&chosen, 1), TENANT_MAX);
        assert_eq!(places_of(&places.choose(&many, |_| ANY), 1), 0, "it has its share");
        let one = places.choose(&[queue(2, 0)], |_| ANY);
        assert_eq!(one.queues, [(queue(2, 0), ENDPOINT_MAX)]);
    }

    #[test]
    fn however_many_tenants_are_slow_there_is_a_place_for_one_more() {
        for slow in [1, 2, 7, 16, 40, 127] {
            let mut places = Places::default();
            let queues: Vec<Queue> =
                (0..slow).flat_map(|tenant| (0..20).map(move |nth| queue(tenant, nth))).collect();
            for _ in 0..50 {
                places.choose(&queues, |_| ANY);
            }

            let chosen = places.choose(&[queue(1_000, 0)], |_| ANY);
            assert!(places_of(&chosen, 1_000) > 0, "{slow} tenants are slow");
        }
    }

    #[test]
    fn tenants_have_turns_when_there_is_no_place_for_all() {
        let mut places = Places::default();
        let queues: Vec<Queue> = (0..200).map(|tenant| queue(tenant, 0)).collect();

        let first = places.choose(&queues, |_| ANY);
        assert_eq!(first.queues.len(), ALL_MAX);
        assert_eq!(first.turn, Some(TenantId::from_bits(ALL_MAX as u128 - 1)));
        for (queue, count) in first.queues {
            for _ in 0..count {
                places.leave(queue.tenant, queue.endpoint);
            }
        }
        let second = places.choose(&queues[ALL_MAX..], |_| ANY);
        assert_eq!((second.queues.len(), second.turn), (200 - ALL_MAX, None));
    }

    #[test]
    fn an_endpoint_that_is_on_trial_has_the_places_that_it_may() {
        let mut places = Places::default();
        let queues = [queue(1, 0), queue(1, 1), queue(2, 0)];
        let most = |endpoint| match endpoint {
            it if it == queues[0].endpoint => 0,
            it if it == queues[1].endpoint => 1,
            _ => ANY,
        };

        for _ in 0..2 {
            let _ = places.choose(&queues, most);
        }

        let counts = queues.map(|queue| places.of_endpoint(queue.endpoint));
        assert_eq!(counts, [0, 1, ENDPOINT_MAX]);
    }
}
