import { readMeta, SpoolError, toSpoolError, type CommandOutcome, type Decoder, type Encoder, type ReadMeta } from '@spool/schemas';
import {
  checkpointCodec,
  createSharedWriter,
  effectsWork,
  isTransient,
  offset,
  partitionKey,
  writeBehind,
  type ConsumedRecord,
  type Effect,
  type ProcessorDefinition,
  type SharedWriter,
  type StoreSpec,
  type TaskContext,
  type TaskRequest,
  type TaskWork,
  type TopicPartition,
} from '@spool/streams';
import { Rejection } from '../aggregate/aggregate.js';
import { consumerId } from '../bundle/descriptor.js';
import { defaultContext } from '../context/context.js';
import { headersOfEvent } from '../event/headers.js';
import { firer } from '../host/bundle-events.js';
import { handled, type Hosting } from '../host/hosting.js';
import { expired, expiry, isDurable, problemOf, type Answered } from '../host/replying.js';
import { emitSpan, microsSince } from '../host/spans.js';
import { asExpected, recorded } from '../outcomes/answers.js';
import { outcomePrefix, outcomesReader, trackOutcomes, sequenceOf } from '../outcomes/outcomes.js';
import { fingerprintOf, reused } from '../outcomes/reuse.js';
import { toToken } from '../position/token.js';
import { priorities } from './priorities.js';
import type { Service } from './service.js';
import { openSignal } from './signal.js';

/** Kafka refuses a batch of more than a mebibyte. */
const maxEventBytes = 900_000;

interface VersionRow {
  /** The number of events under a lock. */
  readonly version: number;
}
const versions: StoreSpec<VersionRow> = {
  name: 'versions',
  encode: (row) => Buffer.from(JSON.stringify(row)),
  decode: (bytes) => JSON.parse(bytes.toString()) as VersionRow,
};

/** The processor that handles a service's commands: one owner per partition, fenced by Kafka, many handlers at a time. */
export function serviceHost(hosting: Hosting, service: Service): ProcessorDefinition {
  const { instance } = hosting;
  const consumer = consumerId(hosting.bundle.id, service.name, 1);
  const prefix = `${consumer}/${instance.id}`;
  const writer = hosting.transactions !== 'partition' ? createSharedWriter({ kafka: instance.kafka, prefix }) : undefined;
  return {
    consumer,
    sources: priorities.map(([priority]) => instance.topics.service(service.name, priority).name),
    assignment: 'group',
    startAt: 'earliest',
    fixed: `${service.name} acts once for each command: its position is not moved by orders, and what is to be done again is a new command`,
    open: (task) => openTask(hosting, service, task, writer),
    ...(writer === undefined ? {} : { close: writer.close }),
    ...(hosting.sessionTimeoutMs === undefined ? {} : { sessionTimeoutMs: hosting.sessionTimeoutMs }),
  };
}

/** A command on its way. */
interface Command {
  readonly record: ConsumedRecord;
  readonly meta: ReadMeta;
  readonly commandId: string;
  readonly type: string;
  /** The lock, or the command's own id where there is none. */
  readonly key: string;
  readonly began: number;
}

