import { SpoolError } from '@spool/schemas';
import { offset, type ConsumedRecord, type Offset } from '../kafka/port.js';
import { partitionKey } from '../store/store.js';
import { backOffMs } from './retry.js';
import type { Group } from './work.js';

/**
 * Thrown by a handler: its partition is not to pass this record. What stands before it is handled, other partitions go on, and the record is tried again
 * now and then, or when an order moves the consumer.
 */
export const standsAt = ({ topic, partition, offset: at }: ConsumedRecord, why: string, cause?: unknown): SpoolError =>
  new SpoolError('PARTITION_HELD', `${topic}-${partition}@${at}: ${why}`, { facts: { topic, partition, offset: at.toString() }, cause });

interface Held {
  readonly at: Offset;
  readonly error: SpoolError;
  readonly failures: number;
  /** When it is tried again, by `performance.now()`. */
  readonly due: number;
}

/** The partitions of a task that stand still. */
export class Standstill {
  readonly #held = new Map<string, Held>();

  /** @returns where the partition stands from now on; undefined for any other error */
  hold(error: SpoolError): { readonly key: string; readonly at: Offset } | undefined {
    const { topic, partition, offset: stands } = error.facts;
    if (error.code !== 'PARTITION_HELD' || topic === undefined || stands === undefined) return undefined;
    const key = partitionKey({ topic: String(topic), partition: Number(partition) });
    const at = offset(String(stands));
    const before = this.#held.get(key);
    const failures = before?.at === at ? before.failures + 1 : 0;
    this.#held.set(key, { at, error, failures, due: performance.now() + backOffMs(failures) });
    return { key, at };
  }

  /** The partitions that are to be tried now; each is told once. */
  due(): readonly string[] {
    const now = performance.now();
    const keys = [...this.#held].flatMap(([key, { due }]) => (due <= now ? [key] : []));
    for (const key of keys) this.#held.set(key, { ...this.#held.get(key)!, due: Number.POSITIVE_INFINITY });
    return keys;
  }

  /** Milliseconds until one of them is due; infinity when none is. */
  get nextMs(): number {
    let next = Number.POSITIVE_INFINITY;
    for (const { due } of this.#held.values()) next = Math.min(next, due - performance.now());
    return Math.max(0, next);
  }

  get error(): SpoolError | undefined {
    return this.#held.values().next().value?.error;
  }

  /** What is beyond the record has passed it. */
  handled({ positions }: Group): void {
    if (this.#held.size === 0) return;
    for (const [key, position] of positions) if (position > (this.#held.get(key)?.at ?? position)) this.#held.delete(key);
  }

  clear(): void {
    this.#held.clear();
  }
}

/** The group up to where a partition stands. */
export const upTo = ({ records, positions }: Group, { key, at }: { readonly key: string; readonly at: Offset }): Group => ({
  records: records.filter((record) => record.offset < at || partitionKey(record) !== key),
  positions: new Map(positions).set(key, at),
});
