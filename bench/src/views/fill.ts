import type { ClickHouse } from '@spool/services/telemetry';

/** The guide's examples name these. */
const exampleTrace = '4bf92f3577b34da6a3ce929d0e0e4736';
const days = 7;
const spansPerTrace = 4;

/**
 * Fills the tables as a platform would in a week: traces of four spans (a command, its projector, a saga, its observer), busier by day than by night, one in
 * two hundred spans failing, times with a long tail. Rollups are filled by the views of the sink, a block of an hour at a time.
 */
export async function fillTables(clickhouse: ClickHouse, spans: number, progress: (line: string) => void): Promise<void> {
  const { database } = clickhouse;
  const hours = days * 24 - 1;
  const tracesPerHour = Math.ceil(spans / spansPerTrace / hours);
  for (let hour = 0; hour < hours; hour++) {
    await clickhouse.command(spansOf(database, hours - hour, tracesPerHour, hour * tracesPerHour));
    if (hour % 24 === 23) progress(`views: ${Math.round(((hour + 1) * tracesPerHour * spansPerTrace) / 1e4) / 100} million spans`);
  }
  for (let day = 0; day < 2; day++) {
    await clickhouse.command(lagOf(database, day));
    await clickhouse.command(metricsOf(database, day));
  }
  await clickhouse.command(eventsOf(database, Math.ceil(spans / spansPerTrace)));
  await clickhouse.command(
    `INSERT INTO ${database}.quarantine (topic, partition, offset, code, reason, value)
     SELECT 'telemetry.spans', number % 3, 100000000 + number, 'RECORD_UNREADABLE', 'not Avro', unhex('00ff') FROM numbers(1000)`,
  );
  progress('views: tables are merged');
  for (const table of ['spans', 'spans_10s', 'spans_1m', 'spans_1h']) {
    // As a week's merges leave them: today's parts are many still.
    await clickhouse.command(`OPTIMIZE TABLE ${database}.${table}`);
  }
}

const handlers = [
  ['Account', 'aggregate', 'command', ['Open', 'Deposit', 'Withdraw', 'Close']],
  ['Balances', 'projector', 'event', ['Opened', 'Deposited', 'Withdrawn', 'Closed']],
  ['Transfers', 'saga', 'event', ['Opened', 'Deposited', 'Withdrawn', 'Closed']],
  ['Notices', 'observer', 'event', ['Opened', 'Deposited', 'Withdrawn', 'Closed']],
] as const;
const list = (values: readonly string[]): string => `[${values.map((value) => `'${value}'`).join(', ')}]`;

/** @param ago hours; @param first trace of them all */
const spansOf = (database: string, ago: number, traces: number, first: number): string => `
INSERT INTO ${database}.spans (time, trace_id, span_id, parent_span_id, message_kind, status, outcome, error_class, bundle, version, instance, component,
  component_kind, handler, payload_type, queue_us, handle_us, commit_us, total_us, aggregate_id, topic, partition, offset, message_id, correlation_id,
  causation_id, replay_id, log_topic, log_partition, log_offset)
WITH
  ${first} + intDiv(number, ${spansPerTrace}) AS trace,
  number % ${spansPerTrace} AS step,
  cityHash64(trace, 1) AS h, cityHash64(number, ${first}, 2) AS g,
  [${handlers.map(([component]) => `'${component}'`).join(', ')}][step + 1] AS part,
  h % 4 AS which,
  toInt64(200 * exp(3 * ((g % 10000) / 10000)) * if(g % 997 = 0, 40, 1)) AS work
SELECT
  fromUnixTimestamp64Micro(toUnixTimestamp64Micro(now64(6)) - toInt64(${ago}) * 3600000000 + h % 3600000000 + step * 4000) AS time,
  if(trace = ${first} AND ${ago} = 3, '${exampleTrace}', hex(sipHash128(trace))) AS trace_id,
  substring(hex(cityHash64(number, ${first})), 1, 16), if(step = 0, '', substring(hex(g), 1, 16)),
  if(step = 0, 'command', 'event'), if(g % 200 = 0, 'error', 'ok'), if(step = 0, 'applied', ''),
  if(g % 200 = 0, ['UNAVAILABLE', 'DEADLINE_EXCEEDED', 'TypeError'][g % 3 + 1], ''),
  'bank', '1.0.0', concat('bank-', toString(h % 6)), part, ${list(handlers.map(([, kind]) => kind))}[step + 1],
  concat(part, '.', if(step = 0, ${list(handlers[0][3])}, ${list(handlers[1][3])})[which + 1]),
  if(step = 0, ${list(handlers[0][3])}, ${list(handlers[1][3])})[which + 1],
  work * 2, work, 3000, work * 3 + 3000, concat('account-', toString(h % 100000)),
  if(step = 0, 'cmd.Account', 'evt.Account'), h % 3, trace, concat('m-', toString(trace), '-', toString(step)), concat('c-', toString(trace)),
  if(step = 0, '', concat('m-', toString(trace), '-0')), '', 'telemetry.spans', h % 6, ${first * spansPerTrace} + number
FROM numbers(${traces * spansPerTrace})
SETTINGS min_insert_block_size_rows = 10000000, max_insert_block_size = 10000000, max_partitions_per_insert_block = 0`;

