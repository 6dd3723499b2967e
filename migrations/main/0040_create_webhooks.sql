-- Where a tenant wants to be told what happens, and what each of those places is still owed.
--
-- A delivery is inserted by the projector, in the transaction that moves the watermark, so it exists
-- exactly if the journal's entry does. Its id follows from tenant, endpoint and entry: projecting an
-- entry again inserts nothing. Of a kind and a word in `once` an endpoint is owed one: the word is
-- the entry's number, or meter and period for what is told once in a period. `body` holds ids and figures alone; addresses and secrets are sealed
-- under the tenant's key. `attempts` counts what was tried in all, `step` the place in the schedule;
-- `leased_until` stands in what a relay has taken and not settled yet.

CREATE TABLE webhook_endpoints (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL,
    url_sealed TEXT NOT NULL,
    secrets_sealed TEXT NOT NULL,
    events TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    failing_since BIGINT,
    disabled_at BIGINT,
    disabled_as TEXT CHECK (disabled_as IN ('owner', 'failing', 'gone')),
    PRIMARY KEY (tenant_id, id)
);

CREATE TABLE webhook_deliveries (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL,
    endpoint_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    once TEXT NOT NULL,
    seq BIGINT NOT NULL,
    body TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'failed')),
    attempts BIGINT NOT NULL,
    step BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    leased_until BIGINT,
    created_at BIGINT NOT NULL,
    tried_at BIGINT,
    settled_at BIGINT,
    last_status BIGINT,
    last_error TEXT,
    PRIMARY KEY (tenant_id, id)
);
CREATE UNIQUE INDEX webhook_deliveries_once
    ON webhook_deliveries (tenant_id, endpoint_id, kind, once);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (due_at) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_by_endpoint ON webhook_deliveries (tenant_id, endpoint_id, id);
CREATE INDEX webhook_deliveries_settled ON webhook_deliveries (settled_at);
