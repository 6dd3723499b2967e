-- The system's one append-only log. (shard, seq) is the fence: a second writer meets a foreign
-- row there and knows that it lost the shard. `hash` chains the rows of a shard, so a changed,
-- removed or swapped row is found. There is no secondary index on the way to an answer.
CREATE TABLE journal (
    shard BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    batch_id TEXT NOT NULL,
    body TEXT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (shard, seq)
);
