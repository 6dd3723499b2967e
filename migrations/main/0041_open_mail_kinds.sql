-- Mails of other kinds are owed too: what kinds there are is known to the program that writes them.
-- A constraint cannot be dropped in every database, so the table is made again.

CREATE TABLE mail_outbox_next (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    tenant_id TEXT,
    facts TEXT,
    secret_sealed TEXT,
    state TEXT NOT NULL CHECK (state IN ('pending', 'sent', 'dead', 'expired')),
    attempts BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    settled_at BIGINT,
    last_error TEXT
);
INSERT INTO mail_outbox_next (id, kind, tenant_id, facts, secret_sealed, state, attempts, due_at,
        created_at, expires_at, settled_at, last_error)
    SELECT id, kind, tenant_id, facts, secret_sealed, state, attempts, due_at,
        created_at, expires_at, settled_at, last_error FROM mail_outbox;
DROP TABLE mail_outbox;
ALTER TABLE mail_outbox_next RENAME TO mail_outbox;
CREATE INDEX mail_outbox_due ON mail_outbox (due_at) WHERE state = 'pending';
CREATE INDEX mail_outbox_settled ON mail_outbox (settled_at);
