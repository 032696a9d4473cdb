import type { ConsumedRecord, Kafka, Offset, RecordPosition } from '../kafka/port.js';
import type { ReplayFilter } from '../store/stored-filter.js';
import { tailTopic } from '../table/tail.js';

/** Which parked records are meant: those of a key, one by the place that it was read from, or all. */
export type LetterChoice = { readonly key: Buffer } | { readonly letter: RecordPosition } | 'all';

/** What the `control` topic orders of a consumer; `epoch` is the offset of the order, so orders of one consumer are in order. */
export type ControlOrder = { readonly consumer: string; readonly epoch: bigint } & (
  | { readonly action: 'pause' }
  | { readonly action: 'resume' }
  /** Of an instance; see `instanceTarget`. */
  | { readonly action: 'drain' }
  /** Not kept: whoever starts later does not step. */
  | { readonly action: 'step'; readonly records: number }
  /** Over all partitions; `undefined` lifts the limit. */
  | { readonly action: 'rate'; readonly recordsPerSecond: number | undefined }
  | { readonly action: 'cancel'; readonly replayId: string }
  | {
      readonly action: 'rewind';
      readonly replayId: string;
      readonly starts: ReadonlyMap<string, Offset>;
      readonly targets: ReadonlyMap<string, Offset>;
      readonly reset: boolean;
      readonly filter?: ReplayFilter | undefined;
    }
  /** Goes on at `starts`; `reset` empties the store with it. */
  | { readonly action: 'seek'; readonly starts: ReadonlyMap<string, Offset>; readonly reset: boolean }
  /** Handles parked records again, in order; `value` takes the place of the first one's. */
  | { readonly action: 'retry'; readonly letters: LetterChoice; readonly value: Buffer | undefined }
  | { readonly action: 'discard'; readonly letters: LetterChoice }
);

export interface Control extends AsyncDisposable {
  /** Gives the orders of the past first, in order: they leave the processor as it would be had it been there. */
  follow(consumer: string, apply: (order: ControlOrder) => void): () => void;
  close(): Promise<void>;
}

export interface ControlOptions {
  readonly kafka: Kafka;
  readonly topic: string;
  /** `undefined` for what is no order. */
  readonly decode: (record: ConsumedRecord) => ControlOrder | undefined | Promise<ControlOrder | undefined>;
  readonly onError: (error: unknown) => void;
}

/** Reads the control topic for all processors of this process; resolves when it has read what stands there now. */
export async function openControl(options: ControlOptions): Promise<Control> {
  const orders = new Map<string, ControlOrder[]>();
  const followers = new Map<string, Set<(order: ControlOrder) => void>>();
  const tail = await tailTopic({
    kafka: options.kafka,
    topic: options.topic,
    onError: options.onError,
    async onRecord(record) {
      const order = await options.decode(record);
      if (order === undefined) return;
      if (order.action !== 'step') orders.set(order.consumer, [...(orders.get(order.consumer) ?? []), order]);
      for (const apply of followers.get(order.consumer) ?? []) apply(order);
    },
  });
  return {
    follow(consumer, apply) {
      for (const order of orders.get(consumer) ?? []) apply(order);
      const known = followers.get(consumer) ?? new Set();
      followers.set(consumer, known.add(apply));
      return () => known.delete(apply);
    },
    close: tail.close,
    [Symbol.asyncDispose]: tail.close,
  };
}
