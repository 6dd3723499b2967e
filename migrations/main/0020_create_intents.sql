-- What the identity plane wants done at a tenant. A row is written in the transaction that decided
-- it, delivered to the tenant's actor under the row's id as idempotency key, and removed once the
-- entry is on disk: so it happens exactly once, also if the process dies in between.
CREATE TABLE intents (
    tenant_id TEXT NOT NULL,
    intent_id TEXT NOT NULL,
    body TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, intent_id)
);
CREATE INDEX intents_by_due ON intents (due_at, intent_id);
