import { randomUUID } from 'node:crypto';
import { SnapshotSchema, SpoolError, toSpoolError, type Reply } from '@spool/schemas';
import { fromToken, rebuildSnapshot, refusal, stateHash, takeSnapshot, type Gateway, type Registry } from '@spool/sdk';
import { splitPartitionKey, type Instance } from '@spool/streams';
import { differences, type Change } from './differences.js';
import { maxVersion } from './index-rows.js';
import { isSource, startIndexer, type EventIndex, type EventSource } from './indexer.js';
import { beginning, foldAsker, stateAt, statesAt } from './states.js';
import { instancesIn, readStep, type InstanceQuery, type ReadStep, type SagaInstance } from './sagas.js';
import { lastVersion, rowAt, rowsOf, untilReached, versionAt } from './streams.js';

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
/** When an aggregate is looked at: at a version, at a time (milliseconds since the epoch), or now. */
export interface Moment {
  readonly version?: number | undefined;
  readonly at?: number | undefined;
}
export interface AggregateState {
  readonly version: number;
  /** When the last event of this version was decided, in milliseconds since the epoch; 0 before the first. */
  readonly at: number;
  /** Its last event ended it. */
  readonly deleted: boolean;
  readonly state: unknown;
}
export interface Difference {
  readonly from: AggregateState;
  readonly to: AggregateState;
  readonly changes: readonly Change[];
}

/** What one event did to the state of its aggregate. */
export interface Step {
  readonly version: number;
  readonly before: unknown;
  readonly after: unknown;
  readonly changes: readonly Change[];
}

/** Who asks for a snapshot, and until when it is waited for. */
export interface Asked {
  readonly deadline: number;
  readonly actor: string;
}

/** Of an aggregate, a service or a saga: whatever writes events. */
export interface StreamRequest {
  readonly aggregateType: string;
  readonly aggregateId: string;
  /** Reads at least up to this position; without it, up to the end of the log at the call. */
  readonly after?: string | undefined;
  readonly deadline: number;
}
export interface EventsRequest extends StreamRequest {
  /** The first version to give (the last one when backwards). @default the first (the last) */
  readonly from?: number | undefined;
  readonly backwards?: boolean;
  readonly limit: number;
}

export interface EventStore extends AsyncDisposable {
  /** The version of an aggregate as the log has it now; 0 for one that does not exist. It never falls. @throws SpoolError UNKNOWN_AGGREGATE, EXPIRED */
  version(aggregateType: string, aggregateId: string, deadline: number): Promise<number>;
  /** The events of one aggregate. @throws SpoolError UNKNOWN_AGGREGATE, EXPIRED */
  events(request: EventsRequest): Promise<readonly StoredEvent[]>;
  /** The instances of a saga, in the order of their ids. @throws SpoolError NOT_FOUND, EXPIRED */
  instances(request: Omit<StreamRequest, 'aggregateId'> & InstanceQuery): Promise<readonly SagaInstance[]>;
  /** The steps of an instance of a saga, as `events`. @throws SpoolError NOT_FOUND, EXPIRED */
  steps(request: EventsRequest): Promise<readonly ReadStep[]>;
  /** The state at a moment. @throws SpoolError UNKNOWN_AGGREGATE, INVALID_REQUEST for what is no aggregate, EXPIRED, INDETERMINATE */
  state(request: StreamRequest & Moment): Promise<AggregateState>;
  /** What lies between two moments; version 0 is the state before the first event. @throws as `state` */
  difference(request: StreamRequest & { readonly from: Moment; readonly to: Moment }): Promise<Difference>;
  /**
   * What the events of these versions did to the state: the lowest ones of them alone when the states are large. @throws as `state`
   */
  walk(request: StreamRequest & { readonly versions: readonly number[] }): Promise<readonly Step[]>;
  /** Has the owner of the aggregate take a snapshot. @returns its version. @throws SpoolError UNKNOWN_AGGREGATE, INVALID_REQUEST, EXPIRED, INDETERMINATE */
  snapshot(aggregateType: string, aggregateId: string, asked: Asked): Promise<number>;
  /**
   * Has an aggregate folded from its first event on, and its owner take the outcome for its state and its snapshot, in the place of what they were.
   * @returns its version. @throws as `snapshot`, EXPIRED also when the aggregate changes faster than it can be folded
   */
  rebuild(aggregateType: string, aggregateId: string, asked: Asked): Promise<number>;
  close(): Promise<void>;
}

