import { createHash } from 'node:crypto';
import {
  readMeta,
  SnapshotSchema,
  SpoolError,
  toSpoolError,
  type CommandOutcome,
  type Decoder,
  type Encoder,
  type ReadMeta,
} from '@spool/schemas';
import {
  checkpointCodec,
  createSharedWriter,
  partitionKey,
  transactionalWork,
  writeBehind,
  type ConsumedRecord,
  type Instance,
  type Offset,
  type ProcessorDefinition,
  type RestoreSource,
  type SharedWriter,
  type TaskRequest,
  type TaskWork,
  type TopicPartition,
  type TaskContext,
} from '@spool/streams';
import { consumerId } from '../bundle/descriptor.js';
import { expired, expiry, isDurable, problemOf, type Answered } from '../host/replying.js';
import { emitSpan, microsSince } from '../host/spans.js';
import { tokenAfter, toToken } from '../position/token.js';
import { handled, type Hosting } from '../host/hosting.js';
import { reject, Rejection, type Aggregate } from './aggregate.js';
import { headersOfEvent } from '../event/headers.js';
import { eventReader } from '../event/reader.js';
import { evolveRow } from './evolving.js';
import { asExpected, recorded } from '../outcomes/answers.js';
import { outcomePrefix, outcomesReader, trackOutcomes, sequenceOf } from '../outcomes/outcomes.js';
import { fingerprintOf, reused } from '../outcomes/reuse.js';
import { snapshotPrefix, stateTable, type StateRow } from './rows.js';
import { snapshotReader, trackSnapshots, type Touch } from './snapshots.js';

/** A command that every aggregate takes: a snapshot now, whatever the number of events since the last. It has no payload. */
export const takeSnapshot = 'spool.TakeSnapshot';

/**
 * A command that every aggregate takes: the state and the snapshot are replaced by the one that it carries, a `Snapshot`, which the caller has had
 * folded from the first event on. Its expected version is that of the snapshot.
 */
export const rebuildSnapshot = 'spool.RebuildSnapshot';

/** What a restore reads at the most besides the snapshots. */
const maxUncovered = 20_000;
/** Kafka refuses a batch of more than a mebibyte; a command's events stay well below it. */
const maxEventBytes = 900_000;

/** The processor that decides an aggregate's commands: one writer per partition, fenced by Kafka. */
export function aggregateHost(hosting: Hosting, aggregate: Aggregate): ProcessorDefinition {
  const { instance } = hosting;
  const { topics } = instance;
  const consumer = consumerId(hosting.bundle.id, aggregate.name, 1);
  const prefix = `${consumer}/${instance.id}`;
  const writer = hosting.transactions !== 'partition' ? createSharedWriter({ kafka: instance.kafka, prefix }) : undefined;
  return {
    consumer,
    sources: [topics.commands(aggregate.name).name],
    assignment: 'group',
    startAt: 'earliest',
    fixed: `${aggregate.name} decides each command once: its position is not moved by orders, and a state is corrected by commands`,
    open: (task) => openTask(hosting, aggregate, task, writer),
    ...(writer === undefined ? {} : { close: writer.close }),
    ...(hosting.sessionTimeoutMs === undefined ? {} : { sessionTimeoutMs: hosting.sessionTimeoutMs }),
  };
}

