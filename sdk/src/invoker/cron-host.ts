import { CronStartedSchema, toSpoolError } from '@spool/schemas';
import {
  checkpointCodec,
  transactionalWork,
  type Instance,
  type RunningProcessor,
  type StoreSpec,
  type TaskContext,
  type TaskRequest,
  type TaskWork,
} from '@spool/streams';
import { consumerId } from '../bundle/descriptor.js';
import type { Gateway } from '../gateway/messages.js';
import { handled, type Hosting } from '../host/hosting.js';
import { emitSpan, microsSince } from '../host/spans.js';
import { newTraceparent } from '../host/traces.js';
import { bounded } from './bounded.js';
import { invokerContext } from './context.js';
import type { Cron } from './cron.js';

/** The schedule by which the next tick was set: one row, under the name of the cron. */
interface Scheduled {
  readonly schedule: string;
}
const scheduledTable: StoreSpec = {
  name: 'scheduled',
  encode: (row) => Buffer.from(JSON.stringify(row)),
  decode: (bytes) => JSON.parse(bytes.toString()) as Scheduled,
};
/** The time has come: what is due is set down, with the tick that follows. */
const tickTimer = 'tick';
/** A run that is due, keyed by its tick. It is a timer of its own, so that one that fails is parked and the next tick stands. */
const runTimer = 'run';

/**
 * A cron is a processor with one task, which one instance owns, and its ticks are timers of that task: they survive restarts and moves with
 * its changelog, and one that has fired is gone in the transaction that says so.
 */
export async function hostCron(hosting: Hosting, cron: Cron, gateway: Gateway, stop: AbortSignal): Promise<RunningProcessor> {
  const { instance } = hosting;
  const { topics, kafka } = instance;
  const consumer = consumerId(hosting.bundle.id, cron.name, 1);
  const source = topics.cron(cron.name);
  await kafka.admin.ensureTopics([source, topics.changelog(consumer, 1), { ...topics.deadLetters(consumer), partitions: 1 }]);
  return instance.run({
    consumer,
    sources: [source.name],
    assignment: 'group',
    startAt: 'earliest',
    fixed: `${cron.name} goes by the clock: its position says nothing`,
    open: (task) => openTask({ hosting, cron, gateway, stop, consumer }, task),
  });
}

interface Hosted {
  readonly hosting: Hosting;
  readonly cron: Cron;
  readonly gateway: Gateway;
  readonly stop: AbortSignal;
  readonly consumer: string;
}

async function openTask(hosted: Hosted, task: TaskRequest): Promise<TaskWork> {
  const { cron, consumer } = hosted;
  const { instance } = hosted.hosting;
  const { topics } = instance;
  await announce(instance, cron, topics.cron(cron.name).name);
  const changelog = { topic: topics.changelog(consumer, 1).name, partition: Number(task.id) };
  return transactionalWork({
    kafka: instance.kafka,
    consumer,
    deadLetterTopic: topics.deadLetters(consumer).name,
    task: task.id,
    generation: task.assignment?.generation ?? 0,
    now: instance.now,
    store: instance.openStore(consumer, task.id),
    changelog,
    signal: task.signal,
    stores: [scheduledTable],
    ...(await checkpointCodec(instance, changelog.topic)),
    handle: (_, context) => begin(cron, context),
    async onTimer({ name, key, at }, context) {
      if (name === runTimer) return run(hosted, Number(key));
      const from = missed(cron, at, context.now) ? skipped(hosted, at, context.now) : at;
      if (from === at) context.schedule({ name: runTimer, key: String(at), clock: 'wall', at });
      scheduleAfter(cron, from, context);
    },
  });
}

/** Each new owner says so, and hears it itself: it looks then whether the next tick is set as its code has it. */
async function announce({ codec, producer, id, now }: Instance, { name, schedule, timeZone }: Cron, topic: string): Promise<void> {
  const encoder = await codec.encoder(topic, CronStartedSchema);
  await producer.send({ topic, key: name, value: encoder.encode({ schedule, timeZone, instance: id, at: now() }) });
}

function begin(cron: Cron, context: TaskContext): void {
  const rows = context.table<Scheduled>(scheduledTable.name);
  const schedule = `${cron.schedule} ${cron.timeZone}`;
  if (rows.get(cron.name)?.schedule === schedule) return;
  rows.put(cron.name, { schedule });
  scheduleAfter(cron, context.now, context);
}

function scheduleAfter(cron: Cron, time: number, context: TaskContext): void {
  const at = cron.after(time);
  if (at === undefined) context.cancel(tickTimer, cron.name);
  else context.schedule({ name: tickTimer, key: cron.name, clock: 'wall', at });
}

const missed = ({ missed: policy, graceMs }: Cron, at: number, now: number): boolean => policy === 'skip' && now - at > graceMs;

/** Goes on with the first tick that is not too late. */
function skipped({ hosting, cron }: Hosted, at: number, now: number): number {
  hosting.instance.log('warn', 'a cron skips ticks that were missed', { cron: cron.name, from: new Date(at).toISOString() });
  return now - cron.graceMs - 1;
}

async function run({ hosting, cron, gateway, stop }: Hosted, at: number): Promise<void> {
  const { instance } = hosting;
  const began = performance.now();
  const id = `${cron.name}/${new Date(at).toISOString()}`;
  const meta = { correlationId: id, traceparent: newTraceparent() };
  const { name: component, timeoutMs } = cron;
  let errorClass: string | null = null;
  try {
    await bounded({ timeoutMs, stop, late: () => new Error(`the run of ${id} took longer than ${timeoutMs} ms`) }, (signal) =>
      handled(hosting, { component, kind: 'invoker', messageKind: 'timer', type: component, payload: { at, id }, meta }, () =>
        cron.run({ at, id }, invokerContext(hosting, cron, gateway, { signal, id, meta }) as never),
      ),
    );
  } catch (thrown) {
    errorClass = toSpoolError(thrown).code;
    throw thrown;
  } finally {
    emitSpan(instance, {
      component,
      componentKind: 'invoker',
      messageKind: 'request',
      type: component,
      record: undefined,
      meta: { ...meta, id },
      handleUs: microsSince(began),
      commitUs: 0,
      outcome: null,
      errorClass,
      replayId: null,
    });
  }
}
