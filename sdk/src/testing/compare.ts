import { deepStrictEqual } from 'node:assert';
import { isDeepStrictEqual } from 'node:util';
import { roundTrip, type RecordSchema } from '@spool/schemas';

/** @throws AssertionError that names what was compared, and shows the difference */
export function same(what: string, actual: unknown, expected: unknown): void {
  try {
    deepStrictEqual(copied(actual), copied(expected));
  } catch (thrown) {
    // No `instanceof`: where a test runner has a realm of its own, the error comes from another.
    const error = thrown as Error;
    error.message = `${what}\n${error.message}`;
    throw error;
  }
}

export const equal = (a: unknown, b: unknown): boolean => isDeepStrictEqual(copied(a), copied(b));

/**
 * Freezes plain data through and through, so that whoever changes it is found out.
 * @throws Error where it is not plain data: a snapshot, or a row, would not bring it back
 */
export function frozenPlain<T>(value: T, what: string): T {
  walk(value, '', (path, found) => {
    throw new Error(`${what} is plain data (text, numbers, booleans, null, lists, objects): ${path || 'it'} is ${found}`);
  });
  return value;
}

/** The payload as whoever reads it from Kafka has it, frozen. @throws SpoolError INVALID_PAYLOAD */
export function received<T>(schema: RecordSchema<T>, value: unknown): T {
  const payload = copied(roundTrip(schema, value as T)) as T;
  walk(payload, '', () => undefined);
  return payload;
}

/** Runs what must leave its frozen arguments alone. @throws Error that says so when it does not */
export function untouching<T>(what: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    const { name, message } = cause as Error;
    if (name !== 'TypeError' || !/read only property|not extensible|Cannot delete property/.test(message)) throw cause;
    throw new Error(`${what} changes what it is given; it must give new values instead: ${message}`, { cause });
  }
}

function walk(value: unknown, path: string, notPlain: (path: string, found: string) => void): void {
  if (typeof value === 'number' && !Number.isFinite(value)) return notPlain(path, String(value));
  if (value === null || !['object', 'function', 'bigint', 'symbol'].includes(typeof value)) return;
  if (!isPlain(value)) return notPlain(path, `a ${typeof value === 'object' ? nameOf(value) : typeof value}`);
  Object.freeze(value);
  for (const [key, inner] of Object.entries(value)) walk(inner, `${path}/${key}`, notPlain);
}

/** Also of another realm, as test runners have them: the prototype of a plain object has none itself. */
function isPlain(value: unknown): value is object {
  if (typeof value !== 'object' || value === null) return false;
  if (Array.isArray(value)) return true;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}
const nameOf = (value: object): string => value.constructor.name;

/** The same as objects of this realm and of no class: what differs in that alone compares as different though it looks alike. */
function copied(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(copied);
  if (Object.prototype.toString.call(value) !== '[object Object]') return value;
  return Object.fromEntries(Object.entries(value as object).map(([key, inner]) => [key, copied(inner)]));
}
