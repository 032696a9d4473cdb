/** What a keyed count has left behind, to be compared with what went in. */
export interface Evidence {
  /** Key -> how many records of it were sent. */
  readonly sent: ReadonlyMap<string, number>;
  /** Key -> its results, in the order of the output. */
  readonly outputs: ReadonlyMap<string, readonly number[]>;
  readonly tasks: readonly TaskEvidence[];
}
export interface TaskEvidence {
  readonly task: string;
  /** Every change of a row, in the order of the changelog. */
  readonly changes: readonly RowChange[];
  /** One for each instance that has had the task. */
  readonly stores: readonly StoreEvidence[];
}
export interface RowChange {
  readonly offset: bigint;
  readonly key: string;
  readonly count: number;
}
export interface StoreEvidence {
  readonly instance: string;
  /** The changelog's changes below this are in the store; undefined: the store does not say. */
  readonly position: bigint | undefined;
  readonly rows: ReadonlyMap<string, number>;
}

/** All that is wrong with it, a sentence each; empty when every record was counted once. */
export function differences({ sent, outputs, tasks }: Evidence): readonly string[] {
  const found: string[] = [];
  // 1. The output has 1..n for each key, once each and in order.
  for (const [key, count] of sent) {
    const mine = outputs.get(key) ?? [];
    const seen = new Set(mine);
    const lost = range(count).filter((n) => !seen.has(n));
    const doubled = mine.length - seen.size;
    if (lost.length > 0) found.push(`output: ${lost.length} of ${count} results of ${key} are lost, the first is ${lost[0]}`);
    if (doubled > 0) found.push(`output: ${doubled} results of ${key} are doubled`);
    if (mine.some((n) => n > count)) found.push(`output: ${key} is counted to ${Math.max(...mine)}, and was sent ${count} times`);
    if (lost.length === 0 && doubled === 0 && mine.some((n, index) => n !== index + 1))
      found.push(`output: results of ${key} are out of order`);
  }
  for (const key of outputs.keys()) if (!sent.has(key)) found.push(`output: ${key} was never sent`);
  // 2. The changelog comes to the same counts.
  const counts = new Map(tasks.flatMap(({ changes }) => [...folded(changes)]));
  found.push(...unequal('changelog', sent, counts));
  // 3. Each store is the changelog as far as it says to have it, and one of each task has it all.
  for (const { task, changes, stores } of tasks) {
    for (const { instance, position, rows } of stores) {
      const upTo = position ?? 0n;
      found.push(...unequal(`store of task ${task} on ${instance}`, folded(changes.filter(({ offset }) => offset < upTo)), rows));
    }
    const last = changes.at(-1)?.offset;
    if (last !== undefined && !stores.some(({ position = 0n }) => position > last))
      found.push(`no store of task ${task} has the whole changelog`);
  }
  return found;
}

const range = (count: number): number[] => Array.from({ length: count }, (_, index) => index + 1);

const folded = (changes: readonly RowChange[]): Map<string, number> => new Map(changes.map(({ key, count }) => [key, count]));

function unequal(where: string, wanted: ReadonlyMap<string, number>, found: ReadonlyMap<string, number>): readonly string[] {
  return [...new Set([...wanted.keys(), ...found.keys()])]
    .filter((key) => wanted.get(key) !== found.get(key))
    .map((key) => `${where}: ${key} is ${String(found.get(key))} and should be ${String(wanted.get(key))}`);
}
