-- Rollups for the views that took longer than 100 ms on ten million spans (npm run bench -- views). The views look at a day, so a day is filled in; a
-- migration that was cut short begins with an empty table again.

-- One row per trace and hour; a trace that goes on into the next hour has two. Enough to find the slowest without reading their spans.
CREATE TABLE IF NOT EXISTS {{database}}.traces {{onCluster}}
(
    hour           DateTime('UTC') COMMENT 'Hour in which these spans began' CODEC(Delta, ZSTD(1)),
    trace_id       String COMMENT 'W3C trace id' CODEC(ZSTD(1)),
    started_us     SimpleAggregateFunction(min, Int64) COMMENT 'Start of the first of these spans, microseconds since 1970' CODEC(Delta, ZSTD(1)),
    ended_us       SimpleAggregateFunction(max, Int64) COMMENT 'Last commit among them, microseconds since 1970' CODEC(Delta, ZSTD(1)),
    spans          SimpleAggregateFunction(sum, UInt64) COMMENT 'Spans that are stored, without weights',
    errors         SimpleAggregateFunction(sum, UInt64) COMMENT 'Spans among them that failed',
    first_handler  AggregateFunction(argMin, String, Tuple(DateTime64(6, 'UTC'), String)) COMMENT 'Handler of the first of these spans; of several at one time, the first by name',
    components     SimpleAggregateFunction(groupUniqArrayArray, Array(String)) COMMENT 'Who took part'
)
ENGINE = {{replicated}}AggregatingMergeTree
PARTITION BY toDate(hour)
-- By hour first, since that is what is asked for; within it the spans of a trace meet.
ORDER BY (hour, trace_id)
TTL hour + INTERVAL 7 DAY
SETTINGS ttl_only_drop_parts = 1, {{deduplicationWindow}};

-- What went wrong, by the minute: one span in hundreds, which without this are looked for among all.
CREATE TABLE IF NOT EXISTS {{database}}.errors_1m {{onCluster}}
(
    time          DateTime('UTC') COMMENT 'Start of the minute' CODEC(Delta, ZSTD(1)),
    component     LowCardinality(String),
    handler       LowCardinality(String),
    error_class   LowCardinality(String) COMMENT 'Code or class of the error',
    errors        SimpleAggregateFunction(sum, UInt64) COMMENT 'How many, by weight',
    last_time     SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    last_trace_id AggregateFunction(argMax, String, Tuple(DateTime64(6, 'UTC'), String))
)
ENGINE = {{replicated}}AggregatingMergeTree
PARTITION BY toDate(time)
ORDER BY (time, component, handler, error_class)
TTL time + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1, {{deduplicationWindow}};

DROP VIEW IF EXISTS {{database}}.traces_fill {{onCluster}} SYNC;
DROP VIEW IF EXISTS {{database}}.errors_1m_fill {{onCluster}} SYNC;
TRUNCATE TABLE {{database}}.traces {{onCluster}};
TRUNCATE TABLE {{database}}.errors_1m {{onCluster}};

INSERT INTO {{database}}.traces
SELECT
    toStartOfHour(toDateTime(s.time, 'UTC')) AS hour, trace_id,
    min(toUnixTimestamp64Micro(s.time)), max(toUnixTimestamp64Micro(s.time) + s.handle_us + s.commit_us),
    count(), countIf(s.status = 'error'), argMinState(toString(s.handler), (s.time, toString(s.handler))), groupUniqArray(toString(s.component))
FROM {{database}}.spans AS s
WHERE s.time >= toStartOfHour(now() - INTERVAL 1 DAY) AND s.replay_id = ''
GROUP BY hour, trace_id
SETTINGS insert_deduplicate = 0;

INSERT INTO {{database}}.errors_1m
SELECT
    toStartOfMinute(toDateTime(s.time, 'UTC')) AS minute, component, handler, error_class,
    sum(toUInt64(s.weight)), max(s.time), argMaxState(s.trace_id, (s.time, s.trace_id))
FROM {{database}}.spans AS s
WHERE s.time >= toStartOfMinute(now() - INTERVAL 1 DAY) AND s.status = 'error'
GROUP BY minute, component, handler, error_class
SETTINGS insert_deduplicate = 0;

