import { setTimeout as sleep } from 'node:timers/promises';
import { SpoolError } from '@spool/schemas';
import {
  offset,
  partitionKey,
  splitPartitionKey,
  type ConsumedRecord,
  type Group,
  type Kafka,
  type Membership,
  type Offset,
  type RecordPosition,
  type TaskRequest,
  type TaskWork,
  type TopicPartition,
} from '@spool/streams';
import { fromMetadata, rewoundOf, toMetadata, type BlockRange, type Rewound } from './block-range.js';
import { cutBlocks, defaultMaxRows, type Block, type BlockBounds, type CutRequest, type Insert, type Stretch } from './block.js';
import { cutMissing, replayOf, rewoundBy } from './rewound.js';
import type { RowShape } from './rows.js';

/** Where blocks go. */
export interface BlockStore {
  /** Stores the rows, or nothing when the token is known. @throws SpoolError UNAVAILABLE; the outcome is then unknown */
  insert(insert: Insert): Promise<void>;
  /** Which records of the stretch are there, as rows or in quarantine. @throws SpoolError UNAVAILABLE */
  stored(stretch: Stretch): Promise<ReadonlySet<bigint>>;
  /** Whether anything of the topic is there. @throws SpoolError UNAVAILABLE */
  holds(of: Pick<Stretch, 'shape'> & { readonly topic: string }): Promise<boolean>;
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

/** Why a rewind of it cannot do more. */
export const onlyMissing = 'stores again what is missing, and leaves what is there as it is: it empties nothing, and passes nothing over';
/** How long a block under way may take to be read again. */
const settleMs = 30_000;

/** One source partition. */
interface Lane {
  /** Where the next block begins; undefined until the first record of a partition that was never read. */
  next: Offset | undefined;
  /** A block whose range was committed and whose insert may or may not have happened. */
  repeat: BlockRange | undefined;
  /** Records of `repeat` read so far. */
  held: readonly ConsumedRecord[];
  rewound: Rewound | undefined;
}

interface Done extends RecordPosition {
  readonly rewound: Rewound | undefined;
}

/** What is left to store of a group, so that an attempt goes on where the one before failed. */
interface Plan {
  readonly group: Group;
  /** Blocks of different partitions are inserted together, those of one partition one after the other. */
  readonly rounds: (readonly Block[])[];
  /** What its blocks leave behind in their partitions. */
  readonly done: readonly Done[];
  /** The attempt under way. */
  running: Promise<void> | undefined;
}

/**
 * Stores every record exactly once. The range of a block is committed as a member of the group before the block is inserted: whoever takes the
 * partition over repeats just that block, under the same token, and the store drops it. A member whose generation has passed cannot
 * commit, so the only block that it can still insert is the one that its successor repeats. While much waits, a group is cut into blocks while the
 * one before it is inserted. Rewound, it stores what is missing, and leaves what is there as it is.
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
    lanes.set(key, { next: at.offset, repeat: fromMetadata(at.offset, at.metadata), held: [], rewound: rewoundOf(at.metadata) });
  }
  /** As the last commits have it. */
  const replayed = new Map([...lanes].flatMap(([key, { rewound }]) => (rewound === undefined ? [] : [[key, rewound] as const])));
  /** Two at the most; the first is stored, and then the second. */
  const plans: Plan[] = [];

