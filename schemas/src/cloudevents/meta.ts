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

export type SentMeta = { readonly [K in keyof MessageMeta]?: MessageMeta[K] | undefined };

/** Headers of a message; what is undefined is left out. It is called for each message, and so each header has a line of its own, not a call. */
export function messageHeaders(meta: SentMeta): Record<string, string> {
  const headers: Record<string, string> = {};
  headers[headerNames.specVersion] = '1.0';
  headers[headerNames.contentType] = meta.contentType ?? avroContentType;
  if (meta.id !== undefined) headers[headerNames.id] = meta.id;
  if (meta.type !== undefined) headers[headerNames.type] = meta.type;
  if (meta.source !== undefined) headers[headerNames.source] = meta.source;
  if (meta.time !== undefined) headers[headerNames.time] = rfc3339(meta.time);
  if (meta.subject !== undefined) headers[headerNames.subject] = meta.subject;
  if (meta.traceparent !== undefined) headers[headerNames.traceparent] = meta.traceparent;
  if (meta.tracestate !== undefined) headers[headerNames.tracestate] = meta.tracestate;
  if (meta.correlationId !== undefined) headers[headerNames.correlationId] = meta.correlationId;
  if (meta.causationId !== undefined) headers[headerNames.causationId] = meta.causationId;
  if (meta.aggregateVersion !== undefined) headers[headerNames.aggregateVersion] = String(meta.aggregateVersion);
  if (meta.expectedVersion !== undefined) headers[headerNames.expectedVersion] = String(meta.expectedVersion);
  if (meta.writerEpoch !== undefined) headers[headerNames.writerEpoch] = String(meta.writerEpoch);
  if (meta.commandId !== undefined) headers[headerNames.commandId] = meta.commandId;
  if (meta.deadline !== undefined) headers[headerNames.deadline] = String(meta.deadline);
  if (meta.replyTo !== undefined) headers[headerNames.replyTo] = formatReplyAddress(meta.replyTo);
  if (meta.replyKey !== undefined) headers[headerNames.replyKey] = meta.replyKey;
  if (meta.context !== undefined) headers[headerNames.context] = meta.context;
  if (meta.replayId !== undefined) headers[headerNames.replayId] = meta.replayId;
  if (meta.actor !== undefined) headers[headerNames.actor] = meta.actor;
  return headers;
}

/** Messages of one millisecond share its text. */
const last = { time: 0, text: new Date(0).toISOString() };
function rfc3339(time: number): string {
  if (time !== last.time) [last.time, last.text] = [time, new Date(time).toISOString()];
  return last.text;
}

export type ReadMeta = { readonly [K in keyof MessageMeta]: MessageMeta[K] | undefined };

/** Metadata from headers. What is missing or cannot be read is undefined, so that a foreign record never fails here. */
export function readMeta(headers: Readonly<Record<string, Buffer>>): ReadMeta {
  return {
    id: headers[headerNames.id]?.toString(),
    type: type(headers[headerNames.type]),
    source: source(headers[headerNames.source]),
    time: time(headers[headerNames.time]),
    subject: headers[headerNames.subject]?.toString(),
    contentType: contentType(headers[headerNames.contentType]),
    traceparent: headers[headerNames.traceparent]?.toString(),
    tracestate: headers[headerNames.tracestate]?.toString(),
    correlationId: headers[headerNames.correlationId]?.toString(),
    causationId: headers[headerNames.causationId]?.toString(),
    aggregateVersion: number(headers[headerNames.aggregateVersion]),
    expectedVersion: expectedVersion(headers[headerNames.expectedVersion]),
    writerEpoch: number(headers[headerNames.writerEpoch]),
    commandId: headers[headerNames.commandId]?.toString(),
    deadline: deadline(headers[headerNames.deadline]),
    replyTo: replyTo(headers[headerNames.replyTo]),
    replyKey: headers[headerNames.replyKey]?.toString(),
    context: context(headers[headerNames.context]),
    replayId: headers[headerNames.replayId]?.toString(),
    actor: headers[headerNames.actor]?.toString(),
  };
}

/** Reads a header of which many messages in a row have the same: the last one is compared, and not read again. */
function repeated<T>(read: (text: string) => T): (header: Buffer | undefined) => T | undefined {
  let known: { readonly text: string; readonly value: T } | undefined;
  return (header) => {
    if (header === undefined) return undefined;
    if (known === undefined || !isAscii(header, known.text)) {
      const text = header.toString();
      known = { text, value: read(text) };
    }
    return known.value;
  };
}
function isAscii(header: Buffer, text: string): boolean {
  if (header.length !== text.length) return false;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code > 0x7f || code !== header[i]) return false;
  }
  return true;
}
const asIs = (text: string): string => text;
const type = repeated(asIs);
const source = repeated(asIs);
const contentType = repeated(asIs);
const context = repeated(asIs);

/** `reply.gateway/3` */
export const formatReplyAddress = ({ topic, partition }: ReplyAddress): string => `${topic}/${partition}`;

/** Undefined when it is not an address. */
export function parseReplyAddress(text: string): ReplyAddress | undefined {
  const match = /^([^/]+)\/(\d{1,9})$/.exec(text);
  return match === null ? undefined : { topic: match[1]!, partition: Number(match[2]) };
}

const replyTo = repeated(parseReplyAddress);
const time = repeated((text) => {
  const value = Date.parse(text);
  return Number.isFinite(value) ? value : undefined;
});

/** Whole numbers alone: versions, epochs and times have no other form. */
function toNumber(text: string): number | undefined {
  if (!/^-?\d{1,16}$/.test(text)) return undefined;
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : undefined;
}
const number = (header: Buffer | undefined): number | undefined => (header === undefined ? undefined : toNumber(header.toString('latin1')));
const deadline = repeated(toNumber);
const expectedVersion = repeated((text) => (text === 'exists' ? text : toNumber(text)));