export interface EventStoreOptions {
  readonly instance: Instance;
  readonly registry: Pick<Registry, 'components' | 'component' | 'onChange'>;
  readonly gateway: Pick<Gateway, 'request'>;
}

/** Indexes the events of every aggregate, service and saga in the registry, as they appear. */
export function openEventStore({ instance, registry, gateway }: EventStoreOptions): EventStore {
  const indexes = new Map<string, Promise<EventIndex | undefined>>();
  const ask = foldAsker(instance, gateway);
  const follow = (source: EventSource): Promise<EventIndex | undefined> => {
    const known = indexes.get(source.name);
    if (known !== undefined) return known;
    const index = startIndexer(instance, source);
    indexes.set(source.name, index);
    index.then(
      (started) => started ?? indexes.delete(source.name),
      (error: unknown) => {
        indexes.delete(source.name);
        instance.log('error', 'events cannot be indexed', { source: source.name, error: String(error) });
      },
    );
    return index;
  };
  const followAll = (): void => {
    // What cannot be indexed now is tried again when it is asked for, or when the registry changes.
    for (const component of registry.components()) if (isSource(component)) follow(component).catch(() => undefined);
  };
  const unfollow = registry.onChange(followAll);
  followAll();

  const indexOf = async (name: string): Promise<EventIndex> => {
    const component = registry.component(name);
    const index = component === undefined || !isSource(component) ? await indexes.get(name) : await follow(component);
    if (index === undefined)
      throw new SpoolError('UNKNOWN_AGGREGATE', `no bundle has an aggregate, a service or a saga ${name} with events`);
    return index;
  };
  /** The index, up to `after` or else to what stands in the log now: whoever has written something reads it. */
  const current = async ({ aggregateType, after, deadline }: Omit<StreamRequest, 'aggregateId'>): Promise<EventIndex> => {
    const index = await indexOf(aggregateType);
    const wanted =
      after === undefined
        ? (await instance.kafka.admin.offsets(index.topic)).map(({ partition, latest }) => [`${index.topic}-${partition}`, latest] as const)
        : // A position may tell of other topics too.
          [...fromToken(after)].filter(([key]) => splitPartitionKey(key).topic === index.topic);
    await untilReached(index, new Map(wanted), deadline - instance.now());
    return index;
  };
  const sagaIndex = async (request: Omit<StreamRequest, 'aggregateId'>): Promise<EventIndex> => {
    const { aggregateType: name } = request;
    if (registry.component(name)?.kind !== 'saga') throw new SpoolError('NOT_FOUND', `no bundle has a saga ${name}`);
    return current(request);
  };
  const folding = async (request: StreamRequest): Promise<EventIndex> => {
    const index = await current(request);
    const { name, kind } = index.source;
    if (kind === 'aggregate') return index;
    throw new SpoolError('INVALID_REQUEST', `${name} is a ${kind}: it has events, and no state that they are folded into`);
  };
  const stateIn = async (index: EventIndex, { aggregateId, deadline }: StreamRequest, moment: Moment): Promise<AggregateState> => {
    const { name } = index.source;
    const last = lastVersion(index, aggregateId);
    if (last === 0) throw unknownAggregate(name, aggregateId);
    const version = moment.version ?? (moment.at === undefined ? last : versionAt(index, aggregateId, moment.at));
    if (version > last) {
      throw new SpoolError('UNKNOWN_AGGREGATE', `${name} ${aggregateId} has ${last} versions, there is no version ${version}`);
    }
    const { state, deleted } = await stateAt(ask, index, aggregateId, version, deadline);
    return { version, at: rowAt(index, aggregateId, version)?.at ?? 0, deleted, state: JSON.parse(state) as unknown };
  };
  const requireAggregate = (name: string): void => {
    const kind = registry.component(name)?.kind;
    if (kind === undefined) throw new SpoolError('UNKNOWN_AGGREGATE', `no bundle has an aggregate ${name}`);
    if (kind !== 'aggregate') throw new SpoolError('INVALID_REQUEST', `${name} is a ${kind}: only aggregates have snapshots`);
  };
  /** To the owner of an aggregate, behind the commands that wait. */
  const order = async (aggregateType: string, key: string, message: Order, { deadline, actor }: Asked): Promise<Reply> => {
    const { type, value, ...expected } = message;
    const topic = instance.topics.commands(aggregateType).name;
    const timeoutMs = Math.max(1, deadline - instance.now());
    const reply = await gateway.request({ topic, key, type, id: randomUUID(), value, timeoutMs, meta: { actor, ...expected } });
    if (reply.outcome !== 'applied') throw refusal(reply);
    return reply;
  };

  return {
    version: async (aggregateType, aggregateId, deadline) =>
      lastVersion(await current({ aggregateType, after: undefined, deadline }), aggregateId),
    async events(request) {
      const events: StoredEvent[] = [];
      for (const [version, { payload, ...row }] of pageOf(await current(request), request)) {
        events.push({ ...row, version, payload: (await instance.codec.decodeAny(payload)).json() });
      }
      if (events.length === 0 && request.from === undefined) throw unknownAggregate(request.aggregateType, request.aggregateId);
      return events;
    },
    async instances({ state, from, limit, ...request }) {
      return instancesIn((await sagaIndex(request)).store, { state, from, limit });
    },
    async steps(request) {
      const steps: ReadStep[] = [];
      for (const [, { payload }] of pageOf(await sagaIndex(request), request)) steps.push(await readStep(instance.codec, payload));
      if (steps.length === 0 && request.from === undefined)
        throw new SpoolError('NOT_FOUND', `saga ${request.aggregateType} has no instance ${request.aggregateId}`);
      return steps;
    },
    async state(request) {
      const found = await stateIn(await folding(request), request, request);
      if (found.version === 0) throw unknownAggregate(request.aggregateType, request.aggregateId);
      return found;
    },
    async difference(request) {
      const index = await folding(request);
      const from = await stateIn(index, request, request.from);
      const to = await stateIn(index, request, request.to);
      return { from, to, changes: differences(from.state, to.state) };
    },
    async walk(request) {
      const index = await folding(request);
      const { aggregateId, deadline } = request;
      if (request.versions.length === 0) return [];
      const versions = [...new Set(request.versions.flatMap((version) => [version - 1, version]))].sort((a, b) => a - b);
      const { states } = await statesAt(ask, index, aggregateId, { versions, deadline, maxLength: maxWalkLength });
      const told = request.versions.filter((version) => states.has(version - 1) && states.has(version));
      return told.map((version) => {
        const [before, after] = [version - 1, version].map((at) => JSON.parse(states.get(at)!) as unknown);
        return { version, before, after, changes: differences(before, after) };
      });
    },
    async snapshot(aggregateType, aggregateId, asked) {
      requireAggregate(aggregateType);
      const { version } = await order(aggregateType, aggregateId, { type: takeSnapshot, value: Buffer.alloc(0) }, asked);
      if (version === null || version === 0) throw unknownAggregate(aggregateType, aggregateId);
      return version;
    },
    async rebuild(aggregateType, aggregateId, asked) {
      requireAggregate(aggregateType);
      const { deadline } = asked;
      const encoder = await instance.codec.encoder(instance.topics.commands(aggregateType).name, SnapshotSchema);
      for (let start = beginning; ;) {
        const index = await current({ aggregateType, after: undefined, deadline });
        const version = lastVersion(index, aggregateId);
        if (version === 0) throw unknownAggregate(aggregateType, aggregateId);
        const { states, deletes, codeVersion } = await statesAt(ask, index, aggregateId, { versions: [version], deadline, start });
        const state = states.get(version)!;
        const snapshot = {
          ...{ aggregateId, version, eventOffset: 0, state, stateHash: stateHash(state), codeVersion, at: instance.now(), rebuilt: true },
          deleted: deletes.includes(rowAt(index, aggregateId, version)?.type ?? ''),
        };
        const message = { type: rebuildSnapshot, value: encoder.encode(snapshot), expectedVersion: version };
        try {
          await order(aggregateType, aggregateId, message, asked);
          return version;
        } catch (thrown) {
          // It went on meanwhile: what was folded is a beginning.
          if (toSpoolError(thrown).code !== 'VERSION_CONFLICT') throw thrown;
          start = { state, version, codeVersion };
        }
      }
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

interface Order {
  readonly type: string;
  readonly value: Buffer;
  readonly expectedVersion?: number;
}
/** Of the states of one walk, in characters. */
const maxWalkLength = 2_000_000;

/** At once, before the index goes on. */
const pageOf = (index: EventIndex, { aggregateId, from, backwards = false, limit }: EventsRequest) => [
  ...rowsOf(index, aggregateId, {
    from: backwards ? 0 : (from ?? 0),
    to: backwards && from !== undefined ? from + 1 : maxVersion,
    reverse: backwards,
    limit,
  }),
];
const unknownAggregate = (type: string, id: string): SpoolError => new SpoolError('UNKNOWN_AGGREGATE', `there is no ${type} ${id}`);
