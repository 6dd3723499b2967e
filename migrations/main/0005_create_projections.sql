-- What is read out of the journal in other shapes. Every table here can be rebuilt from it;
-- all of them change in the transaction that moves the watermark, so each effect exists once.

CREATE TABLE journal_watermarks (
    shard BIGINT NOT NULL PRIMARY KEY,
    seq BIGINT NOT NULL,
    hash TEXT NOT NULL
);

-- The lines of one tenant, in runs: activation reads these instead of the shared log.
CREATE TABLE chunks (
    tenant_id TEXT NOT NULL,
    first_seq BIGINT NOT NULL,
    last_seq BIGINT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (tenant_id, first_seq)
);

-- A cache of committed state; refused unless the log has the pair (seq, hash).
CREATE TABLE snapshots (
    tenant_id TEXT NOT NULL PRIMARY KEY,
    seq BIGINT NOT NULL,
    hash TEXT NOT NULL,
    taken_at BIGINT NOT NULL,
    body TEXT NOT NULL
);

CREATE TABLE idempotency_keys (
    tenant_id TEXT NOT NULL,
    digest TEXT NOT NULL,
    seq BIGINT NOT NULL,
    used_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, digest)
);

CREATE TABLE jobs (
    tenant_id TEXT NOT NULL,
    job_id TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, job_id)
);

CREATE TABLE usage_days (
    tenant_id TEXT NOT NULL,
    meter TEXT NOT NULL,
    day_at BIGINT NOT NULL,
    amount BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, meter, day_at)
);

-- What a sleeping tenant has to be woken for: an open hold, a running job.
CREATE TABLE wakeups (
    tenant_id TEXT NOT NULL,
    subject TEXT NOT NULL,
    due_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, subject)
);
CREATE INDEX wakeups_by_due ON wakeups (due_at, tenant_id);

-- An entry that could not be projected: its tenant is in quarantine, the watermark moved on.
CREATE TABLE projection_failures (
    tenant_id TEXT NOT NULL,
    seq BIGINT NOT NULL,
    shard BIGINT NOT NULL,
    row_seq BIGINT NOT NULL,
    reason TEXT NOT NULL,
    failed_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, seq)
);

-- Signed positions of the log: a cut tail is visible because a signature is left over.
CREATE TABLE journal_heads (
    shard BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    hash TEXT NOT NULL,
    signed_at BIGINT NOT NULL,
    key_id TEXT NOT NULL,
    signature TEXT NOT NULL,
    PRIMARY KEY (shard, seq)
);
