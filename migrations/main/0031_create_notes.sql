-- Words that came with a correction. The journal refers to them by their digest; here they stand
-- sealed under the tenant's key, so that destroying the key erases them.

CREATE TABLE notes (
    tenant_id TEXT NOT NULL,
    digest TEXT NOT NULL,
    text_sealed TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, digest)
);
