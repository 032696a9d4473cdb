import { messageHeaders, SpoolError, type Violation } from '@spool/schemas';
import type { RecordWish } from './produce.js';
import type { TopicSchemas } from './topic-schemas.js';

/** An event by the CloudEvents specification, version 1.0: its attributes as text, its data as it came. */
export interface CloudEvent {
  /** Without `datacontenttype`; extensions too. */
  readonly attributes: Readonly<Record<string, string>>;
  readonly contentType: string | undefined;
  /** Bytes of `contentType`; undefined for none. */
  readonly data: Buffer | undefined;
}

const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/i;
/** RFC 3986 has no blanks and no other letters. */
const uriReference = /^[\x21\x23-\x3b\x3d\x3f-\x5b\x5d\x5f\x61-\x7a\x7e]+$/;
const mediaType = /^[\w!#$&^.+-]+\/[\w!#$&^.+-]+(\s*;.*)?$/;
const rules: Readonly<Record<string, (value: string) => string | undefined>> = {
  specversion: (value) => (value === '1.0' ? undefined : 'Expected 1.0'),
  source: (value) => (uriReference.test(value) ? undefined : 'Expected a URI reference'),
  time: (value) => (time.test(value) && Number.isFinite(Date.parse(value)) ? undefined : 'Expected a time such as 2026-01-31T12:00:00Z'),
  dataschema: (value) => (/^[A-Za-z][A-Za-z0-9+.-]*:/.test(value) && uriReference.test(value) ? undefined : 'Expected an absolute URI'),
  datacontenttype: (value) => (mediaType.test(value) ? undefined : 'Expected a media type such as application/json'),
};
const required = ['specversion', 'id', 'source', 'type'];
const control = /[\u0000-\u001f\u007f-\u009f]/;

/** Everything that is wrong with the attributes. @param at where each stands */
function problemsOf(attributes: Readonly<Record<string, string>>, at: (name: string) => string): Violation[] {
  const found: Violation[] = [];
  const wrong = (name: string, message: string): void => void found.push({ pointer: at(name), message });
  for (const name of required) if (attributes[name] === undefined) wrong(name, 'Missing');
  for (const [name, value] of Object.entries(attributes)) {
    const message = rules[name]?.(value);
    if (!/^[a-z0-9]{1,100}$/.test(name)) wrong(name, 'Expected a name of lower-case letters and digits');
    else if (value === '') wrong(name, 'Expected text');
    else if (control.test(value)) wrong(name, 'Expected no control characters');
    else if (message !== undefined) wrong(name, message);
  }
  return found;
}
function refuse(violations: readonly Violation[]): never {
  throw new SpoolError('INVALID_REQUEST', `This is no event by CloudEvents 1.0: ${violations[0]!.pointer}: ${violations[0]!.message}`, {
    violations: violations.slice(0, 50),
  });
}

/** Of binary mode: attributes in headers, percent-encoded, and the data in the body. @throws SpoolError INVALID_REQUEST */
export function binaryEvent(headers: Readonly<Record<string, unknown>>, body: Buffer): CloudEvent {
  const attributes: Record<string, string> = {};
  const violations: Violation[] = [];
  for (const [header, value] of Object.entries(headers)) {
    if (!header.startsWith('ce-') || typeof value !== 'string') continue;
    try {
      attributes[header.slice(3)] = decodeURIComponent(value);
    } catch {
      violations.push({ pointer: `header:${header}`, message: 'Is not percent-encoded well' });
    }
  }
  if (attributes['datacontenttype'] !== undefined)
    violations.push({ pointer: 'header:ce-datacontenttype', message: 'Is to be sent as Content-Type' });
  violations.push(...problemsOf(attributes, (name) => `header:ce-${name}`));
  if (violations.length > 0) refuse(violations);
  const contentType = headers['content-type'];
  return { attributes, contentType: typeof contentType === 'string' ? contentType : undefined, data: body.length === 0 ? undefined : body };
}

/** Of structured mode: one JSON object with everything. @throws SpoolError INVALID_REQUEST */
export function structuredEvent(json: unknown, pointer = ''): CloudEvent {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) return refuse([{ pointer, message: 'Expected an object' }]);
  const { data, data_base64: base64, ...rest } = json as Readonly<Record<string, unknown>>;
  const attributes: Record<string, string> = {};
  const violations: Violation[] = [];
  for (const [name, value] of Object.entries(rest)) {
    if (value === null) continue;
    const plain = typeof value === 'string' || typeof value === 'boolean' || Number.isInteger(value);
    if (!plain || (name in rules && typeof value !== 'string') || (required.includes(name) && typeof value !== 'string'))
      violations.push({ pointer: `${pointer}/${name}`, message: 'Expected text' });
    // eslint-disable-next-line @typescript-eslint/no-base-to-string -- plain, or refused below
    else attributes[name] = String(value);
  }
  if (data !== undefined && base64 !== undefined) violations.push({ pointer: `${pointer}/data`, message: 'Stands beside data_base64' });
  if (
    base64 !== undefined &&
    (typeof base64 !== 'string' || !/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(base64))
  )
    violations.push({ pointer: `${pointer}/data_base64`, message: 'Expected base64' });
  violations.push(...problemsOf(attributes, (name) => `${pointer}/${name}`));
  if (violations.length > 0) refuse(violations);
  const { datacontenttype, ...others } = attributes;
  if (typeof base64 === 'string') return { attributes: others, contentType: datacontenttype, data: Buffer.from(base64, 'base64') };
  const contentType = datacontenttype ?? (data === undefined ? undefined : 'application/json');
  // Text of another type stands as it is; anything else is JSON.
  const bytes = data === undefined ? undefined : typeof data === 'string' && !isJson(contentType) ? data : JSON.stringify(data);
  return { attributes: others, contentType, data: bytes === undefined ? undefined : Buffer.from(bytes) };
}

const isJson = (contentType: string | undefined): boolean => contentType === undefined || /[/+]json\s*(;|$)/i.test(contentType);

/**
 * A record by the Kafka binding, binary mode: its key is `partitionkey`, else `subject`. JSON data of a type that is registered for the topic is written
 * as Avro, so that whoever reads the topic finds one form.
 * @throws SpoolError INVALID_REQUEST
 */
export async function recordOfEvent(
  event: CloudEvent,
  topic: string,
  schemas: Pick<TopicSchemas, 'newest'>,
  sent: { readonly traceparent: string; readonly actor: string },
): Promise<RecordWish> {
  const { attributes, contentType, data } = event;
  const { traceparent = sent.traceparent, correlationid = attributes['id'], partitionkey, subject } = attributes;
  const headers = {
    ...messageHeaders({ traceparent, correlationId: correlationid, actor: sent.actor }),
    ...Object.fromEntries(Object.entries(attributes).map(([name, value]) => [`ce_${name}`, value])),
  };
  const key = partitionkey ?? subject ?? null;
  const { 'content-type': _avro, ...untyped } = headers as Record<string, string>;
  if (data === undefined) return { key, headers: untyped, value: Buffer.alloc(0) };
  const type = attributes['type']!;
  if (isJson(contentType) && (await schemas.newest(topic, type)) !== undefined)
    return { key, headers, value: { type, json: parsed(data) } };
  return { key, headers: { ...untyped, ...(contentType === undefined ? {} : { 'content-type': contentType }) }, value: data };
}

function parsed(data: Buffer): unknown {
  try {
    return JSON.parse(data.toString());
  } catch {
    return refuse([{ pointer: '/data', message: 'Expected JSON, as its content type says' }]);
  }
}
