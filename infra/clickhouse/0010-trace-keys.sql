-- The slowest traces are found by a number for each trace; to group by the id itself takes most of the query. Two traces of one number would share a
-- place among the hundred that are looked at, no more.
ALTER TABLE {{database}}.traces {{onCluster}}
    ADD COLUMN IF NOT EXISTS trace_key UInt64 MATERIALIZED cityHash64(trace_id) COMMENT 'Hash of the trace id' CODEC(ZSTD(1)) AFTER trace_id;

CREATE OR REPLACE VIEW {{database}}.slowest_traces {{onCluster}} AS
SELECT
    trace_id,
    fromUnixTimestamp64Micro(min(t.started_us), 'UTC') AS started_at,
    (max(t.ended_us) - min(t.started_us)) / 1000 AS duration_ms,
    sum(t.spans) AS spans,
    sum(t.errors) AS errors,
    argMinMerge(t.first_handler) AS first_handler,
    groupUniqArrayArray(t.components) AS components
FROM {{database}}.traces AS t
WHERE t.hour >= toStartOfHour(now() - INTERVAL 1 DAY) AND trace_key IN
(
    SELECT trace_key
    FROM {{database}}.traces AS t
    WHERE t.hour >= toStartOfHour(now() - INTERVAL 1 DAY)
    GROUP BY trace_key
    ORDER BY max(t.ended_us) - min(t.started_us) DESC
    LIMIT 100
)
GROUP BY trace_id
ORDER BY duration_ms DESC
LIMIT 100;
