import { randomUUID } from 'node:crypto';
import { FoldReplySchema, FoldRequestSchema, SpoolError, type FoldRequest } from '@spool/schemas';
import { foldQuery, fromToken, reached, refusal, type Gateway, type Registry } from '@spool/sdk';
import type { Instance, Offset } from '@spool/streams';
import { startIndexer, type AggregateIndex } from './indexer.js';
import { rowKey, streamsTable, versionOf, type IndexRow } from './index-rows.js';

export interface StoredEvent {
  readonly id: string;
  readonly type: string;
  readonly version: number;
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly partition: number;
  readonly offset: string;
  readonly payload: unknown;
  readonly correlationId: string | undefined;
  readonly causationId: string | undefined;
  readonly commandId: string | undefined;
  readonly actor: string | undefined;
}
export interface AggregateState {
  readonly version: number;
  /** When the last event of this version was decided, in milliseconds since the epoch. */
  readonly at: number;
  readonly state: unknown;
}

export interface EventsRequest {
  readonly aggregateType: string;
  readonly aggregateId: string;
  /** The first version to give (the last one when backwards). @default the first (the last) */
  readonly from?: number | undefined;
  readonly backwards?: boolean;
  readonly limit: number;
  /** Reads at least up to this position; without it, up to the end of the log at the call. */
  readonly after?: string | undefined;
  readonly deadline: number;
}

export interface EventStore extends AsyncDisposable {
  /** The version of an aggregate as the log has it now; 0 for one that does not exist. It never falls. @throws SpoolError UNKNOWN_AGGREGATE, EXPIRED */
  version(aggregateType: string, aggregateId: string, deadline: number): Promise<number>;
  /** The events of one aggregate. @throws SpoolError UNKNOWN_AGGREGATE, EXPIRED */
  events(request: EventsRequest): Promise<readonly StoredEvent[]>;
  /** The state at a version, or at a time (milliseconds since the epoch), or now. @throws SpoolError UNKNOWN_AGGREGATE, EXPIRED */
  state(request: {
    readonly aggregateType: string;
    readonly aggregateId: string;
    readonly version?: number | undefined;
    readonly at?: number | undefined;
    readonly after?: string | undefined;
    readonly deadline: number;
  }): Promise<AggregateState>;
  close(): Promise<void>;
}

export interface EventStoreOptions {
  readonly instance: Instance;
  readonly registry: Registry;
  readonly gateway: Gateway;
}

/** Events in one request to fold: a request stays well below what Kafka takes. */
const foldEvents = 500;
const foldBytes = 400_000;

