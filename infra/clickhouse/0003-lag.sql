CREATE TABLE IF NOT EXISTS {{database}}.lag {{onCluster}}
(
    time          DateTime64(3, 'UTC') COMMENT 'When it was measured' CODEC(Delta, ZSTD(1)),
    consumer      LowCardinality(String) COMMENT 'Consumer id',
    topic         LowCardinality(String) COMMENT 'Topic that it reads',
    partition     Int32 COMMENT 'Partition' CODEC(T64, ZSTD(1)),
    instance      LowCardinality(String) COMMENT 'Instance that reads it',
    position      Int64 COMMENT 'Next offset to handle' CODEC(Delta, ZSTD(1)),
    end           Int64 COMMENT 'Last stable offset' CODEC(Delta, ZSTD(1)),
    records       Int64 COMMENT 'Offsets between the two; markers and holes count too' CODEC(T64, ZSTD(1)),
    seconds       Float64 COMMENT 'Age of the next record to handle; 0 when caught up' CODEC(Gorilla, ZSTD(1)),
    log_topic     LowCardinality(String) COMMENT 'Where the measurement itself stands in Kafka, for the audit',
    log_partition Int32 COMMENT 'Its partition' CODEC(T64, ZSTD(1)),
    log_offset    Int64 COMMENT 'Its offset' CODEC(Delta, ZSTD(1)),
    INDEX by_log_offset log_offset TYPE minmax GRANULARITY 1
)
ENGINE = {{replicated}}MergeTree
PARTITION BY toDate(time)
-- A consumer's way through one partition, in order of time.
ORDER BY (consumer, topic, partition, time)
TTL toDateTime(time) + INTERVAL 7 DAY
SETTINGS ttl_only_drop_parts = 1, {{deduplicationWindow}};
