import type { ConsumedRecord, ProducerRecord } from '@spool/streams';

/**
 * What every contender does, in bytes that they all share. Input records are numbered; `count` answers each with the number of records of its key so
 * far, `join` with its value and the value of its key in the table.
 */
export const workloads = ['count', 'join'] as const;
export type Workload = (typeof workloads)[number];

export const partitions = 3;
const valueBytes = 100;

export interface EngineTopics {
  readonly input: string;
  /** One row for each key; same partitions as the input. */
  readonly table: string;
  readonly output: string;
}

/** The key of an input record: all keys occur, in an order that jumps. */
export const keyOf = (index: number, keys: number): string => `k${(Math.imul(index, 0x9e3779b1) >>> 0) % keys}`;

export function inputRecord(topic: string, index: number, keys: number): ProducerRecord {
  const value = Buffer.alloc(valueBytes, 'x');
  value.writeUInt32BE(index);
  return { topic, key: keyOf(index, keys), value };
}

const rowOf = (key: string): Buffer => Buffer.from(`row of ${key} `.padEnd(valueBytes, 'y'));
export const tableRecord = (topic: string, key: number): ProducerRecord => ({ topic, key: `k${key}`, value: rowOf(`k${key}`) });

/** The value of a count's result. */
export function countValue(count: number): Buffer {
  const value = Buffer.allocUnsafe(8);
  value.writeBigUInt64BE(BigInt(count));
  return value;
}
export const countOf = (value: Buffer): number => Number(value.readBigUInt64BE());
/** The value of a join's result. */
export const joinedValue = (input: Buffer, row: Buffer): Buffer => Buffer.concat([input, row]);

/** Tells of each result which input it answers, and finds what is lost, doubled or wrong. */
export interface Answers {
  /** The input with the next number was sent to this key. */
  expect(key: string): void;
  /** Numbers of the inputs that this record answers. @throws Error when it is doubled or wrong */
  take(record: ConsumedRecord): readonly number[];
  readonly expected: number;
  readonly answered: number;
}

/** @param latestOnly a count may stand for the counts of its key before it, as a cache leaves them out */
export function createAnswers(workload: Workload, latestOnly = false): Answers {
  const inputs = new Map<string, number[]>();
  const seen: boolean[] = [];
  let answered = 0;
  const numbers = (key: string, value: Buffer): readonly number[] => {
    if (workload === 'join') {
      const number = value.readUInt32BE();
      if (!value.subarray(valueBytes).equals(rowOf(key)))
        throw new Error(`the result of input ${number} is not joined with the row of ${key}`);
      return [number];
    }
    const count = countOf(value);
    const mine = inputs.get(key) ?? [];
    if (count < 1 || count > mine.length) throw new Error(`${key} was counted to ${count}, and sent ${mine.length} times`);
    if (!latestOnly) return [mine[count - 1]!];
    let from = count;
    while (from > 0 && seen[mine[from - 1]!] !== true) from -= 1;
    return mine.slice(from, count);
  };
  return {
    expect(key) {
      const mine = inputs.get(key);
      if (mine === undefined) inputs.set(key, [seen.length]);
      else mine.push(seen.length);
      seen.push(false);
    },
    take({ key, value }) {
      if (key === null || value === null) throw new Error('a result without key or value');
      const found = numbers(key.toString(), value);
      if (found.length === 0) throw new Error(`a result for ${key.toString()} came twice`);
      for (const number of found) {
        if (seen[number] !== false) throw new Error(`input ${number} of ${key.toString()} has two results, or was never sent`);
        seen[number] = true;
      }
      answered += found.length;
      return found;
    },
    get expected() {
      return seen.length;
    },
    get answered() {
      return answered;
    },
  };
}
