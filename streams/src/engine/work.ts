import type { StoredReplay } from '../store/store.js';
import type { LetterChoice } from './control.js';
import type { ReplayFilter } from '../store/stored-filter.js';
import type { Lanes } from './lanes.js';
import type { Assignment, ConsumedRecord, Membership, Offset, TopicPartition } from '../kafka/port.js';

/** What a task handles at once: all that arrived while the group before it was under way. */
export interface Group {
  readonly records: readonly ConsumedRecord[];
  /** `topic-partition` -> the next offset after this group, beyond transaction markers and holes. */
  readonly positions: ReadonlyMap<string, Offset>;
}

export interface Rewind {
  readonly replayId: string;
  /** Offset of the order in `control`: an order is applied once, whatever is restarted. */
  readonly epoch: bigint;
  readonly starts: ReadonlyMap<string, Offset>;
  /** Below these a record is a replay. */
  readonly targets: ReadonlyMap<string, Offset>;
  /** Empties the read model with it. */
  readonly reset: boolean;
  /** Not with `reset`, which it would leave without rows. @default all are handled again */
  readonly filter?: ReplayFilter | undefined;
  readonly now: number;
}

/** An order to go on elsewhere. */
export interface Seek {
  /** Offset of the order in `control`, kept with the new position: it is obeyed once, whatever is restarted. */
  readonly epoch: bigint;
  readonly starts: ReadonlyMap<string, Offset>;
  /** Empties the store with it. */
  readonly reset: boolean;
}

/** An order to handle parked records again, or to give them up. */
export interface Settling {
  readonly epoch: bigint;
  readonly action: 'retry' | 'discard';
  readonly letters: LetterChoice;
  readonly value: Buffer | undefined;
  /** Fires when the task is to stop: what is committed stays, and the order is obeyed again by the next owner. */
  readonly signal: AbortSignal;
}
export interface Settled {
  /** How many were resolved. */
  readonly records: number;
  /** Why the record at which a retry stopped failed again. */
  readonly failed: string | undefined;
}

/** How a kind of processor makes the effects of its records durable; the engine does all the rest. */
export interface TaskWork {
  /** Where each source partition goes on; a missing one starts at `startAt`. */
  readonly positions: ReadonlyMap<string, Offset>;
  /**
   * Handles the group and makes its effects and `group.positions` durable together.
   * @throws SpoolError: `backoff` makes the engine wait and give the same group again; anything else closes the task and opens it anew.
   */
  process(group: Group): Promise<void>;
  /** Of work that goes on after `process` has returned: how far it is, and how much more it takes. */
  readonly lanes?: Lanes;
  /** When `process` is due with an empty group, in milliseconds of the wall clock; undefined: never. */
  readonly nextTimer?: number | undefined;
  /** The last control order that was applied; orders up to it are skipped. */
  readonly epoch: bigint;
  /** The last replay, with the records replayed so far. */
  readonly replay: StoredReplay | undefined;
  /**
   * Moves back, atomically with the reset of the read model; absent where the kind cannot be rewound.
   * @returns where to go on; a partition that is not among them stays where it is
   */
  rewind?(order: Rewind): ReadonlyMap<string, Offset> | Promise<ReadonlyMap<string, Offset>>;
  /** Moves; absent where the kind cannot. @returns as `rewind` does. @throws SpoolError ORDER_REFUSED */
  seek?(order: Seek): ReadonlyMap<string, Offset> | Promise<ReadonlyMap<string, Offset>>;
  /** Absent where nothing is parked. */
  settle?(order: Settling): Promise<Settled>;
  /** Gives up a replay at the point it has reached: what follows is handled as new. */
  cancelReplay?(replayId: string): void | Promise<void>;
  close(): Promise<void>;
}

/** A copy of a task's state that is kept warm on another instance. */
export interface StandbyCopy extends AsyncDisposable {
  /** How far it has followed. */
  readonly positions: ReadonlyMap<string, Offset>;
  close(): Promise<void>;
}

