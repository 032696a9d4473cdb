import { randomUUID } from 'node:crypto';
import { ReplayJobSchema, SpoolError, toSpoolError, type ReplayJob, type TopicOffset } from '@spool/schemas';
import type { RegisteredComponent, Registry } from '@spool/sdk';
import { type Instance, type Offset, type ProducerRecord, type TransactionalProducer } from '@spool/streams';
import { orderRecords, startsOf, type Actor } from '../consumers/index.js';
import { openJobs, unknownReplay, viewOf, type Jobs } from './jobs.js';
import type { ReplayRequest, ReplayView } from './requests.js';

export type ReplayOrder =
  { readonly action: 'pause' | 'resume' | 'cancel' } | { readonly action: 'throttle'; readonly recordsPerSecond: number | null };

export interface ReplayService extends AsyncDisposable {
  /**
   * Orders a replay. The job and the order to the consumer stand in one Kafka transaction: there is never one without the other.
   * @throws SpoolError UNKNOWN_CONSUMER, INVALID_REQUEST, OFFSET_OUT_OF_RANGE, REPLAY_RUNNING
   */
  start(request: ReplayRequest, actor: Actor): Promise<ReplayView>;
  get(id: string): ReplayView;
  list(): readonly ReplayView[];
  order(id: string, order: ReplayOrder, actor: Actor): Promise<ReplayView>;
  close(): Promise<void>;
}

export interface ReplayServiceOptions {
  readonly instance: Instance;
  readonly registry: Registry;
}

type Planned = Omit<ReplayJob['partitions'][number], 'start' | 'target'> & { readonly start: Offset; readonly target: Offset };

/** Writes as one fenced producer, so that of two services that would start a replay of one target at once only one does. */
const transactionalId = 'spool.replay';

