import {
  LagSchema,
  MetricSchema,
  parseTraceparent,
  readMeta,
  SpanSchema,
  SpoolError,
  toSpoolError,
  type Codec,
  type Lag,
  type Metric,
  type RecordSchema,
  type Span,
} from '@spool/schemas';
import type { ConsumedRecord } from '@spool/streams';
import type { RowWriter } from './native.js';

/** How records of a topic become rows of a table. */
export interface RowShape {
  readonly table: string;
  /** In the order in which rows are written. */
  readonly columns: readonly string[];
  /** Columns of topic, partition and offset of the record. */
  readonly place: readonly [topic: string, partition: string, offset: string];
  /**
   * Writes one row, at once where the writer's schema is known.
   * @throws SpoolError `never` for a record that cannot be read (it goes to quarantine), `backoff` for one that cannot be read at present.
   */
  write(record: ConsumedRecord, row: RowWriter): void | Promise<void>;
}

const logColumns = ['log_topic', 'log_partition', 'log_offset'] as const;
export const placeColumns = ['topic', 'partition', 'offset'] as const;

export const spanRows = (codec: Codec): RowShape =>
  decodedRows(codec, SpanSchema, 'spans', spanColumns, (span: Span, row) => {
    row.micros(span.startedAt);
    row.string(span.traceId);
    row.string(span.spanId);
    row.string(span.parentSpanId ?? '');
    row.word(span.messageKind);
    row.word(span.status);
    row.word(span.outcome ?? '');
    row.word(span.errorClass ?? '');
    row.word(span.bundle);
    row.word(span.version);
    row.word(span.instance);
    row.word(span.component);
    row.word(span.componentKind);
    row.word(span.handler);
    row.word(span.payloadType);
    row.int64(span.queueUs);
    row.int64(span.handleUs);
    row.int64(span.commitUs);
    row.int64(span.totalUs);
    row.string(span.aggregateId ?? '');
    row.word(span.topic ?? '');
    row.int32(span.partition ?? -1);
    row.int64(span.offset ?? -1);
    row.string(span.messageId ?? '');
    row.string(span.correlationId ?? '');
    row.string(span.causationId ?? '');
    row.word(span.replayId ?? '');
    row.word(span.source ?? '');
    row.uint32(Math.min(Math.max(1, span.weight), 0xffff_ffff));
  });
const spanColumns = [
  ...['time', 'trace_id', 'span_id', 'parent_span_id', 'message_kind', 'status', 'outcome', 'error_class', 'bundle', 'version', 'instance'],
  ...['component', 'component_kind', 'handler', 'payload_type', 'queue_us', 'handle_us', 'commit_us', 'total_us', 'aggregate_id', 'topic'],
  ...['partition', 'offset', 'message_id', 'correlation_id', 'causation_id', 'replay_id', 'source', 'weight'],
];

export const metricRows = (codec: Codec): RowShape =>
  decodedRows(
    codec,
    MetricSchema,
    'metrics',
    ['time', 'name', 'unit', 'value', 'attributes', 'instance', 'bundle', 'version'],
    (metric: Metric, row) => {
      row.millis(metric.at);
      row.word(metric.name);
      row.word(metric.unit);
      row.float64(metric.value);
      row.map(Object.entries(metric.attributes));
      row.word(metric.instance);
      row.word(metric.bundle);
      row.word(metric.version);
    },
  );

export const lagRows = (codec: Codec): RowShape =>
  decodedRows(
    codec,
    LagSchema,
    'lag',
    ['time', 'consumer', 'topic', 'partition', 'instance', 'position', 'end', 'records', 'seconds'],
    (lag: Lag, row) => {
      row.millis(lag.at);
      row.word(lag.consumer);
      row.word(lag.topic);
      row.int32(lag.partition);
      row.word(lag.instance);
      row.int64(lag.position);
      row.int64(lag.end);
      row.int64(lag.records);
      row.float64(lag.seconds);
    },
  );

/** Domain events of one `evt.*` topic, read by their writer's schema. */
export const eventRows = (codec: Codec, aggregateType: string): RowShape => ({
  table: 'events_index',
  columns: [
    ...['time', 'aggregate_type', 'aggregate_id', 'version', 'event_id', 'event_type', 'payload_type', 'payload', 'source', 'actor'],
    ...['command_id', 'correlation_id', 'causation_id', 'trace_id', 'schema_id', ...placeColumns],
  ],
  place: placeColumns,
  write(record, row) {
    const decoded = codec.decodeAny(valueOf(record));
    if (decoded instanceof Promise) return decoded.then((ready) => writeEvent(record, ready, aggregateType, row));
    writeEvent(record, decoded, aggregateType, row);
    return undefined;
  },
});

function writeEvent(record: ConsumedRecord, decoded: Awaited<ReturnType<Codec['decodeAny']>>, aggregateType: string, row: RowWriter): void {
  const meta = readMeta(record.headers);
  const payload = JSON.stringify(decoded.json());
  row.millis(meta.time ?? record.timestamp);
  row.word(aggregateType);
  row.string(record.key?.toString() ?? meta.subject ?? '');
  row.int64(meta.aggregateVersion ?? 0);
  row.string(meta.id ?? '');
  row.word(meta.type ?? decoded.type);
  row.word(decoded.type);
  row.string(payload);
  row.word(meta.source ?? '');
  row.word(meta.actor ?? '');
  row.string(meta.commandId ?? '');
  row.string(meta.correlationId ?? '');
  row.string(meta.causationId ?? '');
  row.string(meta.traceparent === undefined ? '' : (parseTraceparent(meta.traceparent)?.traceId ?? ''));
  row.int64(decoded.schemaId);
  writePlace(record, row);
}

export const quarantineTable = 'quarantine';
export const quarantineColumns = [
  ...['time', 'destination', 'topic', 'partition', 'offset', 'code', 'reason', 'key', 'value', 'headers'],
] as const;

export function writeQuarantined(record: ConsumedRecord, destination: string, thrown: unknown, row: RowWriter): void {
  const error = toSpoolError(thrown);
  row.millis(record.timestamp);
  row.word(destination);
  writePlace(record, row);
  row.word(error.code);
  row.string(error.message.slice(0, 1000));
  row.bytes(record.key ?? Buffer.alloc(0));
  row.bytes(record.value ?? Buffer.alloc(0));
  row.map(Object.entries(record.headers));
}

function decodedRows<T>(
  codec: Codec,
  schema: RecordSchema<T>,
  table: string,
  columns: readonly string[],
  write: (value: T, row: RowWriter) => void,
): RowShape {
  const decoder = codec.decoder(schema);
  const writeRow = (record: ConsumedRecord, value: T, row: RowWriter): void => {
    write(value, row);
    writePlace(record, row);
  };
  return {
    table,
    columns: [...columns, ...logColumns],
    place: logColumns,
    write(record, row) {
      const value = decoder.decode(valueOf(record));
      if (value instanceof Promise) return value.then((ready: T) => writeRow(record, ready, row));
      writeRow(record, value, row);
      return undefined;
    },
  };
}

function valueOf({ topic, partition, offset, value }: ConsumedRecord): Buffer {
  if (value === null) throw new SpoolError('RECORD_UNREADABLE', `${topic}-${partition}@${offset} has no value`);
  return value;
}

function writePlace({ topic, partition, offset }: ConsumedRecord, row: RowWriter): void {
  row.word(topic);
  row.int32(partition);
  row.int64(Number(offset));
}
