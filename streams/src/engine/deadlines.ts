/** A time in milliseconds, and the id of what is due then. */
export interface Deadline {
  readonly at: number;
  readonly id: string;
}

/**
 * A binary heap of deadlines, in order of time and then of id. It may hold entries that are out of date: whoever takes one looks at the row it
 * stands for, and passes over what has moved. So moving a deadline costs one push at the most, however often it moves.
 */
export class DeadlineHeap {
  readonly #heap: Deadline[] = [];
  #taken: Deadline[] = [];

  get next(): number | undefined {
    return this.#heap[0]?.at;
  }

  push(at: number, id: string): void {
    const heap = this.#heap;
    let index = heap.push({ at, id }) - 1;
    for (let parent = (index - 1) >> 1; index > 0 && before(heap[index]!, heap[parent]!); parent = (index - 1) >> 1) {
      this.#swap(index, parent);
      index = parent;
    }
  }

  /** The earliest, if it is due at `now`; entries that say the same are taken as one. */
  take(now: number): Deadline | undefined {
    const first = this.#heap[0];
    if (first === undefined || first.at > now) return undefined;
    do this.#pop();
    while (this.#heap[0]?.at === first.at && this.#heap[0].id === first.id);
    this.#taken.push(first);
    return first;
  }

  /** What was taken since the last call is settled, or comes back. */
  settle(back: boolean): void {
    const taken = this.#taken;
    this.#taken = [];
    if (back) for (const { at, id } of taken) this.push(at, id);
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    heap[0] = last;
    for (let index = 0; ;) {
      const [left, right] = [2 * index + 1, 2 * index + 2];
      let least = index;
      if (left < heap.length && before(heap[left]!, heap[least]!)) least = left;
      if (right < heap.length && before(heap[right]!, heap[least]!)) least = right;
      if (least === index) return;
      this.#swap(index, least);
      index = least;
    }
  }

  #swap(a: number, b: number): void {
    const heap = this.#heap;
    const held = heap[a]!;
    heap[a] = heap[b]!;
    heap[b] = held;
  }
}

const before = (a: Deadline, b: Deadline): boolean => a.at < b.at || (a.at === b.at && a.id < b.id);
