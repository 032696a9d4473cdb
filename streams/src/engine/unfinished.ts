import type { ConsumedRecord, Offset } from '../kafka/port.js';

/**
 * The records of one partition that were taken and are not finished. The place that all before it are finished is the first of them, or the end
 * of what was taken: so transaction markers and holes, which no record tells of, never hold it up.
 */
export class Unfinished {
  /** Offset -> timestamp. Records are taken in the order of their offsets, so the first is the lowest. */
  readonly #open = new Map<Offset, number>();

  constructor(private taken: Offset) {}

  /** @param next the position after the records, beyond markers and holes */
  take(records: readonly ConsumedRecord[], next: Offset): void {
    for (const record of records) this.#open.set(record.offset, record.timestamp);
    this.taken = next;
  }

  finish(at: Offset): void {
    this.#open.delete(at);
  }

  /** Everything below is finished. */
  get reached(): Offset {
    return first(this.#open.keys()) ?? this.taken;
  }

  /** Everything below will be finished when these are as well. */
  reachedWith(offsets: ReadonlySet<Offset>): Offset {
    for (const open of this.#open.keys()) if (!offsets.has(open)) return open;
    return this.taken;
  }

  /** Timestamp of the lowest unfinished record. */
  get oldest(): number | undefined {
    return first(this.#open.values());
  }
}

const first = <T>(values: Iterator<T, undefined>): T | undefined => values.next().value;
