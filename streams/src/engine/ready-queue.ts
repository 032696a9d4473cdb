/**
 * What may be started, in classes that each get their share where all of them wait: with shares of 8, 3 and 1 the first gets eight of twelve
 * turns, spread evenly, and the last is never starved. An idle class leaves its share to the others.
 */
export class ReadyQueue<T extends object> {
  readonly #queues: T[][];
  /** How much each class is owed; the most owed goes next. */
  readonly #owed: number[];
  /** The class in which each waits; an entry in another queue is passed over. */
  readonly #waits = new Map<T, number>();

  constructor(private readonly shares: readonly number[]) {
    this.#queues = shares.map(() => []);
    this.#owed = shares.map(() => 0);
  }

  /** One that waits already moves. */
  push(item: T, of: number): void {
    this.#waits.set(item, of);
    this.#queues[of]!.push(item);
  }

  take(): T | undefined {
    const of = this.#choose();
    if (of === undefined) return undefined;
    const item = this.#queues[of]!.shift()!;
    this.#waits.delete(item);
    return item;
  }

  clear(): void {
    for (const queue of this.#queues) queue.length = 0;
    this.#waits.clear();
    this.#owed.fill(0);
  }

  #choose(): number | undefined {
    if (this.#waits.size === 0) return undefined;
    let chosen: number | undefined;
    let total = 0;
    for (const [of, queue] of this.#queues.entries()) {
      while (queue.length > 0 && this.#waits.get(queue[0]!) !== of) queue.shift();
      if (queue.length === 0) {
        this.#owed[of] = 0;
        continue;
      }
      total += this.shares[of]!;
      this.#owed[of]! += this.shares[of]!;
      if (chosen === undefined || this.#owed[of]! > this.#owed[chosen]!) chosen = of;
    }
    if (chosen !== undefined) this.#owed[chosen]! -= total;
    return chosen;
  }
}