CREATE MATERIALIZED VIEW {{database}}.traces_fill {{onCluster}} TO {{database}}.traces AS
SELECT
    toStartOfHour(toDateTime(spans.time, 'UTC')) AS hour, trace_id,
    min(toUnixTimestamp64Micro(spans.time)) AS started_us,
    max(toUnixTimestamp64Micro(spans.time) + handle_us + commit_us) AS ended_us,
    count() AS spans,
    countIf(status = 'error') AS errors,
    argMinState(toString(handler), (spans.time, toString(handler))) AS first_handler,
    groupUniqArray(toString(component)) AS components
FROM {{database}}.spans
WHERE replay_id = ''
GROUP BY hour, trace_id;

CREATE MATERIALIZED VIEW {{database}}.errors_1m_fill {{onCluster}} TO {{database}}.errors_1m AS
SELECT
    toStartOfMinute(toDateTime(spans.time, 'UTC')) AS time, component, handler, error_class,
    sum(toUInt64(weight)) AS errors,
    max(spans.time) AS last_time,
    argMaxState(trace_id, (spans.time, trace_id)) AS last_trace_id
FROM {{database}}.spans
WHERE status = 'error'
GROUP BY time, component, handler, error_class;

-- To the minute as before, whole hours from the rollup of hours: a sixtieth of the digests.
CREATE OR REPLACE VIEW {{database}}.latency_by_handler {{onCluster}} AS
SELECT
    component, handler, message_kind, messages,
    total[1] / 1000 AS p50_ms, total[2] / 1000 AS p90_ms, total[3] / 1000 AS p95_ms, total[4] / 1000 AS p99_ms, max_ms, mean_ms,
    queue[1] / 1000 AS queue_p50_ms, queue[4] / 1000 AS queue_p99_ms,
    handle[1] / 1000 AS handle_p50_ms, handle[4] / 1000 AS handle_p99_ms,
    commit[1] / 1000 AS commit_p50_ms, commit[4] / 1000 AS commit_p99_ms
FROM
(
    SELECT
        component, handler, message_kind,
        sum(s.messages) AS messages,
        max(s.total_us_max) / 1000 AS max_ms,
        sum(s.total_us_sum) / sum(s.messages) / 1000 AS mean_ms,
        quantilesTDigestMerge(0.5, 0.9, 0.95, 0.99)(s.total_us) AS total,
        quantilesTDigestMerge(0.5, 0.9, 0.95, 0.99)(s.queue_us) AS queue,
        quantilesTDigestMerge(0.5, 0.9, 0.95, 0.99)(s.handle_us) AS handle,
        quantilesTDigestMerge(0.5, 0.9, 0.95, 0.99)(s.commit_us) AS commit
    FROM
    (
        SELECT component, handler, message_kind, messages, total_us_max, total_us_sum, total_us, queue_us, handle_us, commit_us
        FROM {{database}}.spans_1h
        WHERE time > now() - INTERVAL 1 DAY AND NOT is_replay
        UNION ALL
        SELECT component, handler, message_kind, messages, total_us_max, total_us_sum, total_us, queue_us, handle_us, commit_us
        FROM {{database}}.spans_1m
        WHERE time >= now() - INTERVAL 1 DAY AND time < toStartOfHour(now() - INTERVAL 1 DAY) + INTERVAL 1 HOUR AND NOT is_replay
    ) AS s
    GROUP BY component, handler, message_kind
);

CREATE OR REPLACE VIEW {{database}}.errors_by_class {{onCluster}} AS
SELECT
    component, handler, error_class,
    sum(e.errors) AS errors,
    max(e.last_time) AS last_time,
    argMaxMerge(e.last_trace_id) AS last_trace_id
FROM {{database}}.errors_1m AS e
WHERE e.time >= now() - INTERVAL 1 DAY
GROUP BY component, handler, error_class;

-- The slowest are found by two numbers of each trace; the rest is looked up for the hundred alone.
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
WHERE t.hour >= toStartOfHour(now() - INTERVAL 1 DAY) AND trace_id IN
(
    SELECT trace_id
    FROM {{database}}.traces AS t
    WHERE t.hour >= toStartOfHour(now() - INTERVAL 1 DAY)
    GROUP BY trace_id
    ORDER BY max(t.ended_us) - min(t.started_us) DESC
    LIMIT 100
)
GROUP BY trace_id
ORDER BY duration_ms DESC
LIMIT 100;
