-- Records that cannot be read, with their bytes. What is here is in none of the other tables.
CREATE TABLE IF NOT EXISTS {{database}}.quarantine {{onCluster}}
(
    time        DateTime64(3, 'UTC') COMMENT 'Timestamp of the record' CODEC(Delta, ZSTD(1)),
    destination LowCardinality(String) COMMENT 'Table that it was meant for',
    topic       LowCardinality(String) COMMENT 'Where it stands in Kafka',
    partition   Int32 COMMENT 'Its partition' CODEC(T64, ZSTD(1)),
    offset      Int64 COMMENT 'Its offset' CODEC(Delta, ZSTD(1)),
    code        LowCardinality(String) COMMENT 'Code of the error',
    reason      String COMMENT 'What is wrong with it' CODEC(ZSTD(1)),
    key         String COMMENT 'Bytes of the key; empty for none' CODEC(ZSTD(1)),
    value       String COMMENT 'Bytes of the value; empty for none' CODEC(ZSTD(3)),
    headers     Map(String, String) COMMENT 'Headers, the values as bytes' CODEC(ZSTD(1)),
    stored_at   DateTime('UTC') DEFAULT now() COMMENT 'When it was put here' CODEC(Delta, ZSTD(1))
)
ENGINE = {{replicated}}MergeTree
-- Not partitioned: the timestamp of such a record may be anything, and a partition by the time of storing would let a block that is repeated
-- after midnight pass for a new one.
-- Looked at by topic and position, which is also what identifies a record.
ORDER BY (topic, partition, offset)
TTL stored_at + INTERVAL 30 DAY
SETTINGS {{deduplicationWindow}};
