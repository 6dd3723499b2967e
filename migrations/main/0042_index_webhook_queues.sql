-- Each endpoint's queue by itself, so that what one is owed is never read for another's sake: the
-- relay goes from tenant to tenant, and takes the oldest of an endpoint without looking at the rest.
-- `settled_at` is 0 in deliveries that failed before they were ever tried, because too many waited
-- already, until the relay has counted them.

CREATE INDEX webhook_deliveries_queues
    ON webhook_deliveries (tenant_id, endpoint_id, due_at, id) WHERE state = 'pending';
