import { offset, type ConsumedRecord, type Offset, type Rewind, type StoredReplay } from '@spool/streams';
import type { Rewound } from './block-range.js';
import { cutBlocks, type Block, type BlockBounds, type CutRequest, type Stretch } from './block.js';

/** In the place of the epoch where no order was given. */
export const noOrder = -1;

/** @param reached where the next block of the partition would begin; undefined: nothing was read of it */
export function rewoundBy(
  { epoch, replayId, now }: Rewind,
  start: Offset,
  target: Offset,
  reached: Offset | undefined,
  before?: Rewound,
): Rewound {
  const until = Math.max(Number(reached ?? start), before?.until ?? 0);
  const counts = { startedAt: now, records: 0, skipped: 0 };
  return ended(
    { epoch: Number(epoch), id: replayId, state: 'running', start: Number(start), target: Number(target), until, ...counts },
    start,
  );
}

/** Blocks of what is not stored, and none of what is. The block under way is made again as it was, since nobody knows whether it is stored. */
export async function cutMissing(
  request: CutRequest & { readonly rewound: Rewound },
  storedIn: (stretch: Stretch) => Promise<ReadonlySet<bigint>>,
  bounds: BlockBounds,
): Promise<{ readonly blocks: readonly Block[]; readonly rewound: Rewound }> {
  const { partition, shape, repeat, to } = request;
  const blocks: Block[] = [];
  let at = request.rewound;
  const cut = async (part: Partial<CutRequest>): Promise<void> => {
    for (const block of await cutBlocks({ ...request, repeat: undefined, ...part }, bounds)) {
      blocks.push({ ...block, rewound: at });
      at = counted(at, 'records', block.size);
    }
  };
  // 1. The block under way.
  let [begun, rest] = split(request.records, offset(repeat === undefined ? 0n : repeat.last + 1n));
  if (repeat !== undefined) await cut({ records: begun, to: offset(repeat.last + 1n), repeat });
  // 2. What may be stored.
  [begun, rest] = split(rest, offset(BigInt(at.until)));
  if (begun.length > 0) {
    const stored = await storedIn({ partition, shape, from: begun[0]!.offset, to: next(begun) });
    for (const run of runs(begun, ({ offset: each }) => stored.has(each))) {
      if (stored.has(run[0]!.offset)) at = counted(at, 'skipped', run.length);
      else await cut({ records: run, from: run[0]!.offset, to: next(run) });
    }
  }
  // 3. What is new.
  if (rest.length > 0) await cut({ records: rest, from: rest[0]!.offset });
  return { blocks, rewound: ended(at, to) };
}

/** Of all partitions of a task, those of the last order. */
export function replayOf(all: ReadonlyMap<string, Rewound>): StoredReplay | undefined {
  const epoch = Math.max(...[...all.values()].map((each) => each.epoch));
  const parts = epoch === noOrder ? [] : [...all].filter(([, each]) => each.epoch === epoch);
  const first = parts[0]?.[1];
  if (first === undefined) return undefined;
  const has = (state: Rewound['state']): boolean => parts.some(([, each]) => each.state === state);
  const places = (which: 'start' | 'target'): Map<string, Offset> =>
    new Map(parts.map(([key, { [which]: at }]) => [key, offset(BigInt(at))]));
  const sum = (which: 'records' | 'skipped'): number => parts.reduce((total, [, { [which]: count }]) => total + count, 0);
  return {
    id: first.id,
    state: has('running') ? 'running' : has('cancelled') ? 'cancelled' : 'completed',
    starts: places('start'),
    targets: places('target'),
    startedAt: first.startedAt,
    records: sum('records'),
    skipped: sum('skipped'),
  };
}

const ended = (at: Rewound, reached: Offset): Rewound =>
  at.state === 'running' && Number(reached) >= at.target ? { ...at, state: 'completed' } : at;
const counted = (at: Rewound, what: 'records' | 'skipped', count: number): Rewound =>
  at.state === 'running' ? { ...at, [what]: at[what] + count } : at;
const next = (records: readonly ConsumedRecord[]): Offset => offset(records.at(-1)!.offset + 1n);

function split(records: readonly ConsumedRecord[], from: Offset): [below: readonly ConsumedRecord[], rest: readonly ConsumedRecord[]] {
  const found = records.findIndex((record) => record.offset >= from);
  const at = found === -1 ? records.length : found;
  return [records.slice(0, at), records.slice(at)];
}

/** Neighbours of which `test` says the same. */
function runs(records: readonly ConsumedRecord[], test: (record: ConsumedRecord) => boolean): ConsumedRecord[][] {
  const found: ConsumedRecord[][] = [];
  let before: boolean | undefined;
  for (const record of records) {
    const is = test(record);
    if (is === before) found.at(-1)!.push(record);
    else found.push([record]);
    before = is;
  }
  return found;
}
