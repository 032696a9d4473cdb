import {
  BalanceDecisionSchema,
  headerBytes,
  LagSchema,
  MetricSchema,
  parseTraceparent,
  readMeta,
  SpanSchema,
  SpoolError,
  toSpoolError,
  type Codec,
  type RecordSchema,
} from '@spool/schemas';
import type { ConsumedRecord } from '@spool/streams';
import type { BlockWriter, BytesWriter, RowWriter } from './native.js';
import { transcoder, writeNothing, type FieldColumn } from './transcode.js';

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
  write(record: ConsumedRecord, row: BlockWriter): void | Promise<void>;
}

const logColumns = ['log_topic', 'log_partition', 'log_offset'] as const;
export const placeColumns = ['topic', 'partition', 'offset'] as const;

export const spanRows = (codec: Codec): RowShape =>
  decodedRows(codec, SpanSchema, 'spans', [
    { column: 'time', field: 'startedAt', kind: 'micros' },
    { column: 'trace_id', field: 'traceId', kind: 'string' },
    { column: 'span_id', field: 'spanId', kind: 'string' },
    { column: 'parent_span_id', field: 'parentSpanId', kind: 'string' },
    { column: 'message_kind', field: 'messageKind', kind: 'word' },
    { column: 'status', field: 'status', kind: 'word' },
    { column: 'outcome', field: 'outcome', kind: 'word' },
    { column: 'error_class', field: 'errorClass', kind: 'word' },
    { column: 'bundle', field: 'bundle', kind: 'word' },
    { column: 'version', field: 'version', kind: 'word' },
    { column: 'instance', field: 'instance', kind: 'word' },
    { column: 'component', field: 'component', kind: 'word' },
    { column: 'component_kind', field: 'componentKind', kind: 'word' },
    { column: 'handler', field: 'handler', kind: 'word' },
    { column: 'payload_type', field: 'payloadType', kind: 'word' },
    { column: 'queue_us', field: 'queueUs', kind: 'int64' },
    { column: 'handle_us', field: 'handleUs', kind: 'int64' },
    { column: 'commit_us', field: 'commitUs', kind: 'int64' },
    { column: 'total_us', field: 'totalUs', kind: 'int64' },
    { column: 'aggregate_id', field: 'aggregateId', kind: 'string' },
    { column: 'topic', field: 'topic', kind: 'word' },
    { column: 'partition', field: 'partition', kind: 'int32' },
    { column: 'offset', field: 'offset', kind: 'int64' },
    { column: 'message_id', field: 'messageId', kind: 'string' },
    { column: 'correlation_id', field: 'correlationId', kind: 'string' },
    { column: 'causation_id', field: 'causationId', kind: 'string' },
    { column: 'replay_id', field: 'replayId', kind: 'word' },
    { column: 'source', field: 'source', kind: 'word' },
    { column: 'weight', field: 'weight', kind: 'weight' },
  ]);

export const metricRows = (codec: Codec): RowShape =>
  decodedRows(codec, MetricSchema, 'metrics', [
    { column: 'time', field: 'at', kind: 'millis' },
    { column: 'name', field: 'name', kind: 'word' },
    { column: 'unit', field: 'unit', kind: 'word' },
    { column: 'value', field: 'value', kind: 'float64' },
    { column: 'attributes', field: 'attributes', kind: 'map' },
    { column: 'instance', field: 'instance', kind: 'word' },
    { column: 'bundle', field: 'bundle', kind: 'word' },
    { column: 'version', field: 'version', kind: 'word' },
  ]);

export const lagRows = (codec: Codec): RowShape =>
  decodedRows(codec, LagSchema, 'lag', [
    { column: 'time', field: 'at', kind: 'millis' },
    { column: 'consumer', field: 'consumer', kind: 'word' },
    { column: 'topic', field: 'topic', kind: 'word' },
    { column: 'partition', field: 'partition', kind: 'int32' },
    { column: 'instance', field: 'instance', kind: 'word' },
    { column: 'position', field: 'position', kind: 'int64' },
    { column: 'end', field: 'end', kind: 'int64' },
    { column: 'records', field: 'records', kind: 'int64' },
    { column: 'seconds', field: 'seconds', kind: 'float64' },
  ]);

/** Decisions of the balancer. */
export const decisionRows = (codec: Codec): RowShape =>
  decodedRows(codec, BalanceDecisionSchema, 'decisions', [
    { column: 'time', field: 'at', kind: 'millis' },
    { column: 'id', field: 'id', kind: 'string' },
    { column: 'bundle', field: 'bundle', kind: 'word' },
    { column: 'desired', field: 'desired', kind: 'int32' },
    { column: 'current', field: 'current', kind: 'int32' },
    { column: 'min', field: 'min', kind: 'int32' },
    { column: 'max', field: 'max', kind: 'int32' },
    { column: 'by_utilisation', field: 'byUtilisation', kind: 'float64' },
    { column: 'by_drain', field: 'byDrain', kind: 'float64' },
    { column: 'reason', field: 'reason', kind: 'string' },
    { column: 'predicted_drain_ms', field: 'predictedDrainMs', kind: 'float64' },
    { column: 'actual_drain_ms', field: 'actualDrainMs', kind: 'float64' },
    { column: 'instances', field: 'instances', kind: 'int32' },
    { column: 'starting', field: 'starting', kind: 'int32' },
    { column: 'partitions', field: 'partitions', kind: 'int32' },
    { column: 'arrivals', field: 'arrivals', kind: 'float64' },
    { column: 'departures', field: 'departures', kind: 'float64' },
    { column: 'utilisation', field: 'utilisation', kind: 'float64' },
    { column: 'busiest', field: 'busiest', kind: 'float64' },
    { column: 'lag', field: 'lag', kind: 'int64' },
    { column: 'lag_seconds', field: 'lagSeconds', kind: 'float64' },
    { column: 'p99_ms', field: 'p99Ms', kind: 'float64' },
    { column: 'event_loop_delay_ms', field: 'eventLoopDelayMs', kind: 'float64' },
    { column: 'suffering', field: 'suffering', kind: 'int32' },
    { column: 'bored', field: 'bored', kind: 'int32' },
    { column: 'frozen', field: 'frozen', kind: 'word' },
  ]);

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

/** A record of which each column is a field. Bytes as this schema has them become cells at once; whatever else comes is decoded first. */
function decodedRows<T>(
  codec: Codec,
  schema: RecordSchema<T>,
  table: string,
  columns: readonly (FieldColumn & { readonly field: keyof T & string })[],
): RowShape {
  const decoder = codec.decoder(schema);
  const transcode = transcoder(schema.schema, columns);
  const writeRow = (record: ConsumedRecord, value: T, row: BytesWriter): void => {
    for (const { field, kind } of columns) {
      const cell: unknown = value[field];
      if (cell === null) writeNothing(kind, row);
      else if (kind === 'map') row.map(Object.entries(cell as Readonly<Record<string, string>>));
      else row[kind](cell as never);
    }
    writePlace(record, row);
  };
  return {
    table,
    columns: [...columns.map(({ column }) => column), ...logColumns],
    place: logColumns,
    write(record, row) {
      const bytes = valueOf(record);
      if (transcode !== undefined && decoder.isAsWritten(bytes)) {
        if (transcode(bytes, headerBytes, row)) {
          writePlace(record, row);
          return undefined;
        }
        // Decoding says what is wrong with it.
        row.drop();
      }
      const value = decoder.decode(bytes);
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
