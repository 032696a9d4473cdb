CREATE TABLE IF NOT EXISTS {{database}}.metrics {{onCluster}}
(
    time          DateTime64(3, 'UTC') COMMENT 'When it was measured' CODEC(Delta, ZSTD(1)),
    name          LowCardinality(String) COMMENT 'Metric name, such as process.memory.rss',
    unit          LowCardinality(String) COMMENT 'Unit in UCUM, such as By, s, 1',
    value         Float64 COMMENT 'The measurement, in unit' CODEC(Gorilla, ZSTD(1)),
    attributes    Map(LowCardinality(String), String) COMMENT 'Dimensions of the measurement' CODEC(ZSTD(1)),
    instance      LowCardinality(String) COMMENT 'Instance id',
    bundle        LowCardinality(String) COMMENT 'Bundle id',
    version       LowCardinality(String) COMMENT 'Bundle version',
    log_topic     LowCardinality(String) COMMENT 'Where the metric itself stands in Kafka, for the audit',
    log_partition Int32 COMMENT 'Its partition' CODEC(T64, ZSTD(1)),
    log_offset    Int64 COMMENT 'Its offset' CODEC(Delta, ZSTD(1)),
    INDEX by_log_offset log_offset TYPE minmax GRANULARITY 1
)
ENGINE = {{replicated}}MergeTree
PARTITION BY toDate(time)
-- One series (a metric of an instance) in order of time: neighbours are alike, which Gorilla and a chart both want.
ORDER BY (name, bundle, instance, time)
TTL toDateTime(time) + INTERVAL 7 DAY
SETTINGS ttl_only_drop_parts = 1, {{deduplicationWindow}};

-- A metric of an instance by the minute, for charts over weeks.
CREATE TABLE IF NOT EXISTS {{database}}.metrics_1m {{onCluster}}
(
    time      DateTime('UTC') COMMENT 'Start of the minute' CODEC(Delta, ZSTD(1)),
    name      LowCardinality(String),
    unit      LowCardinality(String),
    bundle    LowCardinality(String),
    instance  LowCardinality(String),
    samples   SimpleAggregateFunction(sum, UInt64),
    value_sum SimpleAggregateFunction(sum, Float64),
    value_min SimpleAggregateFunction(min, Float64),
    value_max SimpleAggregateFunction(max, Float64)
)
ENGINE = {{replicated}}AggregatingMergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (name, bundle, instance, time, unit)
TTL time + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1, {{deduplicationWindow}};

CREATE MATERIALIZED VIEW IF NOT EXISTS {{database}}.metrics_1m_fill {{onCluster}} TO {{database}}.metrics_1m AS
SELECT
    toStartOfMinute(toDateTime(metrics.time, 'UTC')) AS time, name, unit, bundle, instance,
    count() AS samples, sum(value) AS value_sum, min(value) AS value_min, max(value) AS value_max
FROM {{database}}.metrics
GROUP BY time, name, unit, bundle, instance;
