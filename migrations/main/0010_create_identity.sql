-- Who there is, where they belong, how they prove it, and what was changed by whom.
--
-- Personal columns end in `_sealed`: they are ciphertext under a key outside the database, and are
-- found by a keyed digest beside them. Secrets stand here as digests alone. A user belongs to any
-- number of tenants, so users, links and sessions are the only tables without a tenant in front.

CREATE TABLE users (
    id TEXT NOT NULL PRIMARY KEY,
    email_digest TEXT NOT NULL UNIQUE,
    email_sealed TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    disabled_at BIGINT
);

CREATE TABLE tenants (
    id TEXT NOT NULL PRIMARY KEY,
    name_sealed TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    deleted_at BIGINT
);

CREATE TABLE memberships (
    tenant_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('owner', 'admin', 'member', 'viewer')),
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, user_id)
);
CREATE INDEX memberships_by_user ON memberships (user_id, created_at);

-- A link is open until it is used, replaced by a newer one, or out of attempts at its code.
CREATE TABLE magic_links (
    id TEXT NOT NULL PRIMARY KEY,
    email_digest TEXT NOT NULL,
    email_sealed TEXT NOT NULL,
    token_digest TEXT NOT NULL UNIQUE,
    code_digest TEXT NOT NULL,
    next_path TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    ended_at BIGINT,
    ended_as TEXT CHECK (ended_as IN ('used', 'replaced', 'exhausted'))
);
CREATE INDEX magic_links_by_email ON magic_links (email_digest, created_at);
CREATE INDEX magic_links_by_expiry ON magic_links (expires_at);

-- A session is the family of one refresh cookie: it rotates, and only the newest one is good.
CREATE TABLE sessions (
    id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL,
    tenant_id TEXT NOT NULL,
    generation BIGINT NOT NULL,
    current_digest TEXT NOT NULL,
    previous_digest TEXT,
    rotated_at BIGINT NOT NULL,
    authenticated_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    client_sealed TEXT NOT NULL,
    revoked_at BIGINT,
    revoked_as TEXT CHECK (revoked_as IN ('logout', 'logout_all', 'signed_out', 'evicted', 'reused'))
);
CREATE INDEX sessions_by_user ON sessions (user_id, created_at);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

CREATE TABLE api_keys (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('default', 'named')),
    name_sealed TEXT,
    secret_digest TEXT NOT NULL,
    hint TEXT NOT NULL,
    scopes TEXT NOT NULL,
    rate_limit BIGINT,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    last_used_at BIGINT,
    revoked_at BIGINT,
    PRIMARY KEY (tenant_id, id)
);
CREATE UNIQUE INDEX api_keys_by_id ON api_keys (id);
CREATE UNIQUE INDEX api_keys_default ON api_keys (tenant_id)
    WHERE kind = 'default' AND revoked_at IS NULL;

-- What every node must forget about credentials that it has cached: a subject is a session, user,
-- tenant or key. The numbers come from one row that each transaction updates, so that they become
-- visible in their order and a reader that goes by them misses none.
CREATE TABLE revocations (
    seq BIGINT NOT NULL PRIMARY KEY,
    subject TEXT NOT NULL,
    revoked_at BIGINT NOT NULL
);
CREATE INDEX revocations_by_time ON revocations (revoked_at);

CREATE TABLE sequences (
    name TEXT NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO sequences (name, value) VALUES ('revocations', 0);

-- One row a change, written in the change's own transaction. `tenant_id` is 'system' where no tenant
-- is concerned yet. The chain columns are filled once records are chained.
CREATE TABLE audit (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    resource TEXT NOT NULL,
    request_id TEXT NOT NULL,
    details_sealed TEXT,
    details_digest TEXT NOT NULL,
    seq BIGINT,
    previous_hash TEXT,
    hash TEXT,
    PRIMARY KEY (tenant_id, id)
);