  const cut = async (
    part: Pick<CutRequest, 'partition' | 'records' | 'from' | 'to'>,
    { repeat, rewound }: Lane,
  ): Promise<{ readonly blocks: readonly Block[]; readonly rewound: Rewound | undefined }> => {
    const request = { ...part, shape: shapeOf(part.partition.topic), repeat };
    if (rewound !== undefined) return cutMissing({ ...request, rewound }, (stretch) => store.stored(stretch), options);
    return { blocks: await cutBlocks(request, options), rewound };
  };
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
      const lane = lanes.get(key) ?? { next: undefined, repeat: undefined, held: [], rewound: undefined };
      lanes.set(key, lane);
      const records = lane.held.concat(byPartition.get(key) ?? []);
      if (lane.repeat !== undefined && to <= lane.repeat.last) {
        after.push(() => (lane.held = records));
        continue;
      }
      const from = lane.next ?? records[0]?.offset ?? to;
      const { blocks, rewound } = await cut({ partition, records, from, to }, lane);
      blocks.forEach((block, index) => (rounds[index] ??= []).push(block));
      after.push(() => Object.assign(lane, { next: to, repeat: undefined, held: [], rewound } satisfies Lane));
    }
    for (const apply of after) apply();
    return { group, rounds, done: doneAt(task, group, lanes), running: undefined };
  };

  const write = async (blocks: readonly Block[], commit: Membership['commitOffsets']): Promise<void> => {
    await commit(
      blocks.map(({ partition, range, rewound }) => ({ ...partition, offset: range.first, metadata: toMetadata(range, rewound) })),
    );
    const inserted = await Promise.allSettled(blocks.flatMap(({ inserts }) => inserts).map((insert) => store.insert(insert)));
    for (const result of inserted) if (result.status === 'rejected') throw result.reason;
  };

  /** A partition may have gone to another member since, and come under a generation in which this one could commit for it. */
  const committer = (): Membership['commitOffsets'] => {
    const generation = membership.assignment?.generation;
    return async (offsets) => {
      if (membership.assignment?.generation !== generation) throw new SpoolError('UNAVAILABLE', `${consumer} is being shared out anew`);
      await membership.commitOffsets(offsets);
    };
  };
  const leave = async (done: readonly Done[], commit: Membership['commitOffsets']): Promise<void> => {
    if (done.length === 0) return;
    await commit(done.map(({ rewound, ...at }) => ({ ...at, metadata: toMetadata(undefined, rewound) })));
    for (const at of done) if (at.rewound !== undefined) replayed.set(partitionKey(at), at.rewound);
  };
  const storeAll = async ({ rounds, done }: Plan): Promise<void> => {
    const commit = committer();
    for (let round = rounds[0]; round !== undefined; round = rounds[0]) {
      await write(round, commit);
      rounds.shift();
    }
    await leave(done, commit);
    plans.shift();
  };
  /** One attempt at a time; a failed one may be followed by the next. */
  const stored = (plan: Plan): Promise<void> => (plan.running ??= storeAll(plan).finally(() => (plan.running = undefined)));

  /** Nothing is under way after it: a block of which nobody knows whether it is stored would be stored again by the rewind. */
  const settle = async (): Promise<void> => {
    for (let first = plans[0]; first !== undefined; first = plans[0]) await stored(first);
    for (const [key, lane] of lanes) {
      const { next, repeat } = lane;
      if (next === undefined || repeat === undefined) continue;
      const partition = splitPartitionKey(key);
      const to = offset(repeat.last + 1n);
      const records = await readStretch(kafka, partition, next, to);
      const { blocks, rewound } = await cut({ partition, records, from: next, to }, lane);
      const commit = committer();
      await write(blocks, commit);
      await leave([{ ...partition, offset: to, rewound }], commit);
      Object.assign(lane, { next: to, repeat: undefined, held: [], rewound } satisfies Lane);
    }
  };

  return {
    positions,
    get epoch() {
      return BigInt(Math.max(-1, ...[...replayed.values()].map((each) => each.epoch)));
    },
    get replay() {
      return replayOf(replayed);
    },
    async rewind(order) {
      if (order.reset || order.filter !== undefined) throw new SpoolError('ORDER_REFUSED', `${consumer} ${onlyMissing}`);
      await settle();
      const moves = task.partitions.flatMap((partition) => {
        const key = partitionKey(partition);
        const wanted = order.starts.get(key);
        if (wanted === undefined) return [];
        const lane = lanes.get(key);
        // Never forward: what lies between is not stored yet.
        const start = lane?.next !== undefined && lane.next < wanted ? lane.next : wanted;
        return [
          { ...partition, offset: start, rewound: rewoundBy(order, start, order.targets.get(key) ?? start, lane?.next, lane?.rewound) },
        ];
      });
      await leave(moves, committer());
      for (const { rewound, ...at } of moves) lanes.set(partitionKey(at), { next: at.offset, repeat: undefined, held: [], rewound });
      return new Map(moves.map((at) => [partitionKey(at), at.offset]));
    },
    async cancelReplay(replayId) {
      await settle();
      const left: Done[] = [];
      for (const [key, { next, rewound }] of lanes) {
        if (next === undefined || rewound?.id !== replayId || rewound.state !== 'running') continue;
        left.push({ ...splitPartitionKey(key), offset: next, rewound: { ...rewound, state: 'cancelled' } });
      }
      await leave(left, committer());
      for (const at of left) lanes.get(partitionKey(at))!.rewound = at.rewound;
    },
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
function doneAt(task: TaskRequest, group: Group, lanes: ReadonlyMap<string, Lane>): Done[] {
  return task.partitions.flatMap((partition) => {
    const key = partitionKey(partition);
    const lane = lanes.get(key);
    if (lane?.next === undefined || !group.positions.has(key) || lane.repeat !== undefined) return [];
    return [{ ...partition, offset: lane.next, rewound: lane.rewound }];
  });
}

/** What is left of a stretch of the log. */
async function readStretch(kafka: Kafka, partition: TopicPartition, from: Offset, to: Offset): Promise<ConsumedRecord[]> {
  await using reader = await kafka.reader();
  reader.assign(partition, from);
  const records: ConsumedRecord[] = [];
  const deadline = performance.now() + settleMs;
  for (let next = from; next < to;) {
    if (performance.now() > deadline) throw new SpoolError('UNAVAILABLE', `${partitionKey(partition)} could not be read up to ${to}`);
    for (const slice of await reader.fetch()) {
      records.push(...slice.records.filter((record) => record.offset < to));
      next = slice.nextOffset;
    }
  }
  return records;
}

function memberOf({ membership }: TaskRequest): Membership {
  if (membership === undefined) throw new SpoolError('INTERNAL', 'the sink fences by its group: its processor must be assigned by group');
  return membership;
}
