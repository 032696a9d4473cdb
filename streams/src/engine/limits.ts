import { offset, type Offset } from '../kafka/port.js';
import { partitionKey } from '../store/store.js';
import type { Group } from './work.js';

interface Reading {
  take(limit: number, room: (of: number) => number): Group | undefined;
  position(key: string): Offset | undefined;
  still(key: string): void;
  release(key: string): void;
}

/** How far a task may go in each partition: a partition that is at its limit, or beyond it, is not read until the limits change. */
export class Limits {
  #limits: ReadonlyMap<string, Offset> | undefined;
  readonly #reached = new Set<string>();
  #changed = false;

  constructor(private readonly intake: Reading) {}

  set(limits: ReadonlyMap<string, Offset> | undefined): void {
    this.#limits = limits;
    this.#changed = true;
  }

  /** After a change, lets the partitions go on that stand at a limit. Nothing may be under way: a group that was cut there would be read again. */
  release(): void {
    if (!this.#changed) return;
    this.#changed = false;
    for (const key of this.#reached) this.intake.release(key);
    this.#reached.clear();
  }

  /** The next group of the intake, or what of it lies below the limits. */
  take(limit: number, room: (of: number) => number): Group | undefined {
    for (;;) {
      const taken = this.intake.take(limit, room);
      const group = taken === undefined ? undefined : this.within(taken);
      if (taken === undefined || group !== undefined) return group;
    }
  }

  /** What of a group lies below the limits; undefined: nothing. */
  within(group: Group): Group | undefined {
    const beyond = [...group.positions].filter(([key, at]) => at > (this.#limits?.get(key) ?? at));
    if (beyond.length === 0) return group;
    const positions = new Map(group.positions);
    for (const [key] of beyond) {
      const limit = this.#limits!.get(key)!;
      if (limit > (this.intake.position(key) ?? offset(0))) positions.set(key, limit);
      else positions.delete(key);
      this.#reached.add(key);
      this.intake.still(key);
    }
    if (positions.size === 0) return undefined;
    return { records: group.records.filter((record) => record.offset < (positions.get(partitionKey(record)) ?? 0n)), positions };
  }
}
