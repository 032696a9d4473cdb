import {
  headerNames,
  messageHeaders,
  readMeta,
  ReplySchema,
  SagaStepSchema,
  SpoolError,
  type Encoder,
  type ReadMeta,
  type Reply,
} from '@spool/schemas';
import {
  checkpointCodec,
  createSharedWriter,
  logEnds,
  transactionalWork,
  writeBehind,
  type ConsumedRecord,
  type ProcessorDefinition,
  type StoreSpec,
  type TaskContext,
  type TaskRequest,
  type TaskWork,
} from '@spool/streams';
import { consumerId } from '../bundle/descriptor.js';
import { boundContexts } from '../context/context.js';
import { eventContext, eventReader } from '../event/reader.js';
import { addressOf } from '../gateway/gateway.js';
import type { Priority } from '../gateway/messages.js';
import { handled, passedOn, type Hosting } from '../host/hosting.js';
import { emitSpan, microsSince } from '../host/spans.js';
import { outcomeOf } from './refold.js';
import { fixedText, originHeaders, sagaRouter } from './router.js';
import type { Saga } from './saga.js';
import { stepSaga, type SagaInput, type SagaRow, type SagaStepped, type SentCommand } from './step.js';

/** On a step: whether its instance goes on, for lists that need not read the step. */
export const sagaStateHeader = 'sagastate';
const instancesTable = 'instances';
const instancesSpec: StoreSpec = {
  name: instancesTable,
  encode: (row) => Buffer.from(JSON.stringify(row)),
  decode: (bytes) => JSON.parse(bytes.toString()) as SagaRow,
};
const lanes: readonly Priority[] = ['high', 'normal', 'low'];

/** Runs a saga: a router for each of its contexts, and the processor that takes its steps. */
export async function hostSaga(hosting: Hosting, saga: Saga): Promise<void> {
  const { kafka, topics } = hosting.instance;
  const inbox = topics.saga(saga.name);
  await kafka.admin.ensureTopics([
    inbox,
    topics.events(saga.name),
    topics.snapshots(saga.name),
    ...saga.of.map(({ name }) => topics.events(name)),
    ...saga.sends.flatMap(({ kind, name }) =>
      kind === 'service' ? lanes.map((lane) => topics.service(name, lane)) : [topics.commands(name)],
    ),
  ]);
  // A new saga begins where its sources end now.
  const heads = await logEnds(
    kafka,
    saga.of.map(({ name }) => topics.events(name).name),
  );
  const routers = boundContexts(saga.contexts).map((bound) => sagaRouter(hosting, saga, bound, heads));
  const steps = sagaSteps(hosting, saga);
  await kafka.admin.ensureTopics([
    ...routers.map(({ consumer }) => topics.changelog(consumer, inbox.partitions)),
    ...[...routers, steps].map(({ consumer }) => topics.deadLetters(consumer)),
  ]);
  for (const definition of [steps, ...routers]) await hosting.instance.run(definition);
}

/** The consumer that takes a saga's steps, over all contexts. */
const stepsConsumer = (bundleId: string, saga: string): string => consumerId(bundleId, `${saga}-steps`, 1);

function sagaSteps(hosting: Hosting, saga: Saga): ProcessorDefinition {
  const { instance } = hosting;
  const consumer = stepsConsumer(hosting.bundle.id, saga.name);
  const prefix = `${consumer}/${instance.id}`;
  const writer = hosting.transactions !== 'partition' ? createSharedWriter({ kafka: instance.kafka, prefix }) : undefined;
  return {
    consumer,
    sources: [instance.topics.saga(saga.name).name],
    assignment: 'group',
    startAt: 'earliest',
    fixed: fixedText(saga),
    ...(hosting.sessionTimeoutMs === undefined ? {} : { sessionTimeoutMs: hosting.sessionTimeoutMs }),
    open: (task) => openTask(hosting, saga, consumer, task, writer),
    ...(writer === undefined ? {} : { close: () => writer.close() }),
  };
}

type Writer = ReturnType<typeof createSharedWriter>;

