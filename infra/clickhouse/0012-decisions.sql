-- What the balancer decided, from what, and what became of it: a decision that was scored stands there twice, with one id.
CREATE TABLE IF NOT EXISTS {{database}}.decisions {{onCluster}}
(
    time                DateTime64(3, 'UTC') COMMENT 'When it was made',
    id                  String COMMENT 'The same in the row that tells what became of it',
    bundle              LowCardinality(String) COMMENT 'Bundle id',
    desired             Int32 COMMENT 'Instances that it is to have',
    current             Int32 COMMENT 'Instances that it had, starting ones too',
    min                 Int32 COMMENT 'Least that its owner allows',
    max                 Int32 COMMENT 'Most that its owner allows',
    by_utilisation      Float64 COMMENT 'Instances that keep the wanted utilisation',
    by_drain            Float64 COMMENT 'Instances that drain what waits in time',
    reason              String COMMENT 'In a sentence',
    predicted_drain_ms  Float64 COMMENT 'Time until nothing waits; 0 when nothing does, or it cannot be known',
    actual_drain_ms     Float64 COMMENT 'Time until nothing waited; 0 until it is known',
    instances           Int32 COMMENT 'Instances that take work',
    starting            Int32 COMMENT 'Instances that do not take work yet',
    partitions          Int32 COMMENT 'Partitions that work can be spread over',
    arrivals            Float64 COMMENT 'Messages a second',
    departures          Float64 COMMENT 'Messages a second',
    utilisation         Float64 COMMENT 'Of all instances, 0 to 1',
    busiest             Float64 COMMENT 'Of the busiest one, 0 to 1',
    lag                 Int64 COMMENT 'Records that wait',
    lag_seconds         Float64 COMMENT 'Age of the oldest of them',
    p99_ms              Float64 COMMENT 'Slowest 99th percentile of an instance',
    event_loop_delay_ms Float64 COMMENT 'Largest delay of an event loop',
    suffering           Int32 COMMENT 'Instances that suffer',
    bored               Int32 COMMENT 'Instances that are bored',
    frozen              LowCardinality(String) COMMENT 'replay or rebalance: the figures tell of it and not of the load',
    log_topic           LowCardinality(String) COMMENT 'Where the decision itself stands in Kafka, for the audit',
    log_partition       Int32 COMMENT 'Its partition',
    log_offset          Int64 COMMENT 'Its offset',
    INDEX by_log_offset log_offset TYPE minmax GRANULARITY 1
)
ENGINE = {{replicated}}MergeTree
PARTITION BY toDate(time)
ORDER BY (bundle, time)
TTL toDateTime(time) + INTERVAL 30 DAY
SETTINGS ttl_only_drop_parts = 1, {{deduplicationWindow}};

CREATE OR REPLACE VIEW {{database}}.audit_offsets {{onCluster}} AS
SELECT
    topic, partition,
    sum(counted) AS rows,
    groupBitmapMerge(bitmap) AS offsets,
    sumIf(counted, is_quarantined) AS quarantined,
    min(lowest) AS first_offset,
    max(highest) AS last_offset
FROM
(
    SELECT log_topic AS topic, log_partition AS partition, false AS is_quarantined, count() AS counted,
        groupBitmapState(toUInt64(log_offset)) AS bitmap, min(log_offset) AS lowest, max(log_offset) AS highest
    FROM {{database}}.spans GROUP BY log_topic, log_partition
    UNION ALL
    SELECT log_topic AS topic, log_partition AS partition, false AS is_quarantined, count() AS counted,
        groupBitmapState(toUInt64(log_offset)) AS bitmap, min(log_offset) AS lowest, max(log_offset) AS highest
    FROM {{database}}.metrics GROUP BY log_topic, log_partition
    UNION ALL
    SELECT log_topic AS topic, log_partition AS partition, false AS is_quarantined, count() AS counted,
        groupBitmapState(toUInt64(log_offset)) AS bitmap, min(log_offset) AS lowest, max(log_offset) AS highest
    FROM {{database}}.lag GROUP BY log_topic, log_partition
    UNION ALL
    SELECT log_topic AS topic, log_partition AS partition, false AS is_quarantined, count() AS counted,
        groupBitmapState(toUInt64(log_offset)) AS bitmap, min(log_offset) AS lowest, max(log_offset) AS highest
    FROM {{database}}.decisions GROUP BY log_topic, log_partition
    UNION ALL
    SELECT topic, partition, false AS is_quarantined, count() AS counted,
        groupBitmapState(toUInt64(offset)) AS bitmap, min(offset) AS lowest, max(offset) AS highest
    FROM {{database}}.events_index GROUP BY topic, partition
    UNION ALL
    SELECT topic, partition, true AS is_quarantined, count() AS counted,
        groupBitmapState(toUInt64(offset)) AS bitmap, min(offset) AS lowest, max(offset) AS highest
    FROM {{database}}.quarantine GROUP BY topic, partition
)
GROUP BY topic, partition;
