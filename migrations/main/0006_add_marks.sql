-- Keys and events of a tenant are found by marks: 64 bits of a digest and the number of its entry.
--
-- A row a key, at a random place of a large index, cost more than everything else that a line costs.
-- The marks of a chunk's lines stand beside the lines; whenever a certain number of lines is
-- complete, their marks become a run, and runs become longer ones, so that a search looks at few.
-- The tables of before keep what they have until it is forgotten: a chunk without marks is of then.

ALTER TABLE chunks ADD COLUMN marks TEXT;

-- Runs do not overlap. `digits` is the number of hexadecimal digits by which a run is cut in parts;
-- without any its marks stand here.
CREATE TABLE mark_runs (
    tenant_id TEXT NOT NULL,
    first_seq BIGINT NOT NULL,
    last_seq BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    mark_count BIGINT NOT NULL,
    digits BIGINT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (tenant_id, first_seq)
);

CREATE TABLE mark_parts (
    tenant_id TEXT NOT NULL,
    first_seq BIGINT NOT NULL,
    part BIGINT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (tenant_id, first_seq, part)
);
