import { createHash, randomUUID } from 'node:crypto';
import {
  ReplayJobSchema,
  SpoolError,
  toSpoolError,
  type ControlOrder,
  type ReplayJob,
  type ReplayReport,
  type TopicOffset,
} from '@spool/schemas';
import { openAliases, type Aliases, type Registry } from '@spool/sdk';
import {
  logEnds,
  offset,
  splitPartitionKey,
  type Instance,
  type Offset,
  type ProducerRecord,
  type ReplayFilter,
  type TransactionalProducer,
} from '@spool/streams';
import { orderRecords, type Actor } from '../consumers/index.js';
import { openJobs, speedOf, unknownReplay, unreached, viewOf, type Jobs } from './jobs.js';
import { aliasAfter, aliasRecords, builder } from './aliases.js';
import { refuseLoss, refuseTwins, targetOf } from './checks.js';
import { createPacing, type Behind } from './pacing.js';
import { previewOf } from './preview.js';
import { differenceLines, reportOf } from './reports.js';
import type { ReplayRequest, ReplayView, ReportView } from './requests.js';
import { endsAtOnce, planOf, type EventPlaces, type Target } from './starts.js';
import { after, isJoint, isOpen, next, takes, type Action, type State } from './transitions.js';

export type ReplayOrder =
  { readonly action: Exclude<Action, 'throttle'> } | { readonly action: 'throttle'; readonly recordsPerSecond: number | null };

export interface ReplayService extends AsyncDisposable {
  /**
   * Orders a replay. The job and the order to the consumer stand in one Kafka transaction: there is never one without the other.
   * @param key the same request with the same key is the same replay, for as long as the replay is kept. @default each is a new one
   * @throws SpoolError UNKNOWN_CONSUMER, INVALID_REQUEST, OFFSET_OUT_OF_RANGE, UNKNOWN_AGGREGATE, NOT_FOUND, REPLAY_RUNNING, IDEMPOTENCY_KEY_REUSED
   */
  start(request: ReplayRequest, actor: Actor, key?: string): Promise<ReplayView>;
  get(id: string): ReplayView;
  list(): readonly ReplayView[];
  /** Called when any replay may have changed. @returns forgets the listener */
  onChange(listener: () => void): () => void;
  /** @throws SpoolError UNKNOWN_REPLAY, INVALID_REQUEST when it does not take the order as it stands */
  order(id: string, order: ReplayOrder, actor: Actor): Promise<ReplayView>;
  /** What a scratch replay has found. @throws SpoolError UNKNOWN_REPLAY, NOT_FOUND while there is none */
  report(id: string): ReportView;
  /** Every difference as a line of JSON. @throws as `report` does, and NOT_FOUND after a week */
  differences(id: string): AsyncGenerator<string>;
  close(): Promise<void>;
}

export interface ReplayServiceOptions extends EventPlaces {
  readonly instance: Instance;
  readonly registry: Registry;
  /** Consumers of the platform itself that can be rewound. @default none */
  readonly own?: () => readonly Target[];
  /** How far all consumers are behind, which replays must not make worse. @default not known */
  readonly lags?: () => Promise<readonly Behind[]>;
}

/** Writes as one fenced producer, so that of two services that would start a replay of one target at once only one does. */
const transactionalId = 'spool.replay';

