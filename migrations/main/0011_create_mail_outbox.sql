-- Mails that are owed. A row is inserted in the transaction of whatever it tells, so a mail exists
-- exactly if its cause does. `facts` holds nothing personal; the address and the secret of a login
-- mail are sealed and wiped once the mail is sent, dead or expired.

CREATE TABLE mail_outbox (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('login', 'usage_threshold')),
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
CREATE INDEX mail_outbox_due ON mail_outbox (due_at) WHERE state = 'pending';
CREATE INDEX mail_outbox_settled ON mail_outbox (settled_at);
