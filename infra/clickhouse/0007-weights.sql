-- Beyond a rate only a share of the spans is sent, each with a weight: how many messages it stands for. Counts and quantiles follow the weights.
ALTER TABLE {{database}}.spans {{onCluster}}
    ADD COLUMN IF NOT EXISTS source LowCardinality(String) DEFAULT '' COMMENT 'Who sent the message: bundle/component, or a part of the platform; empty where unknown' AFTER replay_id,
    ADD COLUMN IF NOT EXISTS weight UInt32 DEFAULT 1 COMMENT 'How many messages this span stands for; sum it to count messages' CODEC(T64, ZSTD(1)) AFTER source;

-- A digest has the same bytes with weights and without, so that the rollups stay as they are, with all that they hold: only its type is told anew.
-- The view is made anew. After ALTER TABLE … MODIFY QUERY and a restart ClickHouse takes a block that is repeated for a new one in the rollup.
DROP VIEW IF EXISTS {{database}}.spans_10s_fill {{onCluster}} SYNC;

CREATE MATERIALIZED VIEW {{database}}.spans_10s_fill {{onCluster}} TO {{database}}.spans_10s AS
SELECT
    toStartOfInterval(toDateTime(spans.time, 'UTC'), INTERVAL 10 SECOND) AS time,
    bundle, version, component, component_kind, handler, message_kind, payload_type, replay_id != '' AS is_replay,
    sum(toUInt64(weight)) AS messages,
    sumIf(toUInt64(weight), status = 'error') AS errors,
    sum(spans.queue_us * toInt64(weight)) AS queue_us_sum,
    sum(spans.handle_us * toInt64(weight)) AS handle_us_sum,
    sum(spans.commit_us * toInt64(weight)) AS commit_us_sum,
    sum(spans.total_us * toInt64(weight)) AS total_us_sum,
    max(spans.total_us) AS total_us_max,
    CAST(CAST(quantilesTDigestWeightedState(0.5, 0.9, 0.95, 0.99)(spans.queue_us, weight), 'String'), 'AggregateFunction(quantilesTDigest(0.5, 0.9, 0.95, 0.99), Int64)') AS queue_us,
    CAST(CAST(quantilesTDigestWeightedState(0.5, 0.9, 0.95, 0.99)(spans.handle_us, weight), 'String'), 'AggregateFunction(quantilesTDigest(0.5, 0.9, 0.95, 0.99), Int64)') AS handle_us,
    CAST(CAST(quantilesTDigestWeightedState(0.5, 0.9, 0.95, 0.99)(spans.commit_us, weight), 'String'), 'AggregateFunction(quantilesTDigest(0.5, 0.9, 0.95, 0.99), Int64)') AS commit_us,
    CAST(CAST(quantilesTDigestWeightedState(0.5, 0.9, 0.95, 0.99)(spans.total_us, weight), 'String'), 'AggregateFunction(quantilesTDigest(0.5, 0.9, 0.95, 0.99), Int64)') AS total_us
FROM {{database}}.spans
GROUP BY time, bundle, version, component, component_kind, handler, message_kind, payload_type, is_replay;

CREATE OR REPLACE VIEW {{database}}.errors_by_class {{onCluster}} AS
SELECT
    component, handler, error_class,
    sum(toUInt64(s.weight)) AS errors,
    max(s.time) AS last_time,
    argMax(s.trace_id, s.time) AS last_trace_id
FROM {{database}}.spans AS s
WHERE s.time >= now() - INTERVAL 1 DAY AND s.status = 'error'
GROUP BY component, handler, error_class;

-- What is not in the tables, by the minute: from counters that grow while a process lives, so that a measurement that is lost takes nothing with it.
CREATE VIEW IF NOT EXISTS {{database}}.telemetry_losses {{onCluster}} AS
SELECT
    toStartOfMinute(toDateTime(at, 'UTC')) AS time, bundle, instance,
    sumIf(increase, name = 'spool.telemetry.spans') AS spans,
    sumIf(increase, name = 'spool.telemetry.left_out') AS left_out,
    sumIf(increase, name = 'spool.telemetry.dropped') AS dropped
FROM
(
    SELECT
        m.time AS at, name, bundle, instance, value,
        lagInFrame(value, 1, value) OVER
            (PARTITION BY name, bundle, instance ORDER BY m.time ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS before,
        if(value >= before, value - before, value) AS increase
    FROM {{database}}.metrics AS m
    WHERE name IN ('spool.telemetry.spans', 'spool.telemetry.left_out', 'spool.telemetry.dropped') AND m.time >= now() - INTERVAL 1 DAY
)
GROUP BY time, bundle, instance
HAVING spans + left_out + dropped > 0;

-- The same as before, by weight: what the rollups count is messages.
CREATE OR REPLACE VIEW {{database}}.audit_rollups {{onCluster}} AS
SELECT
    day,
    sumIf(messages, source = 'spans') AS spans,
    sumIf(messages, source = 'spans_10s') AS spans_10s,
    sumIf(messages, source = 'spans_1m') AS spans_1m,
    sumIf(messages, source = 'spans_1h') AS spans_1h
FROM
(
    SELECT toDate(s.time) AS day, 'spans' AS source, sum(toUInt64(s.weight)) AS messages FROM {{database}}.spans AS s GROUP BY day
    UNION ALL
    SELECT toDate(s.time) AS day, 'spans_10s' AS source, sum(s.messages) AS messages FROM {{database}}.spans_10s AS s GROUP BY day
    UNION ALL
    SELECT toDate(s.time) AS day, 'spans_1m' AS source, sum(s.messages) AS messages FROM {{database}}.spans_1m AS s GROUP BY day
    UNION ALL
    SELECT toDate(s.time) AS day, 'spans_1h' AS source, sum(s.messages) AS messages FROM {{database}}.spans_1h AS s GROUP BY day
)
GROUP BY day;
