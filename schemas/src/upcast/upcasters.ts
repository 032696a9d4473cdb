import { SpoolError } from '../errors/spool-error.js';
import type { RecordSchema } from '../avro/schema.js';

/**
 * Turns values of an earlier payload into the next one, where Avro's own resolution (defaults, aliases, promotions) cannot: another name,
 * a field split in two, a value computed from others. Pure: it sees the value alone.
 */
export interface Upcaster<A = unknown, B = unknown> {
  readonly from: RecordSchema<A>;
  readonly to: RecordSchema<B>;
  up(value: A): B;
}

export const upcaster = <A, B>(from: RecordSchema<A>, to: RecordSchema<B>, up: (value: A) => B): Upcaster<A, B> => ({ from, to, up });

/** A type as it was written: its full name and its version (`version` of the schema, 1 when it has none). */
export interface WrittenType {
  readonly fullName: string;
  readonly version: number;
}

export interface Upcasters {
  /** The steps from what was written to `reader`; empty when there are none, and Avro's resolution has to do. */
  chain(written: WrittenType, reader: RecordSchema<unknown>): readonly Upcaster[];
  /** What a type becomes in the end: the name to find handlers and decoders by. */
  currentName(fullName: string): string;
}

const keyOf = ({ fullName, version }: WrittenType): string => `${fullName}@${version}`;
const writtenTypeOf = ({ fullName, schema }: RecordSchema<unknown>): WrittenType => ({ fullName, version: schema.version ?? 1 });

/** @throws SpoolError SCHEMA_INVALID when two begin at the same type and version, when they run in a circle, or when the versions of a type end at different names. */
export function createUpcasters(steps: readonly Upcaster[]): Upcasters {
  const byOrigin = new Map<string, Upcaster>();
  for (const step of steps) {
    const key = keyOf(writtenTypeOf(step.from));
    if (byOrigin.has(key)) throw new SpoolError('SCHEMA_INVALID', `Two upcasters begin at ${key}`);
    byOrigin.set(key, step);
  }
  const walk = (origin: string, isEnd: (key: string) => boolean): readonly Upcaster[] => {
    const path: Upcaster[] = [];
    for (let key = origin; !isEnd(key);) {
      const step = byOrigin.get(key);
      if (step === undefined) break;
      path.push(step);
      if (path.length > steps.length) throw new SpoolError('SCHEMA_INVALID', `The upcasters from ${origin} run in a circle`);
      key = keyOf(writtenTypeOf(step.to));
    }
    return path;
  };
  const current = new Map<string, string>();
  for (const [key, { from }] of byOrigin) {
    const end = walk(key, () => false).at(-1)!.to.fullName;
    const other = current.get(from.fullName);
    if (other !== undefined && other !== end)
      throw new SpoolError('SCHEMA_INVALID', `Versions of ${from.fullName} end at ${other} and at ${end}; it must be one of them`);
    current.set(from.fullName, end);
  }
  return {
    chain(written, reader) {
      const goal = keyOf(writtenTypeOf(reader));
      const path = walk(keyOf(written), (key) => key === goal);
      const last = path.at(-1);
      return last !== undefined && keyOf(writtenTypeOf(last.to)) === goal ? path : [];
    },
    currentName: (fullName) => current.get(fullName) ?? fullName,
  };
}
