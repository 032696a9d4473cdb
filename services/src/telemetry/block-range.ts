import { offset, type Offset, type TopicPartition } from '@spool/streams';
import { z } from 'zod';

/**
 * What makes a block the same block again: a stretch of one partition, and which of its records could not be read. It is committed as the
 * metadata of the group's offset `first` before the block is inserted.
 */
export interface BlockRange {
  readonly first: Offset;
  /** Inclusive; may be a hole. */
  readonly last: Offset;
  /** Timestamp of its first record: tells it from a block of a topic that was deleted and made again. */
  readonly at: number;
  /** Records for the quarantine. A schema that appears later must not turn them into rows of a block that is stored already. */
  readonly bad: readonly Offset[];
}

const place = z.int().nonnegative();
const rewound = z.object({
  /** Offset of the order in `control`: part of the tokens from then on, so that what is stored again is not taken for what was stored before. */
  epoch: z.int(),
  id: z.string(),
  state: z.enum(['running', 'completed', 'cancelled']),
  start: place,
  /** Below it a record is part of the replay. */
  target: place,
  /** Records below it may be stored: each is looked up before it is stored. */
  until: place,
  startedAt: z.number(),
  /** That were missing. */
  records: place,
  /** That were there. */
  skipped: place,
});
/** The last rewind of a partition, in the metadata of every commit after it: whoever takes the partition over knows. */
export type Rewound = z.infer<typeof rewound>;

/** Undefined for any metadata without one. */
export function rewoundOf(metadata: string): Rewound | undefined {
  if (metadata === '') return undefined;
  try {
    return z.object({ rewound }).parse(JSON.parse(metadata)).rewound;
  } catch {
    return undefined;
  }
}

/** As many as surely fit into an offset's metadata, of which a broker takes 4,096 bytes. */
export const maxBad = 256;

/** ClickHouse drops a block whose token it has seen. */
export const tokenOf = ({ topic, partition }: TopicPartition, { first, last, at }: BlockRange, epoch?: number): string =>
  `${topic}:${partition}:${first}-${last}@${at}${epoch === undefined ? '' : `#${epoch}`}`;

/** The `first` of a range is the committed offset itself; offsets in the text count from it. */
export function toMetadata(range: BlockRange | undefined, rewound?: Rewound): string {
  if (range === undefined) return rewound === undefined ? '' : JSON.stringify({ rewound });
  const { first, last, at, bad } = range;
  return JSON.stringify({ last: Number(last - first), at, bad: bad.map((each) => Number(each - first)), rewound });
}

/** Undefined for any other text, such as none: then no block is under way. */
export function fromMetadata(first: Offset, metadata: string): BlockRange | undefined {
  let read: unknown;
  try {
    read = JSON.parse(metadata);
  } catch {
    return undefined;
  }
  if (typeof read !== 'object' || read === null) return undefined;
  const { last, at, bad } = read as Partial<Record<keyof BlockRange, unknown>>;
  if (!isCount(last) || !Number.isSafeInteger(at) || !Array.isArray(bad) || !bad.every(isCount)) return undefined;
  return { first, last: offset(first + BigInt(last)), at: at as number, bad: bad.map((each) => offset(first + BigInt(each))) };
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
