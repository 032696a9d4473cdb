import { SpanSchema } from '@spool/schemas';

/** Of a column of `spans` what the span in Kafka has for it, where that is not the field of the same name. */
const expressions: Readonly<Record<string, string>> = {
  time: 'startedAt',
  partition: 'coalesce(partition, -1)',
  offset: 'coalesce(offset, -1)',
  log_topic: '_topic',
  log_partition: '_partition',
  log_offset: '_offset',
};
const camel = (column: string): string => column.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());

export interface KafkaEngineOptions {
  readonly database: string;
  readonly brokers: readonly string[];
  readonly schemaRegistryUrl: string;
  readonly topic: string;
  readonly group: string;
  readonly consumers: number;
  /** As the sink's own. */
  readonly maxRows: number;
  readonly gatherMs: number;
}

/** ClickHouse reads the topic by itself, into the same table with the same rollups. @param columns of `spans` */
export function kafkaEngineStatements(options: KafkaEngineOptions, columns: readonly string[]): readonly string[] {
  const { database, brokers, schemaRegistryUrl, topic, group, consumers, maxRows, gatherMs } = options;
  const { fields } = SpanSchema.schema as unknown as { readonly fields: readonly { readonly name: string; readonly type: unknown }[] };
  const selected = columns.map((column) => {
    const field = camel(column);
    const isNullable = Array.isArray(fields.find(({ name }) => name === field)?.type);
    return `${expressions[column] ?? (isNullable ? `coalesce(${field}, '')` : field)} AS \`${column}\``;
  });
  const settings = {
    kafka_broker_list: brokers.join(','),
    kafka_topic_list: topic,
    kafka_group_name: group,
    kafka_format: 'AvroConfluent',
    format_avro_schema_registry_url: schemaRegistryUrl,
    kafka_num_consumers: consumers,
    kafka_thread_per_consumer: 1,
    kafka_max_block_size: maxRows,
    kafka_flush_interval_ms: gatherMs,
    kafka_handle_error_mode: 'stream',
  };
  const set = Object.entries(settings).map(([name, value]) => `${name} = ${typeof value === 'number' ? value : `'${value}'`}`);
  return [
    `CREATE TABLE ${database}.spans_queue (${fields.map((field) => `${field.name} ${typeOf(field.type)}`).join(', ')}) ENGINE = Kafka SETTINGS ${set.join(', ')}`,
    `CREATE MATERIALIZED VIEW ${database}.spans_queue_fill TO ${database}.spans AS
     SELECT ${selected.join(', ')} FROM ${database}.spans_queue WHERE length(_error) = 0`,
  ];
}

function typeOf(avro: unknown): string {
  if (Array.isArray(avro)) return `Nullable(${typeOf(avro.find((each) => each !== 'null'))})`;
  if ((avro as { readonly logicalType?: string }).logicalType === 'timestamp-micros') return "DateTime64(6, 'UTC')";
  return avro === 'long' ? 'Int64' : avro === 'int' ? 'Int32' : 'String';
}
