-- One row per handled message, after the shape of OpenTelemetry's exporter (otel_traces), with Spool's attributes as columns of their own.
--
-- {{database}}, {{onCluster}}, {{replicated}} and {{deduplicationWindow}} are filled in by the telemetry service.
-- The deduplication window counts blocks: a block that is inserted again within so many later ones is dropped, here and in the rollups.
CREATE TABLE IF NOT EXISTS {{database}}.spans {{onCluster}}
(
    time           DateTime64(6, 'UTC') COMMENT 'When the handling began' CODEC(Delta, ZSTD(1)),
    trace_id       String COMMENT 'W3C trace id' CODEC(ZSTD(1)),
    span_id        String COMMENT 'W3C span id' CODEC(ZSTD(1)),
    parent_span_id String COMMENT 'Span that caused this one; empty for a root' CODEC(ZSTD(1)),
    message_kind   LowCardinality(String) COMMENT 'command, event, query, request or other',
    status         LowCardinality(String) COMMENT 'ok or error; a rejection by the domain is ok',
    outcome        LowCardinality(String) COMMENT 'Such as applied or rejected; empty where there is none',
    error_class    LowCardinality(String) COMMENT 'Code or class of the error; empty when ok',
    bundle         LowCardinality(String) COMMENT 'Bundle id',
    version        LowCardinality(String) COMMENT 'Bundle version',
    instance       LowCardinality(String) COMMENT 'Instance id',
    component      LowCardinality(String) COMMENT 'Component name',
    component_kind LowCardinality(String) COMMENT 'Such as aggregate, projector or projection',
    handler        LowCardinality(String) COMMENT 'Handler, unique in the component',
    payload_type   LowCardinality(String) COMMENT 'Name of the payload handled',
    queue_us       Int64 COMMENT 'From the record''s timestamp to the start of the handling, microseconds' CODEC(T64, ZSTD(1)),
    handle_us      Int64 COMMENT 'In the handler, microseconds' CODEC(T64, ZSTD(1)),
    commit_us      Int64 COMMENT 'From the end of the handler to the commit, microseconds' CODEC(T64, ZSTD(1)),
    total_us       Int64 COMMENT 'As the emitter sums it up, microseconds' CODEC(T64, ZSTD(1)),
    aggregate_id   String COMMENT 'Aggregate concerned; empty when none' CODEC(ZSTD(1)),
    topic          LowCardinality(String) COMMENT 'Topic of the record handled; empty when the message did not come from Kafka',
    partition      Int32 COMMENT 'Partition of the record handled; -1 for none' CODEC(T64, ZSTD(1)),
    offset         Int64 COMMENT 'Offset of the record handled; -1 for none' CODEC(T64, ZSTD(1)),
    message_id     String COMMENT 'Id of the message handled' CODEC(ZSTD(1)),
    correlation_id String COMMENT 'Shared by all messages of one flow' CODEC(ZSTD(1)),
    causation_id   String COMMENT 'Id of the message that caused this one' CODEC(ZSTD(1)),
    replay_id      LowCardinality(String) COMMENT 'Replay that handled it; empty for live work',
    log_topic      LowCardinality(String) COMMENT 'Where the span itself stands in Kafka, for the audit',
    log_partition  Int32 COMMENT 'Its partition' CODEC(T64, ZSTD(1)),
    log_offset     Int64 COMMENT 'Its offset' CODEC(Delta, ZSTD(1)),
    INDEX by_trace trace_id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX by_correlation correlation_id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX by_aggregate aggregate_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_duration total_us TYPE minmax GRANULARITY 1,
    INDEX by_log_offset log_offset TYPE minmax GRANULARITY 1
)
ENGINE = {{replicated}}MergeTree
PARTITION BY toDate(time)
-- Analysts ask for a handler over a time. Few handlers stand in front, so that time stays in long runs; traces are found by their index.
ORDER BY (component, handler, time)
TTL toDateTime(time) + INTERVAL 7 DAY
SETTINGS ttl_only_drop_parts = 1, {{deduplicationWindow}};

-- The rollups form a chain: raw rows to 10 s, those to 1 min, those to 1 h. Each is kept longer than the one before. Sums and digests merge, so
-- that any longer time is as exact as the digest. Sorted by what is grouped by; time comes last but for the payload type, which varies least.
CREATE TABLE IF NOT EXISTS {{database}}.spans_10s {{onCluster}}
(
    time           DateTime('UTC') COMMENT 'Start of the interval' CODEC(Delta, ZSTD(1)),
    bundle         LowCardinality(String),
    version        LowCardinality(String),
    component      LowCardinality(String),
    component_kind LowCardinality(String),
    handler        LowCardinality(String),
    message_kind   LowCardinality(String),
    payload_type   LowCardinality(String),
    is_replay      Bool COMMENT 'Handled by a replay',
    messages       SimpleAggregateFunction(sum, UInt64),
    errors         SimpleAggregateFunction(sum, UInt64),
    queue_us_sum   SimpleAggregateFunction(sum, Int64),
    handle_us_sum  SimpleAggregateFunction(sum, Int64),
    commit_us_sum  SimpleAggregateFunction(sum, Int64),
    total_us_sum   SimpleAggregateFunction(sum, Int64),
    total_us_max   SimpleAggregateFunction(max, Int64),
    queue_us       AggregateFunction(quantilesTDigest(0.5, 0.9, 0.95, 0.99), Int64),
    handle_us      AggregateFunction(quantilesTDigest(0.5, 0.9, 0.95, 0.99), Int64),
    commit_us      AggregateFunction(quantilesTDigest(0.5, 0.9, 0.95, 0.99), Int64),
    total_us       AggregateFunction(quantilesTDigest(0.5, 0.9, 0.95, 0.99), Int64)
)
ENGINE = {{replicated}}AggregatingMergeTree
PARTITION BY toDate(time)
ORDER BY (component, handler, message_kind, time, bundle, version, component_kind, payload_type, is_replay)
TTL time + INTERVAL 14 DAY
SETTINGS ttl_only_drop_parts = 1, {{deduplicationWindow}};

