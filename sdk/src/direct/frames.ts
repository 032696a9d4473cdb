import { decode, encode } from '@msgpack/msgpack';
import { catalogue, SpoolError, type ErrorCode } from '@spool/schemas';
import { z } from 'zod';

/** The subprotocol: MessagePack, one frame a message. */
export const protocol = 'spool.direct.v1';
export const path = '/direct/v1';
/** Of one message, in bytes: what Kafka takes too. */
export const maxFrameBytes = 1024 * 1024;

/** The most elements of a stream that may be on their way or wait to be taken, and that are kept until they have come. */
export const maxWindow = 256;

const text = z.string().max(1000);
const number = z.int().min(0).max(Number.MAX_SAFE_INTEGER);
const bytes = z.custom<Uint8Array>((given) => given instanceof Uint8Array, 'expected bytes');
const base = {
  /** Numbers the calls of one socket. */
  call: number,
  id: text.min(1),
  type: text.min(1),
  value: bytes,
  meta: z.strictObject({
    correlationId: text.optional(),
    causationId: text.optional(),
    traceparent: text.optional(),
    actor: text.optional(),
    context: text.optional(),
    expectedVersion: z.union([z.int().min(0), z.literal('exists')]).optional(),
  }),
};

const ofCall = { ...base, timeoutMs: z.number().min(0).max(86_400_000) };

/** What a caller says. */
const asked = z.discriminatedUnion('t', [
  z.strictObject({ t: z.literal('query'), ...ofCall, after: z.string().max(100_000).optional() }),
  z.strictObject({
    t: z.literal('command'),
    ...ofCall,
    key: text.min(1).nullable(),
    refuseReuse: z.boolean().optional(),
    priority: z.enum(['high', 'normal', 'low']).optional(),
  }),
  z.strictObject({
    t: z.literal('stream'),
    ...base,
    events: z.array(text.min(1)).min(1).max(100),
    after: number,
    upTo: number,
  }),
  z.strictObject({ t: z.literal('credit'), call: number, upTo: number, has: number }),
  /** Nobody waits for it any more. */
  z.strictObject({ t: z.literal('cancel'), call: number }),
]);
export type Asked = z.output<typeof asked>;

const violation = z.strictObject({ pointer: z.string(), message: z.string() });
/** What whoever serves says. */
const told = z.discriminatedUnion('t', [
  z.strictObject({
    t: z.literal('reply'),
    call: number,
    outcome: z.enum(['applied', 'duplicate', 'rejected', 'conflict', 'expired', 'indeterminate', 'answered', 'failed']),
    version: z.number().nullable(),
    events: z.array(z.strictObject({ id: z.string(), type: z.string(), version: z.number() })).readonly(),
    position: z.string(),
    view: bytes.nullable(),
    problem: z.strictObject({ code: z.string(), detail: z.string(), violations: z.array(violation).readonly() }).nullable(),
  }),
  z.strictObject({ t: z.literal('next'), call: number, number, type: z.string(), value: bytes }),
  z.strictObject({ t: z.literal('completed'), call: number, last: number }),
  /** Without a call: of the socket, which ends. */
  z.strictObject({
    t: z.literal('error'),
    call: number.optional(),
    code: z.string(),
    detail: z.string(),
    violations: z.array(violation).readonly(),
    retryAfterMs: z.number().optional(),
  }),
]);
export type Told = z.output<typeof told>;

export const toFrame = (frame: Asked | Told): Uint8Array => encode(frame, { ignoreUndefined: true });
/** @throws SpoolError INVALID_REQUEST */
export const fromCaller = (message: Uint8Array): Asked => read(asked, message);
/** @throws SpoolError INVALID_REQUEST */
export const fromServer = (message: Uint8Array): Told => read(told, message);

function read<T extends z.ZodType>(schema: T, message: Uint8Array): z.output<T> {
  let plain: unknown;
  try {
    plain = decode(message);
  } catch (cause) {
    throw new SpoolError('INVALID_REQUEST', 'the message is not MessagePack', { cause });
  }
  const parsed = schema.safeParse(plain);
  if (parsed.success) return parsed.data;
  const violations = parsed.error.issues.slice(0, 10).map(({ path: at, message: why }) => ({ pointer: `/${at.join('/')}`, message: why }));
  throw new SpoolError('INVALID_REQUEST', `the message is no frame of ${protocol}: ${violations[0]?.pointer} ${violations[0]?.message}`, {
    violations,
  });
}

export const errorFrame = (of: number | undefined, error: SpoolError): Told => ({
  t: 'error',
  ...(of === undefined ? {} : { call: of }),
  code: error.code,
  detail: error.code === 'INTERNAL' ? 'something unexpected happened; the log of the bundle tells more' : error.message,
  violations: error.violations,
  ...(error.retryAfterMs === undefined ? {} : { retryAfterMs: error.retryAfterMs }),
});
export const errorOf = ({ code, detail, violations, retryAfterMs }: Extract<Told, { t: 'error' }>): SpoolError =>
  new SpoolError(Object.hasOwn(catalogue, code) ? (code as ErrorCode) : 'INTERNAL', detail, {
    violations,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
