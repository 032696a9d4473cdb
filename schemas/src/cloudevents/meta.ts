/**
 * Metadata of messages as Kafka headers: the CloudEvents Kafka binding, binary mode, then W3C Trace Context, then ours. Times are
 * milliseconds since the epoch here; `ce_time` is RFC 3339 on the wire, ours are decimal numbers.
 */
export const headerNames = {
  id: 'ce_id',
  type: 'ce_type',
  source: 'ce_source',
  time: 'ce_time',
  subject: 'ce_subject',
  specVersion: 'ce_specversion',
  contentType: 'content-type',
  traceparent: 'traceparent',
  tracestate: 'tracestate',
  correlationId: 'correlationid',
  causationId: 'causationid',
  aggregateVersion: 'aggregateversion',
  expectedVersion: 'expectedversion',
  writerEpoch: 'writerepoch',
  commandId: 'commandid',
  deadline: 'deadline',
  replyTo: 'replyto',
  replyKey: 'replykey',
  context: 'context',
  replayId: 'replayid',
  actor: 'actor',
} as const;

/** Content type of values in the Confluent wire format. */
export const avroContentType = 'application/avro';

/** Where a reply goes. */
export interface ReplyAddress {
  readonly topic: string;
  readonly partition: number;
}

export interface MessageMeta {
  /** Unique for the source; the id of an event, a command or a query. */
  readonly id: string;
  /** Full name of the payload, such as `acme.FlightScheduled`. */
  readonly type: string;
  /** Who made it: `<bundle>/<component>`, or the name of a platform service. */
  readonly source: string;
  readonly time: number;
  /** What it is about: the aggregate id. */
  readonly subject: string;
  /** @default `application/avro` */
  readonly contentType: string;
  readonly traceparent: string;
  readonly tracestate: string;
  /** All messages of one flow share it. */
  readonly correlationId: string;
  /** Id of the message that caused this one. */
  readonly causationId: string;
  /** Of an event: version of its aggregate after it, from 1. */
  readonly aggregateVersion: number;
  /** Of a command: version that the aggregate must have; 0: it must not exist; `exists`: any but none. */
  readonly expectedVersion: number | 'exists';
  /** Generation of the owner that wrote an event; never falls within a partition. */
  readonly writerEpoch: number;
  /** Of an event or a reply: id of the command that it comes from. */
  readonly commandId: string;
  /** No work is done on it after this time. */
  readonly deadline: number;
  readonly replyTo: ReplyAddress;
  /** The reply has this key and stands in the transaction of what it tells of: whoever asked need not ask again. @default sent after the commit */
  readonly replyKey: string;
  /** Contexts divide the messages of the same topics. @default `default` */
  readonly context: string;
  /** Replay that sent it. */
  readonly replayId: string;
  /** Who asked for it. */
  readonly actor: string;
}

/** Headers of a message; what is undefined is left out. */
export function messageHeaders(meta: { readonly [K in keyof MessageMeta]?: MessageMeta[K] | undefined }): Record<string, string> {
  const headers: Record<string, string> = {
    [headerNames.specVersion]: '1.0',
    [headerNames.contentType]: meta.contentType ?? avroContentType,
  };
  const text = (name: string, value: string | undefined): void => {
    if (value !== undefined) headers[name] = value;
  };
  const number = (name: string, value: number | undefined): void => {
    if (value !== undefined) headers[name] = String(value);
  };
  text(headerNames.id, meta.id);
  text(headerNames.type, meta.type);
  text(headerNames.source, meta.source);
  if (meta.time !== undefined) headers[headerNames.time] = new Date(meta.time).toISOString();
  text(headerNames.subject, meta.subject);
  text(headerNames.traceparent, meta.traceparent);
  text(headerNames.tracestate, meta.tracestate);
  text(headerNames.correlationId, meta.correlationId);
  text(headerNames.causationId, meta.causationId);
  number(headerNames.aggregateVersion, meta.aggregateVersion);
  text(headerNames.expectedVersion, meta.expectedVersion?.toString());
  number(headerNames.writerEpoch, meta.writerEpoch);
  text(headerNames.commandId, meta.commandId);
  number(headerNames.deadline, meta.deadline);
  if (meta.replyTo !== undefined) headers[headerNames.replyTo] = formatReplyAddress(meta.replyTo);
  text(headerNames.replyKey, meta.replyKey);
  text(headerNames.context, meta.context);
  text(headerNames.replayId, meta.replayId);
  text(headerNames.actor, meta.actor);
  return headers;
}

export type ReadMeta = { readonly [K in keyof MessageMeta]: MessageMeta[K] | undefined };

/** Metadata from headers. What is missing or cannot be read is undefined, so that a foreign record never fails here. */
export function readMeta(headers: Readonly<Record<string, Buffer>>): ReadMeta {
  const text = (name: string): string | undefined => headers[name]?.toString();
  const replyTo = text(headerNames.replyTo);
  const time = text(headerNames.time);
  return {
    id: text(headerNames.id),
    type: text(headerNames.type),
    source: text(headerNames.source),
    time: time === undefined ? undefined : finite(Date.parse(time)),
    subject: text(headerNames.subject),
    contentType: text(headerNames.contentType),
    traceparent: text(headerNames.traceparent),
    tracestate: text(headerNames.tracestate),
    correlationId: text(headerNames.correlationId),
    causationId: text(headerNames.causationId),
    aggregateVersion: number(headers[headerNames.aggregateVersion]),
    expectedVersion: text(headerNames.expectedVersion) === 'exists' ? 'exists' : number(headers[headerNames.expectedVersion]),
    writerEpoch: number(headers[headerNames.writerEpoch]),
    commandId: text(headerNames.commandId),
    deadline: number(headers[headerNames.deadline]),
    replyTo: replyTo === undefined ? undefined : parseReplyAddress(replyTo),
    replyKey: text(headerNames.replyKey),
    context: text(headerNames.context),
    replayId: text(headerNames.replayId),
    actor: text(headerNames.actor),
  };
}

/** `reply.gateway/3` */
export const formatReplyAddress = ({ topic, partition }: ReplyAddress): string => `${topic}/${partition}`;

/** Undefined when it is not an address. */
export function parseReplyAddress(text: string): ReplyAddress | undefined {
  const match = /^([^/]+)\/(\d{1,9})$/.exec(text);
  return match === null ? undefined : { topic: match[1]!, partition: Number(match[2]) };
}

const finite = (value: number): number | undefined => (Number.isFinite(value) ? value : undefined);
/** Whole numbers alone: versions, epochs and times have no other form. */
function number(header: Buffer | undefined): number | undefined {
  if (header === undefined) return undefined;
  const text = header.toString('latin1');
  if (!/^-?\d{1,16}$/.test(text)) return undefined;
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : undefined;
}
