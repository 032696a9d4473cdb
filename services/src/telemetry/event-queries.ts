import { boundedAsk } from './ask.js';
import type { ClickHouse } from './clickhouse.js';

/** An event as `events_index` has it. */
export interface IndexedEvent {
  readonly id: string;
  readonly type: string;
  readonly aggregateType: string;
  readonly aggregateId: string;
  readonly version: number;
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly topic: string;
  readonly partition: number;
  readonly offset: string;
  /** `<bundle>/<component>` that wrote it. */
  readonly source: string;
  readonly actor: string;
  readonly commandId: string;
  readonly correlationId: string;
  readonly causationId: string;
  readonly traceId: string;
  readonly payload: unknown;
}
/** Where a page ends: events of one time stand in the order of their places in the log. */
export type EventPlace = Pick<IndexedEvent, 'at' | 'topic' | 'partition' | 'offset'>;

export interface EventSearch {
  readonly types?: readonly string[] | undefined;
  readonly aggregateTypes?: readonly string[] | undefined;
  readonly aggregateId?: string | undefined;
  /** Milliseconds since the epoch: not before. */
  readonly from?: number | undefined;
  /** Milliseconds since the epoch: before. */
  readonly to?: number | undefined;
  readonly correlationId?: string | undefined;
  readonly causationId?: string | undefined;
  readonly commandId?: string | undefined;
  readonly eventId?: string | undefined;
  readonly actor?: string | undefined;
  /** In the payload's JSON, as it is written there. */
  readonly contains?: string | undefined;
  /** Fields of the payload: a number in a path is a place in a list, from 0. A value is compared as text. */
  readonly fields?: readonly { readonly path: readonly string[]; readonly value: string }[] | undefined;
  readonly newestFirst: boolean;
  readonly beyond?: EventPlace | undefined;
  readonly limit: number;
}

/** A message that was handled, as `spans` has it. */
export interface HandledMessage {
  readonly messageKind: string;
  readonly messageId: string;
  readonly causationId: string;
  readonly type: string;
  readonly aggregateId: string;
  readonly bundle: string;
  readonly version: string;
  readonly instance: string;
  readonly component: string;
  readonly componentKind: string;
  /** When the handling began, in milliseconds since the epoch. */
  readonly at: number;
  readonly status: string;
  readonly outcome: string;
  readonly errorClass: string;
  readonly totalUs: number;
}
/** All that is known of one correlation id, up to a bound. */
export interface Flow {
  readonly events: readonly IndexedEvent[];
  readonly messages: readonly HandledMessage[];
  readonly truncated: boolean;
}

export interface EventQueries {
  /** @throws SpoolError UNAVAILABLE, also when it takes too long; OVERLOADED */
  search(search: EventSearch): Promise<readonly IndexedEvent[]>;
  /** @throws as `search` */
  flow(correlationId: string): Promise<Flow>;
}

const maxFlowEvents = 5000;
const maxFlowMessages = 20_000;

const eventColumns = `event_id AS id, event_type AS type, aggregate_type, aggregate_id, version, toUnixTimestamp64Milli(time) AS at, topic,
  partition, offset, source, actor, command_id, correlation_id, causation_id, trace_id, payload`;

/** What is asked of the stored events. Nothing that a caller says becomes part of a statement: it goes along as a parameter. */
export function eventQueries({ database, rows }: Pick<ClickHouse, 'database' | 'rows'>): EventQueries {
  const ask = boundedAsk({ rows });
  return {
    async search(search) {
      const { conditions, params } = conditionsOf(search);
      const order = search.newestFirst ? 'DESC' : 'ASC';
      const where = conditions.length === 0 ? '' : `WHERE ${conditions.join(' AND ')}`;
      const sql = `SELECT ${eventColumns} FROM ${database}.events_index ${where}
        ORDER BY time ${order}, topic ${order}, partition ${order}, offset ${order} LIMIT {limit:UInt32}`;
      return (await ask<EventRow>(sql, { ...params, limit: search.limit })).map(eventOf);
    },
    async flow(id) {
      const events = await ask<EventRow>(
        `SELECT ${eventColumns} FROM ${database}.events_index WHERE correlation_id = {id:String}
         ORDER BY time, topic, partition, offset LIMIT ${maxFlowEvents + 1}`,
        { id },
      );
      const messages = await ask<MessageRow>(
        `SELECT message_kind, message_id, causation_id, payload_type AS type, aggregate_id, bundle, version, instance, component, component_kind,
           toUnixTimestamp64Micro(time) AS at_us, status, outcome, error_class, total_us
         FROM ${database}.spans WHERE correlation_id = {id:String} AND replay_id = '' ORDER BY time LIMIT ${maxFlowMessages + 1}`,
        { id },
      );
      return {
        events: events.slice(0, maxFlowEvents).map(eventOf),
        messages: messages.slice(0, maxFlowMessages).map(messageOf),
        truncated: events.length > maxFlowEvents || messages.length > maxFlowMessages,
      };
    },
  };
}