export async function openReplayService({ instance, registry }: ReplayServiceOptions): Promise<ReplayService> {
  const { kafka, codec, topics, now, log } = instance;
  const jobEncoder = await codec.encoder(topics.replayJobs.name, ReplayJobSchema);
  const { order: orderRecord, audit: auditRecord } = await orderRecords(instance);
  const onError = (error: unknown): void => log('warn', 'a replay record was passed over', { error: String(error) });
  const jobs = await openJobs(kafka, codec, topics.replayJobs.name, onError);
  let writer: TransactionalProducer | undefined;
  let turn: Promise<unknown> = Promise.resolve();

  /** One at a time; what `decide` looks at cannot change before its records are written. */
  const write = <T>(decide: () => Promise<{ records: readonly ProducerRecord[]; result: T }>): Promise<T> => {
    const attempt = async (left: number): Promise<T> => {
      try {
        writer ??= await kafka.transactionalProducer({ transactionalId: `${topics.namespace}${transactionalId}` });
        await caughtUp(jobs, kafka, topics.replayJobs.name, now);
        const { records, result } = await decide();
        if (records.length === 0) return result;
        await writer.commit(records);
        // Whoever gets the answer may ask for the job at once.
        await caughtUp(jobs, kafka, topics.replayJobs.name, now).catch(onError);
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
  const consumerOf = (target: string): string => registry.component(target)?.consumer ?? target;
  const view = (job: ReplayJob): ReplayView => viewOf(job, consumerOf(job.target), jobs.progress(job.id));

  const finish = (): void => {
    for (const job of jobs.list()) {
      if (job.state === 'running' && ended(job) !== undefined) void settle(job.id);
    }
  };
  /** A replay has ended when it has on every instance that is registered, and on one at least. */
  const ended = (job: ReplayJob): 'completed' | 'cancelled' | undefined => {
    const rows = jobs.progress(job.id);
    const component = registry.component(job.target);
    const registered =
      registry.bundles().find((each) => each.id === component?.bundle && each.version === component.bundleVersion)?.instances ?? [];
    const open = (state: string): boolean => state === 'running' || state === 'paused';
    if (rows.length === 0 || rows.some((row) => open(row.state) && registered.includes(row.instance))) return undefined;
    if (registered.some((each) => !rows.some((row) => row.instance === each))) return undefined;
    return rows.some((row) => row.state === 'cancelled') ? 'cancelled' : 'completed';
  };
  const settle = (id: string): Promise<void> =>
    write(() => {
      const job = jobs.get(id);
      const state = job === undefined ? undefined : ended(job);
      const records = job?.state !== 'running' || state === undefined ? [] : [jobRecord({ ...job, state, updatedAt: now() })];
      return Promise.resolve({ records, result: undefined });
    }).catch((error: unknown) =>
      log('warn', 'the end of a replay was not written; it is tried again', { replay: id, error: String(error) }),
    );
  jobs.onChange(finish);
  const timer = setInterval(finish, 2000);

  let closing: Promise<void> | undefined;
  const close = (): Promise<void> =>
    (closing ??= (async () => {
      clearInterval(timer);
      await turn;
      await writer?.close();
      await jobs.close();
    })());
  return {
    async start(request, actor) {
      const component = targetOf(registry, request.target);
      const plan = await planOf(instance, component, request);
      const resetState = request.resetState ?? request.from === 'earliest';
      const at = now();
      const job: ReplayJob = {
        id: randomUUID(),
        target: component.name,
        mode: request.mode,
        state: request.dryRun ? 'planned' : 'running',
        request: JSON.stringify(request),
        partitions: plan.map((each) => ({ ...each, start: Number(each.start), target: Number(each.target) })),
        reason: request.reason,
        actor: actor.name,
        createdAt: at,
        updatedAt: at,
        error: null,
      };
      if (request.dryRun) return view(job);
      const consumer = component.consumer!;
      return write(() => {
        const running = jobs.list().find((other) => other.target === component.name && other.state === 'running');
        // After a commit whose outcome was unknown this is the job itself.
        if (running?.id === job.id) return Promise.resolve({ records: [], result: view(job) });
        if (running !== undefined)
          throw new SpoolError('REPLAY_RUNNING', `replay ${running.id} of ${component.name} is running`, { facts: { replay: running.id } });
        const places = (which: 'start' | 'target'): TopicOffset[] =>
          plan.map(({ topic, partition, ...each }) => ({ topic, partition, offset: Number(each[which]) }));
        const { reason } = request;
        const base = { consumer, actor: actor.name, reason, replayId: job.id };
        const records = [
          jobRecord(job),
          orderRecord({ ...base, action: 'rate', recordsPerSecond: request.rate ?? null }),
          orderRecord({ ...base, action: 'rewind', positions: places('start'), targets: places('target'), resetState }),
          auditRecord(actor, 'replay', component.name, reason),
        ];
        return Promise.resolve({ records, result: view(job) });
      });
    },
    get(id) {
      const job = jobs.get(id);
      if (job === undefined) throw unknownReplay(id);
      return view(job);
    },
    list: () => jobs.list().map(view),
    order: (id, order, actor) =>
      write(() => {
        const job = jobs.get(id);
        if (job === undefined) throw unknownReplay(id);
        if (job.state !== 'running') throw new SpoolError('INVALID_REQUEST', `replay ${id} has ended: it is ${job.state}`);
        const base = { consumer: consumerOf(job.target), actor: actor.name, reason: `replay ${id}`, replayId: id };
        const records =
          order.action === 'throttle'
            ? [orderRecord({ ...base, action: 'rate', recordsPerSecond: order.recordsPerSecond })]
            : [orderRecord({ ...base, action: order.action })];
        return Promise.resolve({ records: [...records, auditRecord(actor, `replay.${order.action}`, id, base.reason)], result: view(job) });
      }),
    close,
    [Symbol.asyncDispose]: close,
  };
}

function targetOf(registry: Registry, target: string): RegisteredComponent {
  const component = registry.component(target) ?? registry.components().find((each) => each.consumer === target);
  if (component?.consumer === undefined) throw new SpoolError('UNKNOWN_CONSUMER', `there is no component or consumer ${target}`);
  if (!component.replayable) {
    throw new SpoolError('INVALID_REQUEST', `${component.name} is a ${component.kind}: only projectors are rewound`, {
      violations: [{ pointer: '/target', message: 'Expected a projector' }],
    });
  }
  return component;
}

/** Where each partition begins and ends. The end is fixed now: a record that comes later is new, whatever the replay does. */
async function planOf({ kafka }: Instance, component: RegisteredComponent, { from }: ReplayRequest): Promise<readonly Planned[]> {
  const plan: Planned[] = [];
  for (const topic of component.sources ?? []) {
    const ends = await kafka.admin.offsets(topic);
    const starts = await startsOf(kafka, topic, from, ends, '/from');
    for (const { partition, latest } of ends) plan.push({ topic, partition, start: starts.get(partition) ?? latest, target: latest });
  }
  return plan;
}

/** The table of jobs holds all that is written: nobody else writes jobs while this holds the transactional id. */
async function caughtUp(jobs: Jobs, kafka: Instance['kafka'], topic: string, now: () => number): Promise<void> {
  const [end] = await kafka.admin.offsets(topic);
  const deadline = now() + 5000;
  while (end !== undefined && jobs.position < end.latest) {
    if (now() > deadline) throw new SpoolError('UNAVAILABLE', 'the replay jobs cannot be read', { retryAfterMs: 1000 });
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