async function openTask(hosting: Hosting, aggregate: Aggregate, task: TaskRequest, writer: SharedWriter | undefined): Promise<TaskWork> {
  const { instance, replies } = hosting;
  const { codec, topics, now } = instance;
  const consumer = consumerId(hosting.bundle.id, aggregate.name, 1);
  const partition = Number(task.id);
  const generation = task.assignment?.generation ?? 0;
  const changelog: TopicPartition = { topic: topics.snapshots(aggregate.name).name, partition };
  const events: TopicPartition = { topic: topics.events(aggregate.name).name, partition };
  const eventsKey = partitionKey(events);
  const onError = (error: unknown): void => instance.log('error', 'the store cannot be written', { consumer, error: String(error) });
  const store = writeBehind(instance.openStore(consumer, task.id, aggregate.codeVersion), { onError });

  // 1. Everything that needs the schema registry, so that deciding needs no call.
  const checkpoints = await checkpointCodec(instance, changelog.topic, aggregate.codeVersion);
  const outcomes = await trackOutcomes({ codec, changelog, store, now, retentionMs: hosting.outcomeRetentionMs });
  const snapshotEncoder = await codec.encoder(changelog.topic, SnapshotSchema);
  const eventEncoders = new Map<string, Encoder<unknown>>();
  for (const [type, schema] of Object.entries(aggregate.events)) eventEncoders.set(type, await codec.encoder(events.topic, schema));
  const commandDecoders = new Map<string, Decoder<unknown>>();
  for (const [type, schema] of Object.entries(aggregate.commands)) commandDecoders.set(type, codec.decoder(schema));

  const snapshots = trackSnapshots({
    aggregate,
    ...changelog,
    store,
    encoder: snapshotEncoder,
    eventPosition: () => store.checkpoint.positions.get(eventsKey),
    now,
    maxUncovered,
  });
  /** Of the group under way; ids of one that was given up do no harm, they are looked at once more. */
  const touched = new Map<string, Touch>();
  let latest: ConsumedRecord | undefined;

  /** Where the reply is to stand in the transaction. */
  const promise = ({ meta, tx }: Command, reply: Answered): void => {
    if (isDurable(meta)) tx.emit(replies.record(meta, reply));
  };
  const told = (c: Command, reply: Answered, errorClass: string | null, handleUs: number, commitUs: number): void => {
    if (!isDurable(c.meta)) replies.send(c.meta, reply);
    emitSpan(instance, {
      component: aggregate.name,
      componentKind: 'aggregate',
      messageKind: 'command',
      type: c.type,
      record: c.record,
      meta: c.meta,
      handleUs,
      commitUs,
      outcome: reply.outcome,
      errorClass,
      replayId: null,
    });
  };
  /** The answer to a command that changes nothing. */
  const answer = (c: Command, reply: Answered, errorClass: string): void => {
    promise(c, reply);
    told(c, reply, errorClass, microsSince(c.began), 0);
  };

  // 2. One command: expired, repeated, in conflict, or decided.
  const handle = (record: ConsumedRecord, tx: TaskContext): void | Promise<void> => {
    const began = performance.now();
    latest = record;
    const meta = readMeta(record.headers);
    const { id: commandId, type } = meta;
    if (commandId === undefined || type === undefined || record.key === null || record.value === null) {
      throw new SpoolError(
        'INVALID_REQUEST',
        `the record at ${record.topic}-${record.partition}@${record.offset} is not a command: it needs ce_id, ce_type, a key and a value`,
      );
    }
    const pending = isDurable(meta) ? replies.prepare(meta.replyTo.topic) : undefined;
    if (pending !== undefined) return pending.then(() => handle(record, tx));
    const aggregateId = record.key.toString();
    const c: Command = { record, tx, meta, commandId, type, aggregateId, began };
    const at = now();
    if (expired(meta, at)) return answer(c, { outcome: 'expired', problem: expiry(meta, at) }, 'EXPIRED');
    const repeated = outcomes.get(commandId, tx);
    if (repeated !== undefined) {
      const other = reused(repeated, record);
      promise(c, other ?? recorded(repeated, 'duplicate', ''));
      // Only when this group has committed is the position sure to hold the outcome.
      return tx.committed(() => {
        const end = store.checkpoint.positions.get(eventsKey);
        const position = end === undefined ? '' : toToken(new Map([[eventsKey, end]]));
        told(c, other ?? recorded(repeated, 'duplicate', position), other?.problem?.code ?? null, microsSince(began), 0);
      });
    }
    const row = tx.table<StateRow>(stateTable).get(aggregateId);
    const version = row?.version ?? 0;
    if (!asExpected(meta.expectedVersion, version)) {
      const detail = `${aggregate.name} ${aggregateId} is at version ${version}, not ${meta.expectedVersion}`;
      const reply = { outcome: 'conflict' as const, version, problem: { code: 'VERSION_CONFLICT', detail, violations: [] } };
      promise(c, reply);
      // The version may come of this very group, or belong to an owner that was replaced unawares: it is true when the group has committed.
      return tx.committed(() => told(c, reply, 'VERSION_CONFLICT', microsSince(began), 0));
    }
    if (type === takeSnapshot) {
      if (touched.get(aggregateId) !== 'rebuilt') touched.set(aggregateId, 'asked');
      promise(c, { outcome: 'applied', version });
      return tx.committed(({ tookUs }) => told(c, { outcome: 'applied', version }, null, microsSince(began), tookUs));
    }
    if (type === rebuildSnapshot) return rebuild(c, record.value, row).catch((thrown: unknown) => fail(c, thrown));
    const decoder = commandDecoders.get(type);
    if (decoder === undefined) {
      const problem = problemOf(new SpoolError('UNKNOWN_COMMAND', `${aggregate.name} does not handle ${type}`));
      return answer(c, { outcome: 'failed', problem }, 'UNKNOWN_COMMAND');
    }
    try {
      const command = decoder.decode(record.value);
      const pending = command instanceof Promise ? command.then((decoded) => decide(c, row, decoded, at)) : decide(c, row, command, at);
      return pending?.catch((thrown: unknown) => fail(c, thrown));
    } catch (thrown) {
      fail(c, thrown);
    }
  };

  const snapshotDecoder = codec.decoder(SnapshotSchema);
  const rebuild = async (c: Command, value: Buffer, row: StateRow | undefined): Promise<void> => {
    const { tx, aggregateId } = c;
    const { version, state, codeVersion, deleted } = await snapshotDecoder.decode(value);
    if (row?.version !== version || codeVersion !== aggregate.codeVersion) {
      const here = `version ${row?.version ?? 0} by code ${aggregate.codeVersion}`;
      const error = new SpoolError('UNAVAILABLE', `a state of version ${version} by code ${codeVersion} cannot replace ${here}`);
      answer(c, { outcome: 'failed', problem: problemOf(error) }, error.code);
      return;
    }
    tx.table<StateRow>(stateTable).put(aggregateId, { ...row, state: JSON.parse(state) as unknown, deleted });
    touched.set(aggregateId, 'rebuilt');
    promise(c, { outcome: 'applied', version });
    tx.committed(({ tookUs }) => told(c, { outcome: 'applied', version }, null, microsSince(c.began), tookUs));
  };

  /** A command that cannot be decided is refused, and is not parked: a fault in one command must not block its aggregate. */
  const fail = (c: Command, thrown: unknown): void => {
    const error = toSpoolError(thrown);
    if (error.entry.retryable === 'backoff') throw error;
    if (error.code === 'INTERNAL') instance.log('error', 'decide failed', { aggregate: aggregate.name, error: error.message });
    answer(c, { outcome: 'failed', problem: problemOf(error) }, error.code);
  };

  /** @param at the one moment of the command, at which it had not expired */
  const decide = (c: Command, row: StateRow | undefined, command: unknown, at: number): void | Promise<void> => {
    const { aggregateId, type, meta } = c;
    const version = row?.version ?? 0;
    let ids = 0;
    const newId = (): string => createHash('sha256').update(`${c.commandId}#${ids++}`).digest('hex').slice(0, 32);
    const state = row === undefined ? aggregate.initial() : row.state;
    const decision = handled(
      hosting,
      { component: aggregate.name, kind: 'aggregate', messageKind: 'command', type, payload: command, meta },
      () =>
        row?.deleted === true
          ? reject('DELETED', `${aggregate.name} ${aggregateId} was deleted`)
          : aggregate.decide(type, command, state, { aggregateId, version, now: at, newId }),
    );
    return decision instanceof Promise ? decision.then((made) => apply(c, row, state, made, at)) : apply(c, row, state, decision, at);
  };

  const apply = (c: Command, row: StateRow | undefined, state: unknown, decision: Decision, at: number): void => {
    const { tx, aggregateId, commandId } = c;
    const version = row?.version ?? 0;
    const rejection = decision instanceof Rejection ? decision : undefined;
    const made = decision instanceof Rejection ? [] : decision;

    // Everything is worked out before anything is written, so that a fault leaves nothing behind.
    const values = made.map(encode);
    const bytes = values.reduce((sum, value) => sum + value.length, 0);
    if (bytes > maxEventBytes)
      throw new SpoolError('RECORD_TOO_LARGE', `the events of ${c.type} have ${bytes} bytes, ${maxEventBytes} is the most`);
    const ending = aggregate.deletes.size === 0 ? -1 : made.findIndex(({ type }) => aggregate.deletes.has(type));
    if (ending >= 0 && ending < made.length - 1)
      throw new SpoolError('INTERNAL', `${aggregate.name} decided ${made[ending + 1]!.type} after ${made[ending]!.type}, which deletes it`);
    let next = state;
    made.forEach(
      (event, index) => (next = aggregate.evolve(event.type, next, event.data, { aggregateId, version: version + index + 1, at })),
    );

    const indexes = made.map((event, index) =>
      tx.emit({
        topic: events.topic,
        partition,
        key: aggregateId,
        value: values[index]!,
        headers: eventHeaders(c, event.type, version, index, at),
        timestamp: at,
      }),
    );
    const newVersion = version + made.length;
    if (made.length > 0) {
      const snapshotVersion = row?.snapshotVersion ?? 0;
      tx.table<StateRow>(stateTable).put(aggregateId, { version: newVersion, state: next, snapshotVersion, deleted: ending >= 0 });
      // What was asked for earlier in the group is due all the same.
      if (!touched.has(aggregateId)) touched.set(aggregateId, 'changed');
    }
    const outcome: CommandOutcome = {
      commandId,
      status: rejection === undefined ? 'applied' : 'rejected',
      aggregateId,
      version: newVersion,
      firstVersion: version + 1,
      events: made.length,
      eventTypes: made.map((event) => event.type),
      code: rejection?.code ?? null,
      detail: rejection?.detail ?? null,
      fingerprint: fingerprintOf(c.record),
      at,
    };
    outcomes.put(outcome, tx);
    promise(c, recorded(outcome, 'applied', ''));
    const handleUs = microsSince(c.began);
    tx.committed((commit) => {
      const positions = indexes.map((index) => commit.positions[index]!);
      const first = positions[0];
      if (first !== undefined) snapshots.committed(aggregateId, first, tx);
      const position = first === undefined ? toToken(store.checkpoint.positions) : tokenAfter(positions);
      told(c, recorded(outcome, 'applied', position), rejection === undefined ? null : 'REJECTED', handleUs, commit.tookUs);
    });
  };
  const encode = (event: { type: string; data: unknown }): Buffer => {
    const encoder = eventEncoders.get(event.type);
    if (encoder === undefined) throw new SpoolError('INTERNAL', `${aggregate.name} decided ${event.type}, which is not among its events`);
    return encoder.encode(event.data);
  };
  const eventHeaders = (c: Command, type: string, version: number, index: number, at: number): Record<string, string> =>
    headersOfEvent({
      hosting,
      component: aggregate.name,
      key: c.aggregateId,
      commandId: c.commandId,
      meta: c.meta,
      type,
      version: version + index + 1,
      index,
      at,
      generation,
    });

  // 3. What goes with every group: its outcomes' expiry, what has expired, and the snapshots that are due.
  const beforeCommit = (tx: TaskContext): Offset | null => {
    outcomes.emit(latest === undefined ? '' : sequenceOf(latest), tx);
    snapshots.emitDue(touched, tx);
    touched.clear();
    return snapshots.covered();
  };

  // 4. Fence the former owner, restore, and go.
  return transactionalWork({
    kafka: instance.kafka,
    consumer,
    deadLetterTopic: topics.deadLetters(consumer).name,
    task: task.id,
    generation,
    now,
    store,
    changelog,
    ...checkpoints,
    restore: restoreSources(instance, aggregate, changelog, events),
    signal: task.signal,
    handle,
    beforeCommit,
    ...(writer === undefined ? {} : { writer }),
  });
}