export async function openReplayService(options: ReplayServiceOptions): Promise<ReplayService> {
  const { instance, registry, own = () => [], lags = () => Promise.resolve([]), ...places } = options;
  const { kafka, codec, topics, now, log } = instance;
  const jobEncoder = await codec.encoder(topics.replayJobs.name, ReplayJobSchema);
  const { order: orderRecord, audit: auditRecord } = await orderRecords(instance);
  const onError = (error: unknown): void => log('warn', 'a replay record was passed over', { error: String(error) });
  const jobs = await openJobs(kafka, codec, topics.replayJobs.name, onError);
  const aliases = await openAliases({ kafka, codec, topics, onError });
  const alias = await aliasRecords(instance, aliases);
  const tables = [
    [topics.replayJobs.name, jobs],
    [topics.aliases.name, aliases],
  ] as const;
  /** Behind what was written last, by topic: the end of the log passes a commit a moment after it is answered. */
  const written = new Map<string, Offset>();
  const read = async (): Promise<void> => {
    for (const [topic, table] of tables) await caughtUp(table, kafka, topic, written.get(topic), now);
  };
  let writer: TransactionalProducer | undefined;
  let turn: Promise<unknown> = Promise.resolve();

  /** One at a time; what `decide` looks at cannot change before its records are written. */
  const write = <T>(decide: () => Promise<{ records: readonly ProducerRecord[]; result: T }>): Promise<T> => {
    const attempt = async (left: number): Promise<T> => {
      try {
        writer ??= await kafka.transactionalProducer({ transactionalId: `${topics.namespace}${transactionalId}` });
        await read();
        const { records, result } = await decide();
        if (records.length === 0) return result;
        for (const at of await writer.commit(records)) written.set(at.topic, offset(at.offset + 1n));
        // Whoever gets the answer may ask for the job at once.
        await read().catch(onError);
        return result;
      } catch (thrown) {
        if (toSpoolError(thrown).entry.retryable !== 'fatal') throw thrown;
        // Another service has written: take the id back, read what it wrote, and decide anew.
        await writer?.close();
        writer = undefined;
        if (left === 0)
          throw new SpoolError('UNAVAILABLE', 'other services write at the same time; try again', { cause: thrown, retryAfterMs: 500 });
        return attempt(left - 1);
      }
    };
    const done = turn.then(() => attempt(3));
    turn = done.catch(() => undefined);
    return done;
  };
  const jobRecord = (job: ReplayJob): ProducerRecord => ({ topic: topics.replayJobs.name, key: job.id, value: jobEncoder.encode(job) });
  const pacing = createPacing(now);
  /** The consumer that replays. */
  const consumerOf = (job: ReplayJob): string =>
    job.mode === 'rewind' ? (registry.component(job.target)?.consumer ?? job.target) : builder(job);
  const view = (job: ReplayJob): ReplayView => viewOf(job, consumerOf(job), jobs.progress(job.id), pacing.slowedFor(job.id));

  const finish = (): void => {
    for (const job of jobs.list()) if (isOpen(job) && ended(job) !== undefined) void settle(job.id);
  };
  const registeredOf = (job: ReplayJob): readonly string[] => {
    const component = registry.component(job.target);
    return registry.bundles().find((each) => each.id === component?.bundle && each.version === component.bundleVersion)?.instances ?? [];
  };
  /** What a replay has come to: it has when every instance that is registered has, and one at least. */
  const ended = (job: ReplayJob): State | undefined => {
    if (job.mode === 'unknown') return undefined;
    const to = next[job.mode][job.state];
    if (job.mode === 'scratch') return jobs.report(job.id) === undefined ? undefined : to;
    const registered = registeredOf(job);
    const all = (done: readonly string[]): boolean => done.length > 0 && registered.every((each) => done.includes(each));
    if (job.state !== 'running') {
      const generation = aliases.get(job.consumer)?.generation;
      const there = jobs.arrivals(job.id).filter((arrival) => arrival.generation === generation);
      return all(there.map((arrival) => arrival.instance)) ? to : undefined;
    }
    const rows = jobs.progress(job.id);
    if (rows.some((row) => row.shared)) {
      if (unreached(job, rows).length === 0) return to;
      return rows.some((row) => row.state === 'cancelled') && !rows.some((row) => row.state === 'running' || row.state === 'paused')
        ? 'cancelled'
        : undefined;
    }
    const open = rows.filter(({ state }) => state === 'running' || state === 'paused').map((row) => row.instance);
    // Of those that have left, what is done counts; where all have left in the middle, the replay waits for them.
    const done = rows.map((row) => row.instance).filter((each) => !open.includes(each));
    if (registered.some((each) => open.includes(each)) || !all(done)) return undefined;
    return rows.some((row) => row.state === 'cancelled') ? 'cancelled' : to;
  };
  /** Those that were ordered together, itself first. */
  const together = (job: ReplayJob): readonly ReplayJob[] => [
    job,
    ...jobs.list().filter((each) => job.group !== '' && each.group === job.group && each.id !== job.id),
  ];
  /** With what the end of a step does to the alias. A hand-over ends for all that were ordered together, or for none. */
  const settle = (id: string): Promise<void> =>
    write(() => {
      const records: ProducerRecord[] = [];
      const job = jobs.get(id);
      const joint = job?.mode === 'shadow' && job.state !== 'running';
      const all = job === undefined ? [] : joint ? together(job).filter(({ state }) => state === job.state) : [job];
      for (const each of all) {
        const state = isOpen(each) ? ended(each) : undefined;
        if (state === undefined) return Promise.resolve({ records: [], result: undefined });
        records.push(jobRecord({ ...each, state, updatedAt: now() }));
        if (each.mode === 'scratch') records.push(alias.drop(each));
        if (joint) records.push(alias.flip(each));
      }
      return Promise.resolve({ records, result: undefined });
    }).catch((error: unknown) =>
      log('warn', 'the end of a replay was not written; it is tried again', { replay: id, error: String(error) }),
    );
  /** Holds back the replays for whose sake others fall behind. */
  const keepPace = async (): Promise<void> => {
    const running = jobs.list().flatMap((job) => {
      const { maxLagSeconds } = JSON.parse(job.request) as Partial<ReplayRequest>;
      if (job.state !== 'running' || maxLagSeconds == null) return [];
      const speed = view(job).recordsPerSecond / Math.max(1, jobs.progress(job.id).length);
      return [{ id: job.id, consumer: consumerOf(job), maxLagSeconds, asked: job.rate, speed }];
    });
    const consumers = running.length === 0 ? [] : await lags();
    const paces = pacing.decide(running, consumers);
    if (paces.length === 0) return;
    await write(() => {
      const records = paces.map(({ id, consumer, rate }) => {
        const reason = rate === null ? 'others have caught up' : `${pacing.slowedFor(id) ?? 'others'} is behind`;
        return orderRecord({ consumer, action: 'rate', recordsPerSecond: rate, actor: instance.id, reason, replayId: id });
      });
      return Promise.resolve({ records, result: undefined });
    });
  };
  const tick = (): void => {
    finish();
    keepPace().catch((error: unknown) => log('warn', 'the pace of a replay was not kept; it is tried again', { error: String(error) }));
  };
  jobs.onChange(finish);
  const timer = setInterval(tick, 2000);

  /** @throws SpoolError REPLAY_RUNNING */
  const refuseSecond = ({ name }: Target, job: ReplayJob): void => {
    const running = jobs.list().find((other) => other.target === name && isOpen(other));
    const kept = aliases.get(job.consumer)?.standby == null ? undefined : aliases.get(job.consumer)!.replayId;
    const other = running?.id ?? kept;
    if (other === undefined) return;
    const why = running === undefined ? 'keeps a second copy: drop it first' : `is ${running.state}`;
    throw new SpoolError('REPLAY_RUNNING', `replay ${other} of ${name} ${why}`, { facts: { replay: other } });
  };
  /** What sets a replay going: an order to the consumer, or a copy beside it. */
  const begin = (
    target: Target,
    job: ReplayJob,
    { rate, reason }: ReplayRequest,
    { resetState, filter }: { readonly resetState: boolean; readonly filter: ReplayFilter | undefined },
  ): ProducerRecord[] => {
    const base = { consumer: consumerOf(job), actor: job.actor, reason, replayId: job.id };
    const limit = orderRecord({ ...base, action: 'rate', recordsPerSecond: rate ?? null });
    if (job.mode !== 'rewind') {
      const [only] = registeredOf(job).toSorted();
      if (only === undefined) throw new SpoolError('UNAVAILABLE', `no instance of ${target.bundle} is registered`, { retryAfterMs: 2000 });
      return [limit, alias.build(job, job.mode === 'scratch' ? only : null)];
    }
    const places = (which: 'start' | 'target'): TopicOffset[] =>
      job.partitions.map(({ topic, partition, [which]: offset }) => ({ topic, partition, offset }));
    return [
      limit,
      orderRecord({ ...base, action: 'rewind', positions: places('start'), targets: places('target'), resetState, filter: stored(filter) }),
    ];
  };

  let closing: Promise<void> | undefined;
  const close = (): Promise<void> =>
    (closing ??= (async () => {
      clearInterval(timer);
      await turn;
      await writer?.close();
      await aliases.close();
      await jobs.close();
    })());
  const found = (id: string): ReplayJob => {
    const job = jobs.get(id);
    if (job === undefined) throw unknownReplay(id);
    return job;
  };
  /** The replay that was ordered under this id. @throws SpoolError IDEMPOTENCY_KEY_REUSED when it was another */
  const knownAs = (id: string, request: ReplayRequest): ReplayJob | undefined => {
    const job = jobs.get(id);
    if (job !== undefined && job.request !== JSON.stringify(request))
      throw new SpoolError('IDEMPOTENCY_KEY_REUSED', `replay ${id} was ordered with this key, and asks for something else`);
    return job;
  };
  const reported = (id: string): ReplayReport => {
    const { mode, state } = found(id);
    const report = jobs.report(id);
    if (report === undefined) throw new SpoolError('NOT_FOUND', `replay ${id} is a ${mode} and ${state}: it has no report`);
    return report;
  };
  return {
    async start(request, actor, key) {
      const first = key === undefined ? randomUUID() : idOf(actor, key);
      const before = knownAs(first, request);
      if (before !== undefined) return view(before);
      const names = [request.target, ...(request.with ?? [])];
      const targets = names.map((target) => targetOf(registry, own(), { ...request, target }));
      refuseLoss(request);
      refuseTwins(request, targets);
      const endsOf = endsAtOnce(kafka);
      const at = now();
      const planned = await Promise.all(
        targets.map(async (target, index) => {
          const { partitions: plan, filter } = await planOf(instance, places, target, request, endsOf);
          const job: ReplayJob = {
            id: index === 0 ? first : key === undefined ? randomUUID() : idOf(actor, JSON.stringify([key, target.name])),
            target: target.name,
            consumer: target.readModel ?? target.consumer!,
            group: targets.length === 1 ? '' : first,
            mode: request.mode,
            state: request.dryRun ? 'planned' : 'running',
            request: JSON.stringify(request),
            partitions: plan.map((each) => ({ ...each, start: Number(each.start), target: Number(each.target) })),
            reason: request.reason,
            actor: actor.name,
            createdAt: at,
            updatedAt: at,
            error: null,
            rate: request.rate ?? null,
          };
          return { target, plan, filter, job };
        }),
      );
      if (request.dryRun) {
        const { job, plan, filter } = planned[0]!;
        const speeds = jobs.list().flatMap((each) => (each.target === job.target ? (speedOf(each, jobs.progress(each.id)) ?? []) : []));
        const offsetsPerSecond = speeds.length === 0 ? undefined : Math.max(...speeds);
        return { ...view(job), preview: await previewOf({ kafka, plan, filter, offsetsPerSecond, rate: request.rate, now }) };
      }
      return write(() => {
        const known = knownAs(first, request);
        // After a commit whose outcome was unknown this is the job itself.
        if (known !== undefined) return Promise.resolve({ records: [], result: view(known) });
        const records = planned.flatMap(({ target, job, filter }) => {
          refuseSecond(target, job);
          const resetState = request.resetState ?? (request.from === 'earliest' && filter === undefined && target.restores === undefined);
          return [
            jobRecord(job),
            ...begin(target, job, request, { resetState, filter }),
            auditRecord(actor, 'replay', target.name, job.reason),
          ];
        });
        return Promise.resolve({ records, result: view(planned[0]!.job) });
      });
    },
    get: (id) => view(found(id)),
    list: () => jobs.list().map(view),
    onChange: (listener) => jobs.onChange(listener),
    order: (id, order, actor) =>
      write(async () => {
        const job = found(id);
        const { action } = order;
        const all = together(job);
        const obeying = isJoint(action) ? all : all.filter((each) => each === job || takes(each, action));
        const cut = await cutOf(instance, obeying);
        const records = obeying.flatMap((each) => {
          const state = after(each, action);
          const base = { consumer: consumerOf(each), actor: actor.name, reason: `replay ${each.id}`, replayId: each.id };
          const shown = aliasAfter(alias, each, action, state, cut(each));
          const control = [];
          if (order.action === 'throttle') control.push(orderRecord({ ...base, action: 'rate', recordsPerSecond: order.recordsPerSecond }));
          else if (action === 'pause' || action === 'resume') control.push(orderRecord({ ...base, action }));
          else if (action === 'cancel' && each.mode === 'rewind') control.push(orderRecord({ ...base, action }));
          // What held the copy back while it was built does not hold it back when it answers.
          else if (action === 'promote') control.push(orderRecord({ ...base, action: 'rate' }), orderRecord({ ...base, action: 'resume' }));
          const rate = order.action === 'throttle' ? order.recordsPerSecond : each.rate;
          const moved = state === each.state && rate === each.rate ? [] : [jobRecord({ ...each, state, rate, updatedAt: now() })];
          return [...moved, ...shown, ...control, auditRecord(actor, `replay.${action}`, each.id, base.reason)];
        });
        return { records, result: view({ ...job, state: after(job, action), updatedAt: now() }) };
      }),
    report: (id) => reportOf(reported(id)),
    differences: (id) => differenceLines(instance, reported(id)),
    close,
    [Symbol.asyncDispose]: close,
  };
}