async function openTask(hosting: Hosting, saga: Saga, consumer: string, task: TaskRequest, writer: Writer | undefined): Promise<TaskWork> {
  const { instance } = hosting;
  const { kafka, codec, topics, now, log } = instance;
  const inbox = { topic: topics.saga(saga.name).name, partition: Number(task.id) };
  const changelog = { topic: topics.snapshots(saga.name).name, partition: Number(task.id) };
  const generation = task.assignment?.generation ?? 0;

  // 1. Everything that needs the schema registry, so that a step needs no call.
  const history = topics.events(saga.name).name;
  const stepEncoder = await codec.encoder(history, SagaStepSchema);
  const readReply = codec.decoder(ReplySchema);
  const readEvent = eventReader(saga.of, codec, topics);
  const encoders = new Map<string, Encoder<unknown>>();
  for (const target of saga.sends) {
    const places =
      target.kind === 'service' ? lanes.map((lane) => topics.service(target.name, lane).name) : [topics.commands(target.name).name];
    for (const topic of places)
      for (const [type, schema] of Object.entries(target.commands)) encoders.set(`${topic}/${type}`, await codec.encoder(topic, schema));
  }

  // 2. A record is an event or a reply; a timer has none.
  const toInput = (record: ConsumedRecord, meta: ReadMeta): SagaInput | undefined | Promise<SagaInput | undefined> => {
    if (record.value === null || meta.type === undefined) {
      throw new SpoolError('RECORD_UNREADABLE', `${place(record)} is neither an event nor a reply: ce_type or its value is missing`);
    }
    if (meta.type === ReplySchema.fullName) {
      if (meta.commandId === undefined) throw new SpoolError('RECORD_UNREADABLE', `${place(record)} is a reply without commandid`);
      const { commandId, time: at = record.timestamp } = meta;
      const go = (reply: Reply): SagaInput => ({ kind: 'outcome', at, meta: passedOn(meta), outcome: { commandId, ...outcomeOf(reply) } });
      const reply = readReply.decode(record.value);
      return reply instanceof Promise ? reply.then(go) : go(reply);
    }
    const { [originHeaders.key]: key = record.key, [originHeaders.topic]: topic = record.topic } = record.headers;
    const event = readEvent({ ...record, key, topic: topic.toString() });
    const go = (read: Awaited<typeof event>): SagaInput | undefined => {
      // Forwarded by an instance of another version of the code.
      if (read?.data === undefined) return undefined;
      const correlationId = meta.correlationId ?? meta.id;
      const own = { ...passedOn(meta), ...(correlationId === undefined ? {} : { correlationId }) };
      return { kind: 'event', type: read.type, data: read.data, context: eventContext(read), meta: own };
    };
    return event instanceof Promise ? event.then(go) : go(event);
  };

  // 3. One step, in the transaction of its input.
  const take = (
    id: string,
    record: ConsumedRecord,
    meta: ReadMeta,
    input: SagaInput | undefined,
    tx: TaskContext,
  ): void | Promise<void> => {
    if (input === undefined) return undefined;
    const rows = tx.table<SagaRow>(instancesTable);
    const row = rows.get(id);
    const began = performance.now();
    const stepped = handled(hosting, { component: saga.name, kind: 'saga', meta, ...intercepted(row, input) }, () =>
      stepSaga(saga, id, row, input),
    );
    const write = (made: SagaStepped | undefined): void => {
      if (made === undefined) return;
      const sent = made.commands.map((command) => ({ command, ...commandRecord(id, made, command) }));
      tx.emit(historyRecord(id, record, made, sent));
      for (const { emitted } of sent) tx.emit(emitted);
      for (const [name, at] of Object.entries(made.timers.set)) tx.schedule({ name, key: id, clock: 'wall', at });
      for (const name of made.timers.cancelled) tx.cancel(name, id);
      rows.put(id, made.row);
      const handleUs = microsSince(began);
      tx.committed(({ tookUs }) => {
        emitSpan(instance, {
          component: saga.name,
          componentKind: 'saga',
          messageKind: made.step.kind === 'event' ? 'event' : 'other',
          type: made.step.type,
          record,
          meta,
          handleUs,
          commitUs: tookUs,
          outcome: made.row.ended ? 'ended' : null,
          errorClass: null,
          replayId: null,
        });
      });
    };
    return stepped instanceof Promise ? stepped.then(write) : write(stepped);
  };
  const commandRecord = (id: string, { meta, step }: SagaStepped, command: SentCommand) => {
    const { priority, expectedVersion } = command;
    const to = addressOf(topics, command.target, command.key, { commandId: command.id, ...(priority === undefined ? {} : { priority }) });
    const encoder = encoders.get(`${to.topic}/${command.type}`)!;
    const value = encoder.encode(command.payload);
    const expected = expectedVersion === 'none' ? 0 : expectedVersion === 'any' ? undefined : expectedVersion;
    const headers = messageHeaders({
      id: command.id,
      type: command.type,
      source: `${hosting.bundle.id}/${saga.name}`,
      time: now(),
      causationId: step.id,
      expectedVersion: expected,
      ...meta,
      ...(command.awaited ? { replyTo: inbox, replyKey: id } : {}),
    });
    return { value, key: to.key, emitted: { topic: to.topic, key: to.key, value, headers } };
  };
  const historyRecord = (
    id: string,
    record: ConsumedRecord,
    made: SagaStepped,
    sent: readonly { command: SentCommand; value: Buffer; key: string }[],
  ) => {
    const { row, step, timers } = made;
    const timed = (open: Readonly<Record<string, number>>) => Object.entries(open).map(([name, at]) => ({ name, at }));
    const value = stepEncoder.encode({
      saga: saga.name,
      instanceId: id,
      version: row.version,
      input: { ...step, ...origin(step.kind, record), payload: record.value ?? Buffer.alloc(0) },
      state: made.state === null ? null : JSON.stringify(made.state),
      ended: row.ended,
      commands: sent.map(({ command, value: payload, key }) => ({
        id: command.id,
        type: command.type,
        target: command.target.name,
        key,
        payload,
        compensates: command.compensates ?? '',
      })),
      timersSet: timed(timers.set),
      timersCancelled: [...timers.cancelled],
      timers: timed(row.timers),
      pending: Object.entries(row.pending).map(([commandId, { type, target, key }]) => ({ id: commandId, type, target, key })),
    });
    const headers = messageHeaders({
      id: `${saga.name}/${id}/${row.version}`,
      type: SagaStepSchema.fullName,
      source: `${hosting.bundle.id}/${saga.name}`,
      time: step.at,
      subject: id,
      causationId: step.id,
      aggregateVersion: row.version,
      writerEpoch: generation,
      ...made.meta,
    });
    return { topic: history, key: id, value, headers: { ...headers, [sagaStateHeader]: row.ended ? 'ended' : 'running' } };
  };

  const onError = (error: unknown): void => log('error', 'the store cannot be written', { consumer, error: String(error) });
  return transactionalWork({
    kafka,
    consumer,
    deadLetterTopic: topics.deadLetters(consumer).name,
    task: task.id,
    generation,
    now,
    store: writeBehind(instance.openStore(consumer, task.id), { onError }),
    stores: [instancesSpec],
    changelog,
    ...(await checkpointCodec(instance, changelog.topic)),
    signal: task.signal,
    handle(record, tx) {
      const meta = readMeta(record.headers);
      if (record.key === null) throw new SpoolError('RECORD_UNREADABLE', `${place(record)} names no instance: its key is missing`);
      const id = record.key.toString();
      const input = toInput(record, meta);
      return input instanceof Promise ? input.then((read) => take(id, record, meta, read, tx)) : take(id, record, meta, input, tx);
    },
    onTimer({ name, key, at: due }, tx) {
      const headers = {};
      const record = { ...inbox, offset: -1n as ConsumedRecord['offset'], key: Buffer.from(key), value: null, headers, timestamp: due };
      return take(key, record, readMeta(headers), { kind: 'timer', name, due, at: tx.now }, tx);
    },
    ...(writer === undefined ? {} : { writer }),
  });
}

