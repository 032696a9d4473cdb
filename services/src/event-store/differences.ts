/** One change, after RFC 6902, with what was there before. */
export interface Change {
  readonly op: 'add' | 'remove' | 'replace';
  /** JSON pointer. */
  readonly path: string;
  readonly before?: unknown;
  readonly after?: unknown;
}

/**
 * The changes that lead from one JSON value to another, in an order in which they can be applied. Of lists what is the same at the head and at
 * the tail is left alone, and what lies between is compared place by place.
 */
export function differences(before: unknown, after: unknown): readonly Change[] {
  const changes: Change[] = [];
  compare(before, after, '', changes);
  return changes;
}

function compare(before: unknown, after: unknown, path: string, changes: Change[]): void {
  if (Object.is(before, after)) return;
  if (Array.isArray(before) && Array.isArray(after)) compareLists(before, after, path, changes);
  else if (isRecord(before) && isRecord(after)) compareRecords(before, after, path, changes);
  else changes.push({ op: 'replace', path, before, after });
}

function compareRecords(before: Fields, after: Fields, path: string, changes: Change[]): void {
  for (const [name, value] of Object.entries(before)) {
    const at = `${path}/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`;
    if (Object.hasOwn(after, name)) compare(value, after[name], at, changes);
    else changes.push({ op: 'remove', path: at, before: value });
  }
  for (const [name, value] of Object.entries(after)) {
    if (Object.hasOwn(before, name)) continue;
    changes.push({ op: 'add', path: `${path}/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`, after: value });
  }
}

function compareLists(before: readonly unknown[], after: readonly unknown[], path: string, changes: Change[]): void {
  const shorter = Math.min(before.length, after.length);
  let head = 0;
  while (head < shorter && same(before[head], after[head])) head += 1;
  let tail = 0;
  while (tail < shorter - head && same(before[before.length - 1 - tail], after[after.length - 1 - tail])) tail += 1;
  const between = shorter - tail;
  for (let at = head; at < between; at++) compare(before[at], after[at], `${path}/${at}`, changes);
  for (let at = before.length - tail - 1; at >= between; at--) changes.push({ op: 'remove', path: `${path}/${at}`, before: before[at] });
  for (let at = between; at < after.length - tail; at++) changes.push({ op: 'add', path: `${path}/${at}`, after: after[at] });
}

const same = (a: unknown, b: unknown): boolean => differences(a, b).length === 0;

type Fields = Readonly<Record<string, unknown>>;
const isRecord = (value: unknown): value is Fields => typeof value === 'object' && value !== null && !Array.isArray(value);