const stored = (filter: ReplayFilter | undefined): ControlOrder['filter'] => {
  if (filter === undefined) return null;
  const ends = Object.entries(filter.ends).map(([key, at]) => ({ ...splitPartitionKey(key), offset: Number(at) }));
  return { ...filter, types: [...filter.types], keys: [...filter.keys], ends };
};

/** Keys of one caller are not those of another. */
function idOf({ name }: Actor, key: string): string {
  const hash = createHash('sha256')
    .update(JSON.stringify([name, key]))
    .digest('hex');
  return `${hash.slice(0, 8)}-${hash.slice(8, 12)}-${hash.slice(12, 16)}-${hash.slice(16, 20)}-${hash.slice(20, 32)}`;
}

/** Where the log ends now: the same for all of them. */
async function cutOf({ kafka }: Instance, all: readonly ReplayJob[]): Promise<(job: ReplayJob) => TopicOffset[]> {
  const topicsOf = ({ partitions }: ReplayJob): Set<string> => new Set(partitions.map(({ topic }) => topic));
  const ends = await logEnds(kafka, [...new Set(all.flatMap((job) => [...topicsOf(job)]))]);
  const places = [...ends].map(([key, at]) => ({ ...splitPartitionKey(key), offset: Number(at) }));
  return (job) => places.filter(({ topic }) => topicsOf(job).has(topic));
}

/** The table of jobs holds all that is written: nobody else writes jobs while this holds the transactional id. */
async function caughtUp(
  table: Pick<Jobs | Aliases, 'position'>,
  kafka: Instance['kafka'],
  topic: string,
  written: Offset | undefined,
  now: () => number,
): Promise<void> {
  const [end] = await kafka.admin.offsets(topic);
  const deadline = now() + 5000;
  while ((end !== undefined && table.position < end.latest) || table.position < (written ?? 0n)) {
    if (now() > deadline) throw new SpoolError('UNAVAILABLE', 'the replay jobs cannot be read', { retryAfterMs: 1000 });
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