/** What a task is opened with. */
export interface TaskRequest {
  /** The partition number, or `all` where one task reads every partition. */
  readonly id: string;
  readonly partitions: readonly TopicPartition[];
  /** Absent where the processor reads all partitions by itself. */
  readonly membership: Membership | undefined;
  readonly assignment: Assignment | undefined;
  /** Fires when the assignment ends: a long restore stops then. */
  readonly signal: AbortSignal;
}

export interface ProcessorDefinition {
  /** The consumer id: also the group, the folder of its stores, and the key of its control orders. */
  readonly consumer: string;
  /** Co-partitioned: partition i of each belongs to task i. */
  readonly sources: readonly string[];
  /** `group`: partitions are shared among the instances. `all`: each instance reads everything. */
  readonly assignment: 'group' | 'all';
  /** Where a partition without a position starts. */
  readonly startAt: 'earliest' | 'latest';
  readonly open: (task: TaskRequest) => Promise<TaskWork>;
  /** How many other instances keep a warm copy of each task's state, so that one takes over at once. @default 0 */
  readonly standbys?: number;
  /** Follows a task that another instance owns; needed where `standbys` is not 0. */
  readonly openStandby?: (task: Pick<TaskRequest, 'id' | 'partitions'>) => Promise<StandbyCopy>;
  /** Called when the processor has closed its tasks. */
  readonly close?: () => Promise<void>;
  /** Why its position may not be moved by an order, as the one who orders it reads it. @default it may, where its work can */
  readonly fixed?: string;
  /**
   * How the records of several sources come: as they are read, or in order of their timestamps, as far as the logs reach; a source of which nothing
   * can be read is waited for, 10 s at the most. @default 'arrival'
   */
  readonly order?: 'arrival' | 'time';
  /** @default 2000 */
  readonly maxGroupRecords?: number;
  /** A task with more waiting is not fetched for. @default 10000 */
  readonly maxBufferedRecords?: number;
  /** How long a member may be silent before its partitions go to others; brokers take 6 s at the least unless told otherwise. @default 6000 */
  readonly sessionTimeoutMs?: number;
  /**
   * Who commits the group's offsets: the engine, lazily, as advice to outside tools; or the work, which keeps them and their metadata for
   * itself. @default 'engine'
   */
  readonly commits?: 'engine' | 'work';
}

export type ProcessorState = 'starting' | 'restoring' | 'running' | 'paused' | 'replaying' | 'failed' | 'stopped';

export interface PartitionStatus extends TopicPartition {
  readonly position: Offset;
  /** The last stable offset at the last fetch. */
  readonly end: Offset;
  /** Age of the record at the position when behind, else 0. */
  readonly lagSeconds: number;
}
export interface ReplayStatus extends Omit<StoredReplay, 'state'> {
  readonly state: StoredReplay['state'] | 'paused' | 'failed';
  readonly current: ReadonlyMap<string, Offset>;
}
/** What an order came to, where there is more to say than that it was applied. */
export interface OrderAnswer {
  /** Its epoch. */
  readonly order: bigint;
  readonly refused: string | undefined;
  /** Parked records that it resolved. */
  readonly records: number;
  /** Why the record at which a retry stopped failed again. */
  readonly failed: string | undefined;
}
export interface ProcessorStatus {
  readonly consumer: string;
  readonly state: ProcessorState;
  /** The last order that every task of this processor has dealt with: the acknowledgement. -1 for none. */
  readonly epoch: bigint;
  readonly answers: readonly OrderAnswer[];
  readonly paused: boolean;
  /** Records that it may still handle while paused. */
  readonly stepsLeft: number;
  /** Over all partitions; undefined for no limit. */
  readonly recordsPerSecond: number | undefined;
  readonly partitions: readonly PartitionStatus[];
  /** Tasks of other instances whose state is kept warm here. */
  readonly standbys: readonly string[];
  /** The instances share the partitions: this one has some. */
  readonly shared: boolean;
  /** One for each task that took part in the last replay. */
  readonly replays: readonly ReplayStatus[];
  readonly error: string | undefined;
}
