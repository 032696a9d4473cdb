import { setTimeout as sleep } from 'node:timers/promises';
import { SpoolError } from '@spool/schemas';
import {
  offset,
  partitionKey,
  type ConsumedRecord,
  type Group,
  type Kafka,
  type Membership,
  type Offset,
  type RecordPosition,
  type TaskRequest,
  type TaskWork,
} from '@spool/streams';
import { fromMetadata, toMetadata, type BlockRange } from './block-range.js';
import { cutBlocks, defaultMaxRows, type Block, type BlockBounds, type Insert } from './block.js';
import type { RowShape } from './rows.js';

/** Where blocks go. */
export interface BlockStore {
  /** Stores the rows, or nothing when the token is known. @throws SpoolError UNAVAILABLE; the outcome is then unknown */
  insert(insert: Insert): Promise<void>;
}

export interface SinkWorkOptions extends BlockBounds {
  readonly consumer: string;
  readonly kafka: Kafka;
  readonly store: BlockStore;
  readonly task: TaskRequest;
  readonly shapeOf: (topic: string) => RowShape;
  /** The least time between two rounds of inserts, so that blocks grow at a low load; rows are visible that much later. Milliseconds. @default 500 */
  readonly gatherMs?: number;
}

/** One source partition. */
interface Lane {
  /** Where the next block begins; undefined until the first record of a partition that was never read. */
  next: Offset | undefined;
  /** A block whose range was committed and whose insert may or may not have happened. */
  repeat: BlockRange | undefined;
  /** Records of `repeat` read so far. */
  held: readonly ConsumedRecord[];
}

/** What is left to store of a group, so that an attempt goes on where the one before failed. */
interface Plan {
  readonly group: Group;
  /** Blocks of different partitions are inserted together, those of one partition one after the other. */
  readonly rounds: (readonly Block[])[];
  /** Of what its blocks leave behind in their partitions. */
  readonly done: readonly (RecordPosition & { readonly metadata: string })[];
  /** The attempt under way. */
  running: Promise<void> | undefined;
}

/**
 * Stores every record exactly once. The range of a block is committed as a member of the group before the block is inserted: whoever takes the
 * partition over repeats just that block, under the same token, and the store drops it. A member whose generation has passed cannot
 * commit, so the only block that it can still insert is the one that its successor repeats. While much waits, a group is cut into blocks while the
 * one before it is inserted.
 */
