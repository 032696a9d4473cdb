-- Views for analysts; docs/telemetry.md lists their columns.

-- The last 24 hours of each handler; replays are left out, since their latency says nothing about the service.
CREATE VIEW IF NOT EXISTS {{database}}.latency_by_handler {{onCluster}} AS
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
    FROM {{database}}.spans_1m AS s
    WHERE s.time >= now() - INTERVAL 1 DAY AND NOT s.is_replay
    GROUP BY component, handler, message_kind
);

-- The same by the minute, over all that the rollup keeps: say which time you want.
CREATE VIEW IF NOT EXISTS {{database}}.latency_over_time {{onCluster}} AS
SELECT
    time, component, handler, message_kind, messages,
    total[1] / 1000 AS p50_ms, total[2] / 1000 AS p90_ms, total[3] / 1000 AS p95_ms, total[4] / 1000 AS p99_ms
FROM
(
    SELECT
        s.time AS time, component, handler, message_kind,
        sum(s.messages) AS messages,
        quantilesTDigestMerge(0.5, 0.9, 0.95, 0.99)(s.total_us) AS total
    FROM {{database}}.spans_1m AS s
    WHERE NOT s.is_replay
    GROUP BY time, component, handler, message_kind
);

-- The last 24 hours of each handler.
CREATE VIEW IF NOT EXISTS {{database}}.error_rate {{onCluster}} AS
SELECT
    component, handler, message_kind,
    sum(s.messages) AS messages,
    sum(s.errors) AS errors,
    sum(s.errors) / sum(s.messages) AS error_rate
FROM {{database}}.spans_1m AS s
WHERE s.time >= now() - INTERVAL 1 DAY
GROUP BY component, handler, message_kind;

-- What went wrong in the last 24 hours, with a trace to look at.
CREATE VIEW IF NOT EXISTS {{database}}.errors_by_class {{onCluster}} AS
SELECT
    component, handler, error_class,
    count() AS errors,
    max(s.time) AS last_time,
    argMax(s.trace_id, s.time) AS last_trace_id
FROM {{database}}.spans AS s
WHERE s.time >= now() - INTERVAL 1 DAY AND s.status = 'error'
GROUP BY component, handler, error_class;

-- Messages handled, by the minute.
CREATE VIEW IF NOT EXISTS {{database}}.throughput {{onCluster}} AS
SELECT
    s.time AS time, component, handler, message_kind,
    sum(s.messages) AS messages,
    sum(s.messages) / 60 AS per_second
FROM {{database}}.spans_1m AS s
GROUP BY time, component, handler, message_kind;

-- Where each consumer stood when it last told, within the last hour.
CREATE VIEW IF NOT EXISTS {{database}}.consumer_lag {{onCluster}} AS
SELECT
    consumer, topic, partition,
    argMax(l.instance, l.time) AS instance,
    argMax(l.position, l.time) AS position,
    argMax(l.end, l.time) AS end,
    argMax(l.records, l.time) AS records,
    argMax(l.seconds, l.time) AS seconds,
    max(l.time) AS measured_at
FROM {{database}}.lag AS l
WHERE l.time >= now() - INTERVAL 1 HOUR
GROUP BY consumer, topic, partition;

-- The hundred traces of the last 24 hours that took longest, from the first start to the last commit.
CREATE VIEW IF NOT EXISTS {{database}}.slowest_traces {{onCluster}} AS
SELECT
    trace_id,
    min(s.time) AS started_at,
    (max(toUnixTimestamp64Micro(s.time) + s.handle_us + s.commit_us) - min(toUnixTimestamp64Micro(s.time))) / 1000 AS duration_ms,
    count() AS spans,
    countIf(s.status = 'error') AS errors,
    argMin(s.handler, s.time) AS first_handler,
    groupUniqArray(s.component) AS components
FROM {{database}}.spans AS s
WHERE s.time >= now() - INTERVAL 1 DAY AND s.replay_id = ''
GROUP BY trace_id
ORDER BY duration_ms DESC
LIMIT 100;

-- Proves that every record was stored once: for each partition of the log rows = offsets, over the tables that hold it and the quarantine together.
CREATE VIEW IF NOT EXISTS {{database}}.audit_offsets {{onCluster}} AS
SELECT
    topic, partition,
    count() AS rows,
    uniqExact(offset) AS offsets,
    countIf(is_quarantined) AS quarantined,
    min(offset) AS first_offset,
    max(offset) AS last_offset
FROM
(
    SELECT log_topic AS topic, log_partition AS partition, log_offset AS offset, false AS is_quarantined FROM {{database}}.spans
    UNION ALL
    SELECT log_topic AS topic, log_partition AS partition, log_offset AS offset, false AS is_quarantined FROM {{database}}.metrics
    UNION ALL
    SELECT log_topic AS topic, log_partition AS partition, log_offset AS offset, false AS is_quarantined FROM {{database}}.lag
    UNION ALL
    SELECT topic, partition, offset, false AS is_quarantined FROM {{database}}.events_index
    UNION ALL
    SELECT topic, partition, offset, true AS is_quarantined FROM {{database}}.quarantine
)
GROUP BY topic, partition;

-- The same for the rollups: each table's count of spans for a day, which must agree.
CREATE VIEW IF NOT EXISTS {{database}}.audit_rollups {{onCluster}} AS
SELECT
    day,
    sumIf(messages, source = 'spans') AS spans,
    sumIf(messages, source = 'spans_10s') AS spans_10s,
    sumIf(messages, source = 'spans_1m') AS spans_1m,
    sumIf(messages, source = 'spans_1h') AS spans_1h
FROM
(
    SELECT toDate(s.time) AS day, 'spans' AS source, count() AS messages FROM {{database}}.spans AS s GROUP BY day
    UNION ALL
    SELECT toDate(s.time) AS day, 'spans_10s' AS source, sum(s.messages) AS messages FROM {{database}}.spans_10s AS s GROUP BY day
    UNION ALL
    SELECT toDate(s.time) AS day, 'spans_1m' AS source, sum(s.messages) AS messages FROM {{database}}.spans_1m AS s GROUP BY day
    UNION ALL
    SELECT toDate(s.time) AS day, 'spans_1h' AS source, sum(s.messages) AS messages FROM {{database}}.spans_1h AS s GROUP BY day
)
GROUP BY day;