/** Ten consumers of six partitions each tell every two seconds. */
const lagOf = (database: string, day: number): string => `
INSERT INTO ${database}.lag (time, consumer, topic, partition, instance, position, end, records, seconds, log_topic, log_partition, log_offset)
SELECT now64(3) - INTERVAL ${day} DAY - toIntervalSecond(2 * intDiv(number, 60)), concat('bank.consumer-', toString(number % 10)), 'evt.Account',
  intDiv(number, 10) % 6, 'bank-0', 1000000 - number, 1000000, number % 50, number % 50 / 10, 'telemetry.lag', number % 6, ${day * 3e6} + number
FROM numbers(60 * 43200)
SETTINGS max_partitions_per_insert_block = 0`;

/** Six instances tell thirty measurements every ten seconds. */
const metricsOf = (database: string, day: number): string => `
INSERT INTO ${database}.metrics (time, name, unit, value, attributes, instance, bundle, version, log_topic, log_partition, log_offset)
WITH intDiv(number, 180) AS tick, number % 30 AS what
SELECT now64(3) - INTERVAL ${day} DAY - toIntervalSecond(10 * tick),
  if(what < 3, ['spool.telemetry.spans', 'spool.telemetry.left_out', 'spool.telemetry.dropped'][what + 1], concat('process.metric_', toString(what))), '1',
  if(what < 3, 1e6 - tick * 3, cityHash64(number) % 1000), map(), concat('bank-', toString(intDiv(number, 30) % 6)), 'bank', '1.0.0',
  'telemetry.metrics', number % 6, ${day * 2e6} + number
FROM numbers(180 * 8640)
SETTINGS max_partitions_per_insert_block = 0`;

const eventsOf = (database: string, events: number): string => `
INSERT INTO ${database}.events_index (time, aggregate_type, aggregate_id, version, event_id, event_type, payload_type, payload, correlation_id, topic, partition, offset)
WITH cityHash64(number) AS h
SELECT now64(3) - toIntervalSecond(h % ${days * 86_400}), if(h % 3 = 0, 'Flight', 'Account'), concat('a-', toString(h % 100000)), intDiv(number, 100000) + 1,
  concat('e-', toString(number)), if(h % 3 = 0, 'FlightArrived', 'Deposited'), 'bank.Event', concat('{"delayMinutes":', toString(h % 90), ',"note":"n', toString(h), '"}'),
  concat('c-', toString(number)), if(h % 3 = 0, 'evt.Flight', 'evt.Account'), h % 3, number
FROM numbers(${events})
SETTINGS max_partitions_per_insert_block = 0`;