function conditionsOf(search: EventSearch): { readonly conditions: readonly string[]; readonly params: Readonly<Record<string, unknown>> } {
  const conditions: string[] = [];
  const params: Record<string, unknown> = {};
  const add = (condition: string, values: Readonly<Record<string, unknown>>): void => {
    conditions.push(condition);
    Object.assign(params, values);
  };
  const { types, aggregateTypes, from, to, contains, fields = [], beyond } = search;
  if (types !== undefined) add('event_type IN {types:Array(String)}', { types });
  if (aggregateTypes !== undefined) add('aggregate_type IN {aggregate_types:Array(String)}', { aggregate_types: aggregateTypes });
  for (const [column, value] of [
    ['aggregate_id', search.aggregateId],
    ['correlation_id', search.correlationId],
    ['causation_id', search.causationId],
    ['command_id', search.commandId],
    ['event_id', search.eventId],
    ['actor', search.actor],
  ] as const) {
    if (value !== undefined) add(`${column} = {${column}:String}`, { [column]: value });
  }
  if (from !== undefined) add('time >= fromUnixTimestamp64Milli({from:Int64})', { from });
  if (to !== undefined) add('time < fromUnixTimestamp64Milli({to:Int64})', { to });
  // LIKE, since it uses the index of words.
  if (contains !== undefined) add('payload LIKE {contains:String}', { contains: `%${contains.replace(/[\\%_]/g, '\\$&')}%` });
  fields.forEach(({ path, value }, at) => {
    const steps = path.map((step, depth) =>
      /^\d{1,9}$/.test(step)
        ? { name: `f${at}_${depth}`, type: 'UInt32', value: Number(step) + 1 }
        : { name: `f${at}_${depth}`, type: 'String', value: step },
    );
    const place = ['payload', ...steps.map(({ name, type }) => `{${name}:${type}}`)].join(', ');
    add(
      `JSONHas(${place}) AND if(JSONType(${place}) = 'String', JSONExtractString(${place}), JSONExtractRaw(${place})) = {f${at}:String}`,
      { ...Object.fromEntries(steps.map((step) => [step.name, step.value])), [`f${at}`]: value },
    );
  });
  if (beyond !== undefined) {
    add(
      `(time, topic, partition, offset) ${search.newestFirst ? '<' : '>'}
         (fromUnixTimestamp64Milli({beyond_at:Int64}), {beyond_topic:String}, {beyond_partition:Int32}, {beyond_offset:Int64})`,
      { beyond_at: beyond.at, beyond_topic: beyond.topic, beyond_partition: beyond.partition, beyond_offset: beyond.offset },
    );
  }
  return { conditions, params };
}

interface EventRow {
  readonly id: string;
  readonly type: string;
  readonly aggregate_type: string;
  readonly aggregate_id: string;
  readonly version: string;
  readonly at: string;
  readonly topic: string;
  readonly partition: number;
  readonly offset: string;
  readonly source: string;
  readonly actor: string;
  readonly command_id: string;
  readonly correlation_id: string;
  readonly causation_id: string;
  readonly trace_id: string;
  readonly payload: string;
}
const eventOf = (row: EventRow): IndexedEvent => ({
  id: row.id,
  type: row.type,
  aggregateType: row.aggregate_type,
  aggregateId: row.aggregate_id,
  version: Number(row.version),
  at: Number(row.at),
  topic: row.topic,
  partition: row.partition,
  offset: row.offset,
  source: row.source,
  actor: row.actor,
  commandId: row.command_id,
  correlationId: row.correlation_id,
  causationId: row.causation_id,
  traceId: row.trace_id,
  payload: JSON.parse(row.payload) as unknown,
});

interface MessageRow {
  readonly message_kind: string;
  readonly message_id: string;
  readonly causation_id: string;
  readonly type: string;
  readonly aggregate_id: string;
  readonly bundle: string;
  readonly version: string;
  readonly instance: string;
  readonly component: string;
  readonly component_kind: string;
  readonly at_us: string;
  readonly status: string;
  readonly outcome: string;
  readonly error_class: string;
  readonly total_us: string;
}
const messageOf = (row: MessageRow): HandledMessage => ({
  messageKind: row.message_kind,
  messageId: row.message_id,
  causationId: row.causation_id,
  type: row.type,
  aggregateId: row.aggregate_id,
  bundle: row.bundle,
  version: row.version,
  instance: row.instance,
  component: row.component,
  componentKind: row.component_kind,
  at: Number(row.at_us) / 1000,
  status: row.status,
  outcome: row.outcome,
  errorClass: row.error_class,
  totalUs: Number(row.total_us),
});