export async function sinkWork(options: SinkWorkOptions): Promise<TaskWork> {
  const { consumer, kafka, store, task, shapeOf, gatherMs = 500, maxRows = defaultMaxRows } = options;
  const membership = memberOf(task);
  const lanes = new Map<string, Lane>();
  const positions = new Map<string, Offset>();
  const owned = new Set(task.partitions.map(partitionKey));
  const topics = [...new Set(task.partitions.map(({ topic }) => topic))];
  for (const at of await kafka.admin.committedOffsets(consumer, topics)) {
    const key = partitionKey(at);
    if (!owned.has(key)) continue;
    positions.set(key, at.offset);
    lanes.set(key, { next: at.offset, repeat: fromMetadata(at.offset, at.metadata), held: [] });
  }
  /** Two at the most; the first is stored, and then the second. */
  const plans: Plan[] = [];

  const planOf = async (group: Group): Promise<Plan> => {
    const byPartition = new Map<string, ConsumedRecord[]>();
    let run: ConsumedRecord[] = [];
    for (const record of group.records) {
      // Neighbours are mostly of the same partition.
      if (run[0]?.partition !== record.partition || run[0].topic !== record.topic) {
        const key = partitionKey(record);
        run = byPartition.get(key) ?? [];
        byPartition.set(key, run);
      }
      run.push(record);
    }
    const rounds: Block[][] = [];
    const after: (() => void)[] = [];
    for (const partition of task.partitions) {
      const key = partitionKey(partition);
      const to = group.positions.get(key);
      if (to === undefined) continue;
      const lane = lanes.get(key) ?? { next: undefined, repeat: undefined, held: [] };
      lanes.set(key, lane);
      const records = lane.held.concat(byPartition.get(key) ?? []);
      if (lane.repeat !== undefined && to <= lane.repeat.last) {
        after.push(() => (lane.held = records));
        continue;
      }
      const from = lane.next ?? records[0]?.offset ?? to;
      const blocks = await cutBlocks({ partition, shape: shapeOf(partition.topic), records, from, to, repeat: lane.repeat }, options);
      blocks.forEach((block, index) => (rounds[index] ??= []).push(block));
      after.push(() => Object.assign(lane, { next: to, repeat: undefined, held: [] } satisfies Lane));
    }
    for (const apply of after) apply();
    return { group, rounds, done: doneAt(task, group, lanes), running: undefined };
  };

  const write = async (blocks: readonly Block[], commit: Membership['commitOffsets']): Promise<void> => {
    await commit(blocks.map(({ partition, range }) => ({ ...partition, offset: range.first, metadata: toMetadata(range) })));
    const inserted = await Promise.allSettled(blocks.flatMap(({ inserts }) => inserts).map((insert) => store.insert(insert)));
    for (const result of inserted) if (result.status === 'rejected') throw result.reason;
  };

  const storeAll = async ({ rounds, done }: Plan): Promise<void> => {
    // A partition may have gone to another member since, and come under a generation in which this one could commit for it.
    const generation = membership.assignment?.generation;
    const commit: Membership['commitOffsets'] = async (offsets) => {
      if (membership.assignment?.generation !== generation) throw new SpoolError('UNAVAILABLE', `${consumer} is being shared out anew`);
      await membership.commitOffsets(offsets);
    };
    for (let round = rounds[0]; round !== undefined; round = rounds[0]) {
      await write(round, commit);
      rounds.shift();
    }
    if (done.length > 0) await commit(done);
    plans.shift();
  };
  /** One attempt at a time; a failed one may be followed by the next. */
  const stored = (plan: Plan): Promise<void> => (plan.running ??= storeAll(plan).finally(() => (plan.running = undefined)));

  return {
    positions,
    epoch: -1n,
    replay: undefined,
    /** What is stored after `process` has returned is waited for, and tried again, though no more records come. */
    get nextTimer() {
      return plans.length > 0 ? 0 : undefined;
    },
    async process(group) {
      const began = performance.now();
      // 1. Cut, while the group before is stored.
      let plan = plans.find((each) => each.group === group);
      if (plan === undefined && group.positions.size > 0) plans.push((plan = await planOf(group)));
      // 2. The one before.
      for (let first = plans[0]; first !== undefined && first !== plan; first = plans[0]) await stored(first);
      if (plan === undefined) return;
      // 3. This one. About a full group means that more is waiting, to be cut meanwhile.
      const storing = stored(plan);
      if (group.records.length >= maxRows / 2) {
        storing.catch(() => undefined);
        return;
      }
      await storing;
      const left = gatherMs - (performance.now() - began);
      if (left > 0) await sleep(left);
    },
    async close() {
      await plans[0]?.running?.catch(() => undefined);
    },
  };
}

/** Everything below is stored. A block that still waits for the rest of its records keeps its own commit. */
function doneAt(task: TaskRequest, group: Group, lanes: ReadonlyMap<string, Lane>): (RecordPosition & { readonly metadata: string })[] {
  return task.partitions.flatMap((partition) => {
    const key = partitionKey(partition);
    const next = lanes.get(key)?.next;
    if (next === undefined || !group.positions.has(key) || lanes.get(key)?.repeat !== undefined) return [];
    return [{ ...partition, offset: offset(next), metadata: '' }];
  });
}

function memberOf({ membership }: TaskRequest): Membership {
  if (membership === undefined) throw new SpoolError('INTERNAL', 'the sink fences by its group: its processor must be assigned by group');
  return membership;
}
