-- What the audits ask for stands in each part beside its rows, made from them when they are written and when parts are merged: an audit of ten million
-- rows reads some hundred groups. Offsets are kept as bitmaps, exact, and about a bit for each.
ALTER TABLE {{database}}.spans {{onCluster}} ADD PROJECTION IF NOT EXISTS by_log
(
    SELECT log_topic, log_partition, count(), groupBitmapState(toUInt64(log_offset)), min(log_offset), max(log_offset) GROUP BY log_topic, log_partition
);
ALTER TABLE {{database}}.spans {{onCluster}} ADD PROJECTION IF NOT EXISTS by_day
(
    SELECT toDate(time), status, replay_id = '', count(), sum(toUInt64(weight)) GROUP BY toDate(time), status, replay_id = ''
);
ALTER TABLE {{database}}.metrics {{onCluster}} ADD PROJECTION IF NOT EXISTS by_log
(
    SELECT log_topic, log_partition, count(), groupBitmapState(toUInt64(log_offset)), min(log_offset), max(log_offset) GROUP BY log_topic, log_partition
);
ALTER TABLE {{database}}.lag {{onCluster}} ADD PROJECTION IF NOT EXISTS by_log
(
    SELECT log_topic, log_partition, count(), groupBitmapState(toUInt64(log_offset)), min(log_offset), max(log_offset) GROUP BY log_topic, log_partition
);
ALTER TABLE {{database}}.events_index {{onCluster}} ADD PROJECTION IF NOT EXISTS by_log
(
    SELECT topic, partition, count(), groupBitmapState(toUInt64(offset)), min(offset), max(offset) GROUP BY topic, partition
);

-- For rows that are there already, in the background; until then the audits read those rows themselves.
ALTER TABLE {{database}}.spans {{onCluster}} MATERIALIZE PROJECTION by_log;
ALTER TABLE {{database}}.spans {{onCluster}} MATERIALIZE PROJECTION by_day;
ALTER TABLE {{database}}.metrics {{onCluster}} MATERIALIZE PROJECTION by_log;
ALTER TABLE {{database}}.lag {{onCluster}} MATERIALIZE PROJECTION by_log;
ALTER TABLE {{database}}.events_index {{onCluster}} MATERIALIZE PROJECTION by_log;

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
    SELECT topic, partition, false AS is_quarantined, count() AS counted,
        groupBitmapState(toUInt64(offset)) AS bitmap, min(offset) AS lowest, max(offset) AS highest
    FROM {{database}}.events_index GROUP BY topic, partition
    UNION ALL
    SELECT topic, partition, true AS is_quarantined, count() AS counted,
        groupBitmapState(toUInt64(offset)) AS bitmap, min(offset) AS lowest, max(offset) AS highest
    FROM {{database}}.quarantine GROUP BY topic, partition
)
GROUP BY topic, partition;
