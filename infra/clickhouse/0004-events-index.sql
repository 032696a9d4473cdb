-- One row per domain event of every evt.* topic. Kept as long as the log keeps the events, so it has no TTL; partitions are months, since days of
-- many years would be too many.
CREATE TABLE IF NOT EXISTS {{database}}.events_index {{onCluster}}
(
    time           DateTime64(3, 'UTC') COMMENT 'When the event happened' CODEC(Delta, ZSTD(1)),
    aggregate_type LowCardinality(String) COMMENT 'As in the name of the topic',
    aggregate_id   String COMMENT 'Key of the record' CODEC(ZSTD(1)),
    version        Int64 COMMENT 'Version of the aggregate after it, from 1; 0 for none' CODEC(T64, ZSTD(1)),
    event_id       String COMMENT 'ce_id' CODEC(ZSTD(1)),
    event_type     LowCardinality(String) COMMENT 'ce_type',
    payload_type   LowCardinality(String) COMMENT 'Full name of the Avro record',
    payload        String COMMENT 'The event as JSON' CODEC(ZSTD(3)),
    source         LowCardinality(String) COMMENT 'Who wrote it',
    actor          LowCardinality(String) COMMENT 'Who asked for it',
    command_id     String COMMENT 'Command that it comes from' CODEC(ZSTD(1)),
    correlation_id String COMMENT 'Shared by all messages of one flow' CODEC(ZSTD(1)),
    causation_id   String COMMENT 'Id of the message that caused it' CODEC(ZSTD(1)),
    trace_id       String COMMENT 'W3C trace id' CODEC(ZSTD(1)),
    schema_id      Int64 COMMENT 'Schema that it was written with' CODEC(T64, ZSTD(1)),
    topic          LowCardinality(String) COMMENT 'Where it stands in Kafka',
    partition      Int32 COMMENT 'Its partition' CODEC(T64, ZSTD(1)),
    offset         Int64 COMMENT 'Its offset' CODEC(Delta, ZSTD(1)),
    INDEX by_event event_id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX by_command command_id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX by_correlation correlation_id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX by_trace trace_id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX by_word payload TYPE tokenbf_v1(32768, 3, 0) GRANULARITY 1,
    INDEX by_offset offset TYPE minmax GRANULARITY 1
)
ENGINE = {{replicated}}MergeTree
PARTITION BY toYYYYMM(time)
-- The stream of one aggregate lies together, in the order of its versions.
ORDER BY (aggregate_type, aggregate_id, version)
SETTINGS {{deduplicationWindow}};