CREATE TABLE IF NOT EXISTS {{database}}.spans_1m {{onCluster}} AS {{database}}.spans_10s
ENGINE = {{replicated}}AggregatingMergeTree
PARTITION BY toDate(time)
ORDER BY (component, handler, message_kind, time, bundle, version, component_kind, payload_type, is_replay)
TTL time + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1, {{deduplicationWindow}};

CREATE TABLE IF NOT EXISTS {{database}}.spans_1h {{onCluster}} AS {{database}}.spans_10s
ENGINE = {{replicated}}AggregatingMergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (component, handler, message_kind, time, bundle, version, component_kind, payload_type, is_replay)
TTL time + INTERVAL 730 DAY
SETTINGS ttl_only_drop_parts = 1, {{deduplicationWindow}};

CREATE MATERIALIZED VIEW IF NOT EXISTS {{database}}.spans_10s_fill {{onCluster}} TO {{database}}.spans_10s AS
SELECT
    toStartOfInterval(toDateTime(spans.time, 'UTC'), INTERVAL 10 SECOND) AS time,
    bundle, version, component, component_kind, handler, message_kind, payload_type, replay_id != '' AS is_replay,
    count() AS messages,
    countIf(status = 'error') AS errors,
    sum(spans.queue_us) AS queue_us_sum,
    sum(spans.handle_us) AS handle_us_sum,
    sum(spans.commit_us) AS commit_us_sum,
    sum(spans.total_us) AS total_us_sum,
    max(spans.total_us) AS total_us_max,
    quantilesTDigestState(0.5, 0.9, 0.95, 0.99)(spans.queue_us) AS queue_us,
    quantilesTDigestState(0.5, 0.9, 0.95, 0.99)(spans.handle_us) AS handle_us,
    quantilesTDigestState(0.5, 0.9, 0.95, 0.99)(spans.commit_us) AS commit_us,
    quantilesTDigestState(0.5, 0.9, 0.95, 0.99)(spans.total_us) AS total_us
FROM {{database}}.spans
GROUP BY time, bundle, version, component, component_kind, handler, message_kind, payload_type, is_replay;

CREATE MATERIALIZED VIEW IF NOT EXISTS {{database}}.spans_1m_fill {{onCluster}} TO {{database}}.spans_1m AS
SELECT
    toStartOfMinute(spans_10s.time) AS time,
    bundle, version, component, component_kind, handler, message_kind, payload_type, is_replay,
    sum(spans_10s.messages) AS messages,
    sum(spans_10s.errors) AS errors,
    sum(spans_10s.queue_us_sum) AS queue_us_sum,
    sum(spans_10s.handle_us_sum) AS handle_us_sum,
    sum(spans_10s.commit_us_sum) AS commit_us_sum,
    sum(spans_10s.total_us_sum) AS total_us_sum,
    max(spans_10s.total_us_max) AS total_us_max,
    quantilesTDigestMergeState(0.5, 0.9, 0.95, 0.99)(spans_10s.queue_us) AS queue_us,
    quantilesTDigestMergeState(0.5, 0.9, 0.95, 0.99)(spans_10s.handle_us) AS handle_us,
    quantilesTDigestMergeState(0.5, 0.9, 0.95, 0.99)(spans_10s.commit_us) AS commit_us,
    quantilesTDigestMergeState(0.5, 0.9, 0.95, 0.99)(spans_10s.total_us) AS total_us
FROM {{database}}.spans_10s
GROUP BY time, bundle, version, component, component_kind, handler, message_kind, payload_type, is_replay;

CREATE MATERIALIZED VIEW IF NOT EXISTS {{database}}.spans_1h_fill {{onCluster}} TO {{database}}.spans_1h AS
SELECT
    toStartOfHour(spans_1m.time) AS time,
    bundle, version, component, component_kind, handler, message_kind, payload_type, is_replay,
    sum(spans_1m.messages) AS messages,
    sum(spans_1m.errors) AS errors,
    sum(spans_1m.queue_us_sum) AS queue_us_sum,
    sum(spans_1m.handle_us_sum) AS handle_us_sum,
    sum(spans_1m.commit_us_sum) AS commit_us_sum,
    sum(spans_1m.total_us_sum) AS total_us_sum,
    max(spans_1m.total_us_max) AS total_us_max,
    quantilesTDigestMergeState(0.5, 0.9, 0.95, 0.99)(spans_1m.queue_us) AS queue_us,
    quantilesTDigestMergeState(0.5, 0.9, 0.95, 0.99)(spans_1m.handle_us) AS handle_us,
    quantilesTDigestMergeState(0.5, 0.9, 0.95, 0.99)(spans_1m.commit_us) AS commit_us,
    quantilesTDigestMergeState(0.5, 0.9, 0.95, 0.99)(spans_1m.total_us) AS total_us
FROM {{database}}.spans_1m
GROUP BY time, bundle, version, component, component_kind, handler, message_kind, payload_type, is_replay;
