-- Which events count already: an event that comes again is a duplicate and changes nothing.
--
-- A row is written with the entry that counted the event, and stays until the event's period and
-- 35 days after it are over.

CREATE TABLE event_keys (
    tenant_id TEXT NOT NULL,
    digest TEXT NOT NULL,
    seq BIGINT NOT NULL,
    used_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, digest)
);
