import { SpoolError, toSpoolError } from '@spool/schemas';
import { offset, type ConsumedRecord, type Offset, type TopicPartition } from '@spool/streams';
import { maxBad, tokenOf, type BlockRange, type Rewound } from './block-range.js';
import { createBlockWriter } from './native.js';
import { quarantineColumns, quarantineTable, writeQuarantined, type RowShape } from './rows.js';

export const defaultMaxRows = 50_000;

export interface BlockBounds {
  /** @default 50000 */
  readonly maxRows?: number;
  /** Of the records' values; one record may be larger. @default 16 MiB */
  readonly maxBytes?: number;
}

/** Rows for one table, as a block in ClickHouse's Native format. */
export interface Insert {
  readonly table: string;
  /** That the records are of. */
  readonly topic: string;
  readonly columns: readonly string[];
  readonly rows: Buffer;
  readonly count: number;
  readonly token: string;
}

/** A block is inserted whole, under one token for each table it goes to. */
export interface Block {
  readonly partition: TopicPartition;
  readonly range: BlockRange;
  readonly inserts: readonly Insert[];
  /** Records. */
  readonly size: number;
  /** As it stands before this block. */
  readonly rewound?: Rewound;
}

/** Offsets of one partition, whose records become rows of one shape. */
export interface Stretch {
  readonly partition: TopicPartition;
  readonly shape: Pick<RowShape, 'table' | 'place'>;
  readonly from: Offset;
  /** Exclusive. */
  readonly to: Offset;
}

export interface CutRequest {
  readonly partition: TopicPartition;
  readonly shape: RowShape;
  readonly records: readonly ConsumedRecord[];
  /** The blocks together cover the offsets from here… */
  readonly from: Offset;
  /** …up to here, exclusive. */
  readonly to: Offset;
  /** Makes the first block this one again, whatever its size. The records of it must all be there. */
  readonly repeat?: BlockRange | undefined;
  readonly rewound?: Rewound | undefined;
}

/**
 * Cuts what was read of one partition into blocks. A stretch without records gives none.
 * @throws SpoolError `backoff` when a record cannot be read at present; nothing is kept of the attempt.
 */
export async function cutBlocks(request: CutRequest, bounds: BlockBounds = {}): Promise<readonly Block[]> {
  const { maxRows = defaultMaxRows, maxBytes = 16 * 1024 * 1024 } = bounds;
  const { partition, shape, records, repeat } = request;
  const blocks: Block[] = [];
  const finished = (draft: Draft, range: BlockRange): void => {
    blocks.push({ partition, range, size: draft.size, inserts: draft.inserts(tokenOf(partition, range, request.rewound?.epoch)) });
  };
  let index = 0;
  let from = request.from;
  // 1. The block that was under way before.
  if (repeat !== undefined) {
    const draft = createDraft(shape, partition.topic, repeat.bad);
    for (; index < records.length && records[index]!.offset <= repeat.last; index++) {
      const pending = draft.add(records[index]!);
      if (pending !== undefined) await pending;
    }
    if (draft.size > 0) finished(draft, repeat);
    from = offset(repeat.last + 1n);
  }
  // 2. New ones.
  while (index < records.length) {
    const draft = createDraft(shape, partition.topic, []);
    const { timestamp: at } = records[index]!;
    while (index < records.length && draft.size < maxRows && draft.bytes < maxBytes && draft.bad.length < maxBad) {
      // A promise for each record would cost as much as its row.
      const pending = draft.add(records[index++]!);
      if (pending !== undefined) await pending;
    }
    const to = index < records.length ? offset(records[index - 1]!.offset + 1n) : request.to;
    finished(draft, { first: from, last: offset(to - 1n), at, bad: draft.bad });
    from = to;
  }
  return blocks;
}

interface Draft {
  readonly size: number;
  readonly bytes: number;
  readonly bad: readonly Offset[];
  add(record: ConsumedRecord): void | Promise<void>;
  inserts(token: string): readonly Insert[];
}

/** @param known records that go to the quarantine whether or not they can be read by now */
function createDraft(shape: RowShape, topic: string, known: readonly Offset[]): Draft {
  const rows = createBlockWriter(shape.columns);
  const quarantined = createBlockWriter(quarantineColumns);
  const forced = new Set<bigint>(known);
  const bad: Offset[] = [];
  let size = 0;
  let bytes = 0;

  const refuse = (record: ConsumedRecord, thrown: unknown): void => {
    const { retryable } = toSpoolError(thrown).entry;
    if (retryable === 'backoff') throw thrown;
    rows.drop();
    bad.push(record.offset);
    writeQuarantined(record, shape.table, thrown, quarantined);
    quarantined.keep();
  };
  const keep = ({ offset: at }: ConsumedRecord): void => {
    if (forced.has(at)) throw unreadableBefore();
    rows.keep();
  };
  return {
    get size() {
      return size;
    },
    get bytes() {
      return bytes;
    },
    bad,
    add(record) {
      size += 1;
      bytes += record.value?.length ?? 0;
      try {
        const pending = shape.write(record, rows);
        if (pending !== undefined)
          return pending
            .then(() => {
              keep(record);
            })
            .catch((thrown: unknown) => {
              refuse(record, thrown);
            });
        keep(record);
      } catch (thrown) {
        refuse(record, thrown);
      }
      return undefined;
    },
    inserts(token) {
      const inserts: Insert[] = [];
      const count = rows.rows;
      if (bad.length > 0) {
        inserts.push({ table: quarantineTable, topic, columns: quarantineColumns, rows: quarantined.take(), count: bad.length, token });
      }
      if (count > 0) inserts.push({ table: shape.table, topic, columns: shape.columns, rows: rows.take(), count, token });
      return inserts;
    },
  };
}

const unreadableBefore = (): SpoolError => new SpoolError('RECORD_UNREADABLE', 'It could not be read when it was first met.');