/** Indexes the events of every aggregate in the registry, as they appear. */
export function openEventStore({ instance, registry, gateway }: EventStoreOptions): EventStore {
  const indexes = new Map<string, Promise<AggregateIndex>>();
  const follow = (): void => {
    for (const { kind, name } of registry.components()) {
      if (kind !== 'aggregate' || indexes.has(name)) continue;
      const index = startIndexer(instance, name);
      indexes.set(name, index);
      index.catch((error: unknown) => {
        indexes.delete(name);
        instance.log('error', 'an aggregate cannot be indexed', { aggregate: name, error: String(error) });
      });
    }
  };
  const unfollow = registry.onChange(follow);
  follow();

  const indexOf = async (aggregateType: string): Promise<AggregateIndex> => {
    const index = indexes.get(aggregateType);
    if (index === undefined) throw new SpoolError('UNKNOWN_AGGREGATE', `no bundle has an aggregate ${aggregateType}`);
    return index;
  };
  /** The index, up to `after` or else to what stands in the log now: whoever has written something reads it. */
  const current = async (aggregateType: string, after: string | undefined, deadline: number): Promise<AggregateIndex> => {
    const index = await indexOf(aggregateType);
    const wanted =
      after === undefined
        ? new Map((await instance.kafka.admin.offsets(index.topic)).map(({ partition, latest }) => [`${index.topic}-${partition}`, latest]))
        : fromToken(after);
    await untilReached(index, wanted, deadline - instance.now());
    return index;
  };
  const rowsOf = (index: AggregateIndex, id: string, range: { from: number; to: number; reverse: boolean; limit: number }) =>
    [...index.store.range(streamsTable, { ...range, from: rowKey(id, range.from), to: rowKey(id, range.to) })].map(
      ([key, row]) => [versionOf(key), row as IndexRow] as const,
    );

  const fold = async (request: FoldRequest, deadline: number) => {
    const topic = instance.topics.queries(request.aggregateType).name;
    const encoder = await instance.codec.encoder(topic, FoldRequestSchema);
    const timeoutMs = Math.max(1, deadline - instance.now());
    const reply = await gateway.request({ topic, key: null, type: foldQuery, id: randomUUID(), value: encoder.encode(request), timeoutMs });
    if (reply.view === null) throw refusal(reply);
    return instance.codec.decoder(FoldReplySchema).decode(reply.view);
  };

  return {
    async version(aggregateType, aggregateId, deadline) {
      const index = await current(aggregateType, undefined, deadline);
      const [last] = rowsOf(index, aggregateId, { from: 0, to: maxVersion, reverse: true, limit: 1 });
      return last?.[0] ?? 0;
    },
    async events({ aggregateType, aggregateId, backwards = false, limit, ...request }) {
      const index = await current(aggregateType, request.after, request.deadline);
      const from = backwards ? 0 : (request.from ?? 0);
      const to = backwards && request.from !== undefined ? request.from + 1 : maxVersion;
      const events: StoredEvent[] = [];
      for (const [version, { payload, ...row }] of rowsOf(index, aggregateId, { from, to, reverse: backwards, limit })) {
        events.push({ ...row, version, payload: (await instance.codec.decodeAny(payload)).json() });
      }
      if (events.length === 0 && request.from === undefined) throw unknownAggregate(aggregateType, aggregateId);
      return events;
    },
    async state({ aggregateType, aggregateId, version = maxVersion - 1, at: until = Number.POSITIVE_INFINITY, after, deadline }) {
      const index = await current(aggregateType, after, deadline);
      let folded: { state: string | null; version: number } = { state: null, version: 0 };
      let last = 0;
      for (;;) {
        const range = { from: folded.version + 1, to: version + 1, reverse: false, limit: foldEvents };
        const events: FoldRequest['events'][number][] = [];
        let bytes = 0;
        for (const [rowVersion, row] of rowsOf(index, aggregateId, range)) {
          if (row.at > until || (events.length > 0 && bytes + row.payload.length > foldBytes)) break;
          events.push({ type: row.type, version: rowVersion, payload: row.payload, at: row.at, id: row.id });
          bytes += row.payload.length;
          last = row.at;
        }
        if (events.length === 0) break;
        folded = await fold({ aggregateType, aggregateId, ...folded, events }, deadline);
      }
      if (folded.version === 0) throw unknownAggregate(aggregateType, aggregateId);
      if (version !== maxVersion - 1 && folded.version < version) {
        throw new SpoolError(
          'UNKNOWN_AGGREGATE',
          `${aggregateType} ${aggregateId} has ${folded.version} versions, there is no version ${version}`,
        );
      }
      return { version: folded.version, at: last, state: folded.state === null ? null : (JSON.parse(folded.state) as unknown) };
    },
    close() {
      unfollow();
      return Promise.resolve();
    },
    [Symbol.asyncDispose]() {
      return this.close();
    },
  };
}

const maxVersion = 999_999_999_999;
const unknownAggregate = (type: string, id: string): SpoolError => new SpoolError('UNKNOWN_AGGREGATE', `there is no ${type} ${id}`);

function untilReached(index: AggregateIndex, wanted: ReadonlyMap<string, Offset>, leftMs: number): Promise<void> {
  const there = (): boolean => reached(index.positions, wanted) && [...wanted].every(([key, at]) => at === 0n || index.positions.has(key));
  if (there()) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const stop = index.onCommitted(() => {
      if (!there()) return;
      clearTimeout(timer);
      stop();
      resolve();
    });
    const timer = setTimeout(
      () => {
        stop();
        reject(new SpoolError('EXPIRED', `the index of ${index.topic} did not reach the end of the log in time`));
      },
      Math.max(0, leftMs),
    );
  });
}
