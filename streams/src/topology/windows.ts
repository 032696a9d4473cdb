import { SpoolError } from '@spool/schemas';
import { inTurn, type Pending, type Run } from './graph.js';
import { windowed, type KeySerde, type Windowed } from './serde.js';

/** Windows of one size, aligned to the epoch. All in milliseconds. */
export interface Windows {
  readonly sizeMs: number;
  /** From one start to the next; equal to the size where windows do not overlap. */
  readonly advanceMs: number;
  /** How long after its end a window takes late records, in stream time. */
  readonly graceMs: number;
  /** How long after its end a window can be read, in stream time; not less than the grace. */
  readonly retentionMs: number;
}
export interface WindowOptions {
  /** @default 0: records that come after the end of their window are dropped */
  readonly graceMs?: number;
  /** @default the grace */
  readonly retentionMs?: number;
}

export const tumbling = (sizeMs: number, options: WindowOptions = {}): Windows => hopping(sizeMs, sizeMs, options);

export function hopping(sizeMs: number, advanceMs: number, { graceMs = 0, retentionMs = graceMs }: WindowOptions = {}): Windows {
  if (!(sizeMs > 0) || !(advanceMs > 0) || advanceMs > sizeMs || !(graceMs >= 0) || !(retentionMs >= graceMs)) {
    const given = JSON.stringify({ sizeMs, advanceMs, graceMs, retentionMs });
    throw new SpoolError('INVALID_CONFIG', `windows need 0 < advance <= size and 0 <= grace <= retention, not ${given}`);
  }
  return { sizeMs, advanceMs, graceMs, retentionMs };
}

/** The starts of the windows that hold a timestamp, earliest first. */
export function* startsOf({ sizeMs, advanceMs }: Windows, timestamp: number): Iterable<number> {
  const first = Math.floor(Math.max(0, timestamp - sizeMs + advanceMs) / advanceMs) * advanceMs;
  for (let start = first; start <= timestamp; start += advanceMs) yield start;
}

/** Rows of windows lie in the order of their times, so that those that are due stand first. */
const digits = 14;
export const timedKey = (at: number, rest: string): string => `${String(at).padStart(digits, '0')}/${rest}`;
export const splitTimed = (key: string): [at: number, rest: string] => [Number(key.slice(0, digits)), key.slice(digits + 1)];

/** Keys of a window's rows as its store has them: by start, then by key. For reading the store of a windowed table. */
export const windowRows = <K>(key: KeySerde<K>, sizeMs: number): KeySerde<Windowed<K>> => ({
  ...windowed(key, sizeMs),
  toText: ({ key: of, start }) => timedKey(start, key.toText(of)),
  fromText(text) {
    const [start, of] = splitTimed(text);
    return { key: key.fromText(of), start, end: start + sizeMs };
  },
});

/** Takes rows out of a store when stream time has come to them. */
export interface Sweep {
  /** A row was written that is due at `at`. */
  note(at: number): void;
  look(run: Run): Pending;
}

const sweptAtOnce = 1000;

/** @param dueOf when a row is due, by its key; rows lie in this order */
export function sweep(store: string, dueOf: (key: string) => number, onDue: (key: string, value: unknown, run: Run) => Pending): Sweep {
  // A group that is given up takes back what was swept: each group looks for itself.
  let group: unknown;
  let next = Number.NEGATIVE_INFINITY;
  return {
    note: (at) => (next = Math.min(next, at)),
    look(run) {
      const { task } = run;
      if (task !== group) {
        group = task;
        next = Number.NEGATIVE_INFINITY;
      }
      if (task.streamTime < next) return;
      const rows = task.table<unknown>(store);
      const due: (readonly [string, unknown])[] = [];
      next = Number.POSITIVE_INFINITY;
      for (const row of rows.range()) {
        const at = dueOf(row[0]);
        if (at > task.streamTime || due.length === sweptAtOnce) {
          next = at;
          break;
        }
        due.push(row);
      }
      return inTurn(due, ([key, value]) => {
        rows.delete(key);
        return onDue(key, value, run);
      });
    },
  };
}