/** A command under way. */
interface Command {
  readonly record: ConsumedRecord;
  readonly tx: TaskContext;
  readonly meta: ReadMeta;
  readonly commandId: string;
  readonly type: string;
  readonly aggregateId: string;
  /** By `performance.now()`. */
  readonly began: number;
}
type Decision = ReturnType<Aggregate['decide']>;

function restoreSources(
  instance: Instance,
  aggregate: Aggregate,
  changelog: TopicPartition,
  events: TopicPartition,
): readonly RestoreSource[] {
  const readOutcomes = outcomesReader(instance.codec);
  let broken = false;
  const readSnapshot = snapshotReader(aggregate, instance.codec, ({ aggregateId, version }) => {
    broken = true;
    instance.log('error', 'a snapshot is not what its hash says: its aggregate is folded anew', {
      aggregate: aggregate.name,
      aggregateId,
      version,
    });
  });
  const readEvent = eventReader(aggregate, instance.codec, instance.topics);
  return [
    {
      partition: changelog,
      fromCovered: false,
      async apply(record, table) {
        const key = record.key?.toString() ?? '';
        if (key.startsWith(snapshotPrefix)) return readSnapshot(record, table);
        if (key.startsWith(outcomePrefix)) await readOutcomes(record, key, table);
      },
    },
    {
      partition: events,
      // Read behind the snapshots. An aggregate without one that can be used needs all of its events.
      get fromCovered() {
        return !broken;
      },
      async apply(record, table) {
        const event = await readEvent(record);
        if (event !== undefined) evolveRow(aggregate, event, record, table);
      },
    },
  ];
}
