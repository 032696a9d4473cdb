import {
  BundleLeftSchema,
  HeartbeatSchema,
  InstanceRowSchema,
  messageHeaders,
  toSpoolError,
  type Heartbeat,
  type InstanceRow,
} from '@spool/schemas';
import {
  sweepTimer,
  rowsWork,
  type Instance,
  type ProcessorDefinition,
  type TaskContext,
  type TaskRequest,
  type TaskWork,
} from '@spool/streams';
import { heard, isLate, lives, nextLook, silent } from './liveness.js';

/** Rows of instances have this prefix; the task's checkpoint and timer lie beside them. */
const instancePrefix = 'i/';
const rowsTable = 'instances';
/** Times of the settings may have become shorter: looked at so often while anybody lives. */
const lookAgainMs = 5000;
/** A timer that fires later than this was not looked at in time. */
const awayMs = 1000;
const longestWaitMs = 60 * 60 * 1000;

/**
 * Projects heartbeats into `cluster.instances`, transitions alone. When each instance was heard last is not kept: after a restart, or when it was
 * away for a while itself, the processor takes everybody for heard just now, and so grants one whole period before it declares anyone down.
 */
export function clusterProcessor(instance: Instance): ProcessorDefinition {
  const { topics } = instance;
  const consumer = `${topics.namespace}spool.cluster`;
  return {
    consumer,
    sources: [topics.heartbeats.name],
    assignment: 'group',
    startAt: 'earliest',
    open: (task) => openTask(instance, consumer, task),
  };
}

async function openTask(instance: Instance, consumer: string, task: TaskRequest): Promise<TaskWork> {
  const { codec, topics, log, config } = instance;
  const changelog = { topic: topics.instances.name, partition: Number(task.id) };
  const encoder = await codec.encoder(changelog.topic, InstanceRowSchema);
  const rowDecoder = codec.decoder(InstanceRowSchema);
  const beats = codec.decoder(HeartbeatSchema);
  const leaves = await codec.encoder(topics.announcements.name, BundleLeftSchema);
  const sweep = sweepTimer('silence');
  const heardAt = new Map<string, number>();
  const silentMs = (row: InstanceRow, at: number): number => {
    const last = heardAt.get(row.instance);
    if (last === undefined) heardAt.set(row.instance, at);
    return at - (last ?? at);
  };

  const put = (row: InstanceRow, context: TaskContext): void => {
    context.table<InstanceRow>(rowsTable).put(row.instance, row);
    context.emit({ ...changelog, key: instancePrefix + row.instance, value: encoder.encode(row) });
  };
  /** The registry hears that a run is over which never said so itself. */
  const leave = ({ instance: id, bundle, version, incarnation, state }: InstanceRow, context: TaskContext): void => {
    if (state === 'gone') return;
    const value = leaves.encode({ bundle, version, instance: id, incarnation, at: context.now });
    const meta = { id: `${id}/${incarnation}/left`, type: BundleLeftSchema.fullName, source: consumer, time: context.now };
    context.emit({ topic: topics.announcements.name, key: `${bundle}@${version}`, value, headers: messageHeaders(meta) });
  };
  const forget = (row: InstanceRow, context: TaskContext): void => {
    heardAt.delete(row.instance);
    context.table<InstanceRow>(rowsTable).delete(row.instance);
    context.emit({ ...changelog, key: instancePrefix + row.instance, value: null });
    leave(row, context);
  };
  const plan = (row: InstanceRow, context: TaskContext): void => {
    const wait = nextLook(row, silentMs(row, context.now), config.current, context.now);
    const most = lives(row) ? lookAgainMs : longestWaitMs;
    sweep.need(context.now + Math.max(1, Math.min(wait, most)), context);
  };

  return rowsWork({
    instance,
    task,
    consumer,
    topic: changelog.topic,
    prefix: instancePrefix,
    table: rowsTable,
    idOf: (key) => key.slice(instancePrefix.length),
    decode: (value) => rowDecoder.decode(value),
    async handle(record, context) {
      if (record.value === null) return;
      let beat: Heartbeat;
      try {
        beat = await beats.decode(record.value);
      } catch (thrown) {
        // Parked, it would hold up every later heartbeat of its instance.
        if (toSpoolError(thrown).entry.retryable === 'backoff') throw thrown;
        log('warn', 'a heartbeat cannot be read', { offset: String(record.offset), error: String(thrown) });
        return;
      }
      const before = context.table<InstanceRow>(rowsTable).get(beat.instance);
      // What an earlier run still says is no sign of life of this one.
      if (before === undefined || !isLate(before, beat)) heardAt.set(beat.instance, context.now);
      const after = heard(before, beat, context.now);
      if (before !== undefined && after !== undefined && before.incarnation !== after.incarnation) leave(before, context);
      if (after !== undefined) put(after, context);
      const row = after ?? before;
      if (row !== undefined) plan(row, context);
    },
    onTimer(timer, context) {
      const late = sweep.fired(timer, context);
      const { current } = config;
      const rows = [...context.table<InstanceRow>(rowsTable).range()].map(([, row]) => row);
      // The processor was away, and so heard nobody: what came meanwhile is still to be read.
      if (late >= Math.max(awayMs, current.heartbeatMs)) for (const { instance: id } of rows) heardAt.set(id, context.now);
      for (const row of rows) {
        const next = silent(row, silentMs(row, context.now), current, context.now);
        if (next === 'forgotten') forget(row, context);
        else {
          if (next !== undefined) put(next, context);
          plan(next ?? row, context);
        }
      }
    },
  });
}
