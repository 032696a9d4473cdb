import type { Staged } from '../store/staged.js';
import type { StoreReads } from '../store/store.js';
import { DeadlineHeap, type Deadline } from './deadlines.js';
import type { StoreSpec } from './stores.js';

/** Due once, at a time of its clock; one for each name and key. */
export interface Timer {
  readonly name: string;
  readonly key: string;
  /** `wall`: the clock of the machine. `stream`: the highest record timestamp that the task has seen. */
  readonly clock: 'wall' | 'stream';
  /** Milliseconds since the epoch. A time that has passed is due at once. */
  readonly at: number;
}

interface TimerRow {
  readonly clock: Timer['clock'];
  readonly at: number;
}

const timersTable = '$timers';
/** Between name and key; a name cannot hold it. (LMDB takes a longer text with NUL in it for several.) */
const separator = '\u001f';

/** Timers are rows like others: they survive restarts and moves with the changelog. */
export const timersSpec: StoreSpec = {
  name: timersTable,
  encode: (row) => Buffer.from(JSON.stringify(row)),
  decode: (bytes) => JSON.parse(bytes.toString()) as TimerRow,
};

export class Timers {
  readonly #heaps = { wall: new DeadlineHeap(), stream: new DeadlineHeap() };
  readonly #rows;

  constructor(staged: Pick<Staged, 'table'>, store: StoreReads) {
    this.#rows = staged.table<TimerRow>(timersTable);
    for (const [id, row] of store.range(timersTable)) {
      const { clock, at } = row as TimerRow;
      this.#heaps[clock].push(at, id);
    }
  }

  schedule({ name, key, clock, at }: Timer): void {
    const id = name + separator + key;
    this.#rows.put(id, { clock, at });
    this.#heaps[clock].push(at, id);
  }

  cancel(name: string, key: string): void {
    const id = name + separator + key;
    if (this.#rows.get(id) !== undefined) this.#rows.delete(id);
  }

  next(clock: Timer['clock']): number | undefined {
    return this.#heaps[clock].next;
  }

  /** What is due, `limit` at the most. A timer that is set meanwhile waits for the next call, also if it is due already. */
  due(clock: Timer['clock'], now: number, limit: number): readonly Deadline[] {
    const due: Deadline[] = [];
    for (let next = this.#heaps[clock].take(now); next !== undefined; next = this.#heaps[clock].take(now)) {
      due.push(next);
      if (due.length === limit) break;
    }
    return due;
  }

  /** Takes a timer that is due, if it was neither moved nor cancelled: it will not fire again once the group is committed. */
  take(clock: Timer['clock'], { at, id }: Deadline): Timer | undefined {
    const row = this.#rows.get(id);
    if (row?.clock !== clock || row.at !== at) return undefined;
    this.#rows.delete(id);
    const end = id.indexOf(separator);
    return { name: id.slice(0, end), key: id.slice(end + 1), ...row };
  }

  /** The group under way is durable, or given up. */
  settle(givenUp: boolean): void {
    this.#heaps.wall.settle(givenUp);
    this.#heaps.stream.settle(givenUp);
  }
}