const place = ({ topic, partition, offset: at }: ConsumedRecord): string => `${topic}-${partition}@${at}`;

/** The message as interceptors see it. */
function intercepted(row: SagaRow | undefined, input: SagaInput) {
  if (input.kind === 'event') return { messageKind: 'event' as const, type: input.type, payload: input.data };
  if (input.kind === 'timer') return { messageKind: 'timer' as const, type: input.name, payload: {} };
  return {
    messageKind: 'event' as const,
    type: row?.pending[input.outcome.commandId]?.type ?? ReplySchema.fullName,
    payload: input.outcome,
  };
}

/** Where an input stood: an event in the topic of its source. */
function origin(kind: SagaInput['kind'], { topic, partition, offset: at, headers }: ConsumedRecord) {
  if (kind === 'timer') return { topic: '', partition: -1, offset: -1, key: '', aggregateVersion: 0 };
  const source = headers[originHeaders.topic];
  if (source === undefined) return { topic, partition, offset: Number(at), key: '', aggregateVersion: 0 };
  const number = (name: string): number => Number(headers[name]?.toString() ?? -1);
  return {
    topic: source.toString(),
    partition: number(originHeaders.partition),
    offset: number(originHeaders.offset),
    key: headers[originHeaders.key]?.toString() ?? '',
    aggregateVersion: number(headerNames.aggregateVersion),
  };
}