async function openTask(hosting: Hosting, service: Service, task: TaskRequest, writer: SharedWriter | undefined): Promise<TaskWork> {
  const { instance, replies, bundle } = hosting;
  const { codec, kafka, topics, now } = instance;
  const consumer = consumerId(bundle.id, service.name, 1);
  const partition = Number(task.id);
  const generation = task.assignment?.generation ?? 0;
  const changelog: TopicPartition = { topic: topics.snapshots(service.name).name, partition };
  const events: TopicPartition = { topic: topics.events(service.name).name, partition };
  const sources: readonly string[] = priorities.map(([priority]) => topics.service(service.name, priority).name);
  const onError = (error: unknown): void => instance.log('error', 'the store cannot be written', { consumer, error: String(error) });
  const store = writeBehind(instance.openStore(consumer, task.id), { onError });

  // 1. Everything that needs the schema registry.
  const checkpoints = await checkpointCodec(instance, changelog.topic);
  const outcomes = await trackOutcomes({ codec, changelog, store, now, retentionMs: hosting.outcomeRetentionMs });
  const readOutcomes = outcomesReader(codec);
  const encoders = new Map<string, Encoder<unknown>>();
  for (const [type, schema] of Object.entries(service.events)) encoders.set(type, await codec.encoder(events.topic, schema));
  const decoders = new Map<string, Decoder<unknown>>();
  for (const [type, schema] of Object.entries(service.commands)) decoders.set(type, codec.decoder(schema));
  /** The end of the events as far as it is known: a position that holds every recorded outcome. */
  let end = 0n;
  const position = (): string => (end === 0n ? '' : toToken(new Map([[partitionKey(events), offset(end)]])));
  const reached = (next: bigint): void => void (end = next > end ? next : end);
  /** Of the group under way: tells its outcomes from those of all others. */
  let sequence = '';
  /** Commands that were begun here: past their deadline nobody can say what became of them. */
  const begun = new WeakSet<ConsumedRecord>();

  // 2. What a caller is told.
  const told = ({ record, meta, type }: Command, reply: Answered, errorClass: string | null, handleUs: number, commitUs: number): void => {
    // Whoever waited has given up by then, and one who sends the command again must not take it for the answer.
    if (meta.replyKey === undefined && reply.outcome !== 'indeterminate') replies.send(meta, reply);
    emitSpan(instance, {
      component: service.name,
      componentKind: 'service',
      messageKind: 'command',
      type,
      record,
      meta,
      handleUs,
      commitUs,
      outcome: reply.outcome,
      errorClass,
      replayId: null,
    });
  };
  const promise = ({ meta }: Command, reply: Answered, tx: TaskContext): void => {
    if (isDurable(meta)) tx.emit(replies.record(meta, reply));
  };
  const answer = (command: Command, reply: Answered, errorClass: string | null): Effect => {
    const handleUs = microsSince(command.began);
    return (tx) => {
      promise(command, reply, tx);
      tx.committed(({ tookUs }) => told(command, reply, errorClass, handleUs, tookUs));
    };
  };
  const repeat = (command: Command, outcome: CommandOutcome): Effect => {
    const other = reused(outcome, command.record);
    return answer(command, other ?? recorded(outcome, 'duplicate', position()), other?.problem?.code ?? null);
  };
  /** A fault is no outcome: the same command may be sent again. Where nobody waits it is parked. */
  const fail = (command: Command, thrown: unknown): Effect => {
    const error = toSpoolError(thrown);
    instance.log('error', 'a service failed', { service: service.name, type: command.type, error: error.message });
    if (command.meta.replyTo === undefined) throw error;
    return answer(command, { outcome: 'failed', problem: problemOf(error) }, error.code);
  };

  // 3. One command: expired, repeated, in conflict, or handled.
  const act = async (record: ConsumedRecord, ending: AbortSignal): Promise<Effect> => {
    const command = read(record);
    const { meta, commandId, type, key } = command;
    if (isDurable(meta)) await replies.prepare(meta.replyTo.topic);
    const repeated = outcomes.stored(commandId);
    if (repeated !== undefined) return repeat(command, repeated);
    if (expired(meta, now())) {
      if (!begun.has(record)) return answer(command, { outcome: 'expired', problem: expiry(meta, now()) }, 'EXPIRED');
      const error = new SpoolError('INDETERMINATE', `${type} was begun, and its deadline passed before an outcome was recorded`);
      return answer(command, { outcome: 'indeterminate', problem: problemOf(error) }, error.code);
    }
    const { version } = (store.get(versions.name, key) ?? { version: 0 }) as VersionRow;
    if (!asExpected(meta.expectedVersion, version)) {
      const detail = `${service.name} ${key} is at version ${version}, not ${meta.expectedVersion}`;
      const problem = { code: 'VERSION_CONFLICT', detail, violations: [] };
      return answer(command, { outcome: 'conflict', version, problem }, 'VERSION_CONFLICT');
    }
    try {
      const decoder = decoders.get(type);
      if (decoder === undefined) throw new SpoolError('UNKNOWN_COMMAND', `${service.name} does not handle ${type}`);
      const made = await call(command, await decoder.decode(record.value!), ending);
      return made instanceof Rejection ? settle(command, made) : settle(command, made, made && encode(type, made));
    } catch (thrown) {
      if (isTransient(thrown)) throw thrown;
      return fail(command, thrown);
    }
  };
  const call = async (command: Command, payload: unknown, ending: AbortSignal) => {
    const { record, meta, commandId, type, key } = command;
    const at = now();
    begun.add(record);
    const leftMs = meta.deadline === undefined ? undefined : meta.deadline - at;
    using signal = openSignal(ending, leftMs, service.timeoutMs);
    const work = () =>
      service.handle(type, payload, {
        commandId,
        idempotencyKey: commandId,
        lockId: key === commandId ? undefined : key,
        now: at,
        deadline: meta.deadline,
        signal: signal.signal,
        correlationId: meta.correlationId ?? commandId,
        context: meta.context ?? defaultContext,
        events: firer(hosting.events, `${commandId}/${service.name}`, {
          causationId: commandId,
          correlationId: meta.correlationId ?? commandId,
        }),
        log: (message, fields) => instance.log('info', message, { service: service.name, commandId, ...fields }),
      });
    try {
      return await handled(hosting, { component: service.name, kind: 'service', messageKind: 'command', type, payload, meta }, work);
    } catch (thrown) {
      // Whatever an interrupted handler throws says nothing of the command.
      if (!signal.signal.aborted) throw thrown;
      throw new SpoolError('UNAVAILABLE', `${service.name}.${type} was interrupted: ${String(signal.signal.reason)}`, { cause: thrown });
    }
  };
  const encode = (command: string, { type, data }: { type: string; data: unknown }): Buffer => {
    const encoder = encoders.get(type);
    if (encoder === undefined) throw new SpoolError('INTERNAL', `${service.name} gave ${type}, which is not among its events`);
    const value = encoder.encode(data);
    if (value.length <= maxEventBytes) return value;
    throw new SpoolError('RECORD_TOO_LARGE', `the event of ${command} has ${value.length} bytes, ${maxEventBytes} is the most`);
  };

  /** What came of it, to be recorded. */
  const settle = (command: Command, made: { type: string } | Rejection | undefined, value?: Buffer): Effect => {
    const { record, commandId, key } = command;
    const handleUs = microsSince(command.began);
    const rejection = made instanceof Rejection ? made : undefined;
    const event = made instanceof Rejection ? undefined : made;
    return (tx) => {
      // The same id under another lock.
      const repeated = outcomes.get(commandId, tx);
      if (repeated !== undefined) return repeat(command, repeated)(tx);
      const at = now();
      const rows = tx.table<VersionRow>(versions.name);
      const before = rows.get(key)?.version ?? 0;
      const version = event === undefined ? before : before + 1;
      let index: number | undefined;
      if (event !== undefined) {
        const { type } = event;
        const headers = headersOfEvent({ hosting, component: service.name, ...command, type, index: 0, version, generation, at });
        index = tx.emit({ ...events, key, value: value!, headers, timestamp: at });
        // A command without a lock has a stream of its own, and it ends here.
        if (key !== commandId) rows.put(key, { version });
      }
      const outcome: CommandOutcome = {
        commandId,
        status: rejection === undefined ? 'applied' : 'rejected',
        aggregateId: key,
        version,
        firstVersion: before + 1,
        events: version - before,
        eventTypes: event === undefined ? [] : [event.type],
        code: rejection?.code ?? null,
        detail: rejection?.detail ?? null,
        fingerprint: fingerprintOf(record),
        at,
      };
      outcomes.put(outcome, tx);
      sequence = sequenceOf(record, `${sources.indexOf(record.topic)}.${record.offset}`);
      promise(command, recorded(outcome, 'applied', ''), tx);
      tx.committed(({ positions, tookUs }) => {
        if (index !== undefined) reached(positions[index]!.offset + 1n);
        told(command, recorded(outcome, 'applied', position()), rejection === undefined ? null : 'REJECTED', handleUs, tookUs);
      });
    };
  };

  // 4. Fence the former owner, restore, and go.
  const work = await effectsWork({
    kafka,
    consumer,
    deadLetterTopic: topics.deadLetters(consumer).name,
    task: task.id,
    generation,
    now,
    store,
    stores: [versions],
    changelog,
    ...checkpoints,
    restore: [
      {
        partition: changelog,
        fromCovered: false,
        async apply(record, table) {
          const key = record.key?.toString() ?? '';
          if (key.startsWith(outcomePrefix)) await readOutcomes(record, key, table);
        },
      },
    ],
    signal: task.signal,
    act,
    onFollows(record) {
      const meta = readMeta(record.headers);
      const error = new SpoolError('INDETERMINATE', 'an earlier command under this lock is parked, and this one behind it');
      if (meta.replyKey === undefined) replies.send(meta, { outcome: 'indeterminate', problem: problemOf(error) });
    },
    beforeCommit(tx) {
      outcomes.emit(sequence, tx);
      return null;
    },
    concurrency: service.concurrency,
    classes: { shares: priorities.map(([, share]) => share), of: (topic) => Math.max(0, sources.indexOf(topic)) },
    ...(writer === undefined ? {} : { writer }),
  });
  reached((await kafka.admin.offsets(events.topic)).find((at) => at.partition === partition)?.latest ?? 0n);
  return work;
}

/** @throws SpoolError INVALID_REQUEST: it is parked */
function read(record: ConsumedRecord): Command {
  const meta = readMeta(record.headers);
  const { id: commandId, type } = meta;
  if (commandId === undefined || type === undefined || record.key === null || record.value === null) {
    throw new SpoolError(
      'INVALID_REQUEST',
      `the record at ${record.topic}-${record.partition}@${record.offset} is not a command: it needs ce_id, ce_type, a key and a value`,
    );
  }
  return { record, meta, commandId, type, key: record.key.toString(), began: performance.now() };
}
