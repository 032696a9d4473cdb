-- With the rollups of 0008. They begin a day before that migration: days before it have errors and spans, and nothing in the rollups.
CREATE OR REPLACE VIEW {{database}}.audit_rollups {{onCluster}} AS
SELECT
    day,
    sumIf(counted, source = 'spans') AS spans,
    sumIf(counted, source = 'spans_10s') AS spans_10s,
    sumIf(counted, source = 'spans_1m') AS spans_1m,
    sumIf(counted, source = 'spans_1h') AS spans_1h,
    sumIf(counted, source = 'errors') AS errors,
    sumIf(counted, source = 'errors_1m') AS errors_1m,
    sumIf(counted, source = 'live') AS live,
    sumIf(counted, source = 'traces') AS traces
FROM
(
    SELECT toDate(s.time) AS day, 'spans' AS source, sum(toUInt64(s.weight)) AS counted FROM {{database}}.spans AS s GROUP BY day
    UNION ALL
    SELECT toDate(s.time) AS day, 'spans_10s' AS source, sum(s.messages) AS counted FROM {{database}}.spans_10s AS s GROUP BY day
    UNION ALL
    SELECT toDate(s.time) AS day, 'spans_1m' AS source, sum(s.messages) AS counted FROM {{database}}.spans_1m AS s GROUP BY day
    UNION ALL
    SELECT toDate(s.time) AS day, 'spans_1h' AS source, sum(s.messages) AS counted FROM {{database}}.spans_1h AS s GROUP BY day
    UNION ALL
    SELECT toDate(s.time) AS day, 'errors' AS source, sum(toUInt64(s.weight)) AS counted FROM {{database}}.spans AS s WHERE s.status = 'error' GROUP BY day
    UNION ALL
    SELECT toDate(e.time) AS day, 'errors_1m' AS source, sum(e.errors) AS counted FROM {{database}}.errors_1m AS e GROUP BY day
    UNION ALL
    SELECT toDate(s.time) AS day, 'live' AS source, count() AS counted FROM {{database}}.spans AS s WHERE s.replay_id = '' GROUP BY day
    UNION ALL
    SELECT toDate(t.hour) AS day, 'traces' AS source, sum(t.spans) AS counted FROM {{database}}.traces AS t GROUP BY day
)
GROUP BY day;
