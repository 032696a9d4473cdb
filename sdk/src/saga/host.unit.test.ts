import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { arrayOf, createCodec, createMemoryRegistry, headerNames, record, SagaStepSchema, type Codec, type SagaStep } from '@spool/schemas';
import { createMemoryCluster, topicCatalogue, type ConsumedRecord, type Kafka, type MemoryCluster, readTopic } from '@spool/streams';
import { aggregate, reject } from '../aggregate/aggregate.js';
import { bundle } from '../bundle/bundle.js';
import type { SendOptions } from '../gateway/messages.js';
import { startBundle, type RunningBundle } from '../host/start-bundle.js';
import type { Interceptor } from '../interceptor/interceptor.js';
import { only } from '../messages.js';
import { service } from '../service/service.js';
import { refoldSaga } from './refold.js';
import { saga } from './saga.js';

const Room = aggregate('Room', {
  commands: { Book: record('hotel.Book', { trip: 'string' }), Free: record('hotel.Free', { trip: 'string' }) },
  events: { Booked: record('hotel.Booked', { trip: 'string' }), Freed: record('hotel.Freed', { trip: 'string' }) },
  initial: () => ({ by: '' }),
  decide: {
    Book: ({ trip }, { by }) => (by === '' ? [{ type: 'Booked', data: { trip } }] : reject('TAKEN', `taken by ${by}`)),
    Free: ({ trip }) => [{ type: 'Freed', data: { trip } }],
  },
  evolve: { Booked: (_, { trip }) => ({ by: trip }), Freed: () => ({ by: '' }) },
});
const Plan = aggregate('Plan', {
  commands: {
    Make: record('hotel.Make', { trips: arrayOf('string'), room: 'string' }),
    Drop: record('hotel.Drop', { trips: arrayOf('string') }),
    Note: record('hotel.Note', { text: 'string' }),
  },
  events: {
    Made: record('hotel.Made', { trips: arrayOf('string'), room: 'string' }),
    Dropped: record('hotel.Dropped', { trips: arrayOf('string') }),
    Noted: record('hotel.Noted', { text: 'string' }),
  },
  initial: () => 0,
  decide: {
    Make: (made) => [{ type: 'Made', data: made }],
    Drop: (dropped) => [{ type: 'Dropped', data: dropped }],
    Note: (noted) => [{ type: 'Noted', data: noted }],
  },
  evolve: { Made: (n) => n, Dropped: (n) => n, Noted: (n) => n },
});
const Trips = saga('Trips', {
  of: [Plan],
  sends: [Room, only(Plan, 'Note')],
  initial: () => ({ room: '', said: [] as readonly string[] }),
  on: {
    Made: {
      starts: true,
      by: ({ trips }) => trips,
      react(state, { room }, step) {
        if (room === 'burning') throw new TypeError('a bug');
        const undo = { target: Room, type: 'Free', id: room, payload: { trip: step.id } } as const;
        step.send(Room, 'Book', room, { trip: step.id }, { undo });
        step.schedule('overdue', { afterMs: 60_000 });
        return { ...state, room };
      },
    },
    Dropped: {
      by: ({ trips }) => trips,
      react(_state, _event, step) {
        step.compensate();
        step.end();
      },
    },
  },
  onOutcome: {
    Book: (state, { status, code, detail }) => ({ ...state, said: [...state.said, `${status} ${code} ${detail}`.trim()] }),
  },
  timers: {
    overdue: (_, step) => step.send(Plan, 'Note', 'notes', { text: `${step.id} is overdue` }),
  },
});

let cluster: MemoryCluster;
let kafka: Kafka;
let codec: Codec;
let dataDir: string;
let clock: number;
const topics = topicCatalogue({ partitions: 1 });
let running: RunningBundle | undefined;
const logged: string[] = [];

beforeEach(() => {
  cluster = createMemoryCluster();
  kafka = cluster.connect();
  codec = createCodec({ registry: createMemoryRegistry() });
  dataDir = mkdtempSync(join(tmpdir(), 'spool-saga-'));
  clock = Date.now();
});
afterEach(async () => {
  await stop();
  await kafka.close();
  rmSync(dataDir, { recursive: true, force: true });
});

interface Started {
  readonly instance?: string;
  readonly components?: readonly { kind: 'aggregate' | 'service' | 'saga'; name: string }[];
  readonly interceptors?: readonly Interceptor[];
}
async function start({ instance = 'hotel-0', components = [Room, Plan, Trips], interceptors = [] }: Started = {}): Promise<RunningBundle> {
  running = await startBundle(bundle({ id: 'hotel', version: '1.0.0', components, interceptors }), {
    kafka,
    codec,
    topics,
    instance,
    dataDir,
    log: (_, message) => void logged.push(message),
    now: () => clock,
    transactions: 'partition',
  });
  return running;
}
const stop = async (): Promise<void> => {
  await running?.close();
  running = undefined;
};
const log = (topic: string): Promise<readonly ConsumedRecord[]> => readTopic(kafka, topic);
const steps = async (id?: string): Promise<SagaStep[]> => {
  const decoder = codec.decoder(SagaStepSchema);
  const all: SagaStep[] = [];
  for (const { value } of await log(topics.events('Trips').name)) all.push(await decoder.decode(value!));
  return all.filter(({ instanceId }) => id === undefined || instanceId === id);
};
const header = ({ headers }: ConsumedRecord, name: keyof typeof headerNames): string | undefined => headers[headerNames[name]]?.toString();
const events = async (name: string): Promise<string[]> =>
  (await log(topics.events(name).name)).map((each) => `${each.key} ${header(each, 'type')}`);
const commandIds = async (name: string): Promise<string[]> =>
  (await log(topics.commands(name).name)).map((each) => header(each, 'id')!).filter((id) => id.startsWith('Trips/'));
async function until(what: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 15_000;
  while (!(await what())) {
    if (Date.now() > deadline) throw new Error(`did not come to it; logged: ${logged.slice(-5).join('; ')}`);
    await sleep(10);
  }
}
const untilSteps = (count: number, id?: string): Promise<void> => until(async () => (await steps(id)).length >= count);
const make = (trips: readonly string[], room: string, options?: SendOptions) =>
  running!.gateway.send(Plan, 'Make', `plan-${room}`, { trips: [...trips], room }, options);
const drop = (...trips: string[]) => running!.gateway.send(Plan, 'Drop', 'drops', { trips });

it('makes an instance for each id of an event, and tells each what became of its command', async () => {
  await start();
  await make(['a', 'b', 'a'], 'r1');
  await untilSteps(4);
  const last = new Map((await steps()).map((step) => [step.instanceId, step]));
  expect([...last.keys()].sort()).toEqual(['a', 'b']);
  const said = [...last.values()].map(({ state }) => (JSON.parse(state!) as { said: string[] }).said[0]!.replace(/by .$/, 'by another'));
  expect(said.sort()).toEqual(['applied', 'rejected TAKEN taken by another']);
  expect(await events('Room')).toEqual(['r1 Booked']);
});

it('keeps in its history what came, what it did and what is open, and hands metadata on', async () => {
  await start();
  await make(['a'], 'r1', {
    commandId: 'c1',
    correlationId: 'flow',
    actor: 'ada',
    traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`,
  });
  await untilSteps(2);
  const [first, second] = await steps();
  const [event] = await log(topics.events('Plan').name);
  expect(first).toMatchObject({
    saga: 'Trips',
    version: 1,
    input: { kind: 'event', type: 'Made', id: 'c1/0', topic: topics.events('Plan').name, partition: 0, offset: 0, payload: event!.value },
    ended: false,
    commands: [{ id: 'Trips/a/1/0', type: 'Book', target: 'Room', key: 'r1', compensates: '' }],
    timersSet: [{ name: 'overdue' }],
    pending: [{ id: 'Trips/a/1/0', type: 'Book', target: 'Room', key: 'r1' }],
  });
  expect(second).toMatchObject({ version: 2, input: { kind: 'outcome', type: 'Book', id: 'Trips/a/1/0' }, pending: [], commands: [] });
  const [booked] = await log(topics.events('Room').name);
  const [sent] = await log(topics.commands('Room').name);
  for (const each of [sent!, booked!]) {
    expect([header(each, 'correlationId'), header(each, 'actor')]).toEqual(['flow', 'ada']);
    expect(header(each, 'traceparent')).toContain('a'.repeat(32));
  }
  expect(header(sent!, 'causationId')).toBe('c1/0');
  const [record] = await log(topics.events('Trips').name);
  expect([header(record!, 'aggregateVersion'), header(record!, 'id'), header(record!, 'causationId')]).toEqual(['1', 'Trips/a/1', 'c1/0']);
});

it('undoes what was applied when it is told to, ends, and passes over what comes later', async () => {
  await start();
  await make(['a'], 'r1');
  await untilSteps(2);
  await drop('a');
  await until(async () => (await events('Room')).length === 2);
  expect(await events('Room')).toEqual(['r1 Booked', 'r1 Freed']);
  await make(['a'], 'r1');
  await drop('a');
  await make(['b'], 'r2');
  await untilSteps(2, 'b');
  expect((await steps('a')).map(({ version, ended }) => [version, ended])).toEqual([
    [1, false],
    [2, false],
    [3, true],
  ]);
  expect((await steps('a'))[2]!.timersCancelled).toEqual(['overdue']);
});

it.each(['committed', 'aborted', 'open'] as const)(
  'sends nothing twice and loses nothing when a commit ends unheard, %s',
  async (ending) => {
    await start();
    await make(['z'], 'r0');
    await untilSteps(2);
    for (const consumer of ['hotel.Trips-1.default', 'hotel.Trips-steps-1.default']) cluster.breakCommit(`${consumer}.0`, ending);
    await make(['a', 'b'], 'r1');
    await until(async () => (await steps('a')).length >= 2 && (await steps('b')).length >= 2);
    await make(['c'], 'r2');
    await untilSteps(2, 'c');
    const ids = await commandIds('Room');
    expect(ids.sort()).toEqual(['Trips/a/1/0', 'Trips/b/1/0', 'Trips/c/1/0', 'Trips/z/1/0']);
    for (const id of ['a', 'b', 'c']) expect((await steps(id)).map(({ version }) => version)).toEqual([1, 2]);
  },
);

it.each(['keeps', 'loses'] as const)('fires a timer once that came due while nothing ran, on a machine that %s its disk', async (disk) => {
  await start();
  await make(['a'], 'r1');
  await untilSteps(2);
  await stop();
  if (disk === 'loses') rmSync(dataDir, { recursive: true, force: true });
  clock += 61_000;
  await start({ instance: disk === 'loses' ? 'hotel-1' : 'hotel-0' });
  await untilSteps(3);
  await until(async () => (await events('Plan')).includes('notes Noted'));
  expect((await steps()).at(-1)).toMatchObject({ version: 3, input: { kind: 'timer', type: 'overdue', offset: -1 }, timers: [] });
  await stop();
  await start();
  await make(['b'], 'r2');
  await untilSteps(2, 'b');
  expect(await commandIds('Plan')).toEqual(['Trips/a/3/0']);
});

it('begins with what comes after its first start, and goes on with what came while nothing ran', async () => {
  await start({ components: [Room, Plan] });
  await make(['before'], 'r1');
  await stop();
  await start();
  await stop();
  await start({ components: [Room, Plan] });
  await make(['meanwhile'], 'r2');
  await stop();
  await start();
  await make(['after'], 'r3');
  await untilSteps(4);
  expect(new Set((await steps()).map(({ instanceId }) => instanceId))).toEqual(new Set(['meanwhile', 'after']));
});

it('begins with the first event where it is told to', async () => {
  const Earliest = { ...Trips, startAt: 'earliest' as const };
  await start({ components: [Room, Plan] });
  await make(['before'], 'r1');
  await stop();
  await start({ components: [Room, Plan, Earliest] });
  await untilSteps(2, 'before');
});

it('keeps to its contexts, and its commands stay in the one of their cause', async () => {
  const Imports = { ...Trips, contexts: ['import', 'late'] };
  await start({ components: [Room, Plan, Imports] });
  await make(['live'], 'r1');
  await make(['imported'], 'r2', { context: 'import' });
  await make(['late'], 'r3', { context: 'late' });
  await untilSteps(4);
  expect(new Set((await steps()).map(({ instanceId }) => instanceId))).toEqual(new Set(['imported', 'late']));
  const booked = await log(topics.events('Room').name);
  expect(booked.map((each) => header(each, 'context')).sort()).toEqual(['import', 'late']);
});

it('parks an instance that it cannot go on with, and no other', async () => {
  await start();
  await make(['a'], 'burning');
  await drop('a');
  await make(['b'], 'r2');
  await untilSteps(2, 'b');
  expect(await steps('a')).toEqual([]);
  const parked = await log(topics.deadLetters('hotel.Trips-steps-1.default').name);
  expect(parked.map(({ key, headers }) => `${key} ${headers['dlq-code']}`)).toEqual(['a INTERNAL', 'a FOLLOWS_PARKED']);
});

it('sends to services, hears what came of it, and reacts to their events', async () => {
  const Desk = service('Desk', {
    commands: { Print: record('hotel.Print', { text: 'string' }) },
    events: { Printed: record('hotel.Printed', { text: 'string' }) },
    handle: { Print: ({ text }) => (text === 'r9' ? reject('NO_PAPER', 'the tray is empty') : { type: 'Printed', data: { text } }) },
  });
  const Vouchers = saga('Trips', {
    of: [Room, Desk],
    sends: [Desk],
    initial: () => ({ said: [] as readonly string[] }),
    on: {
      Booked: {
        starts: true,
        by: (_, { aggregateId }) => aggregateId,
        react: (_state, _event, step) => step.send(Desk, 'Print', null, { text: step.id }, { priority: 'high' }),
      },
      Printed: { by: ({ text }) => text, react: ({ said }) => ({ said: [...said, 'printed'] }) },
    },
    onOutcome: { Print: ({ said }, { status, code }) => ({ said: [...said, `${status} ${code}`.trim()] }) },
  });
  await start({ components: [Room, Desk, Vouchers] });
  for (const room of ['r1', 'r9']) await running!.gateway.send(Room, 'Book', room, { trip: 'x' });
  await untilSteps(3, 'r1');
  await untilSteps(2, 'r9');
  const said = async (id: string) => (JSON.parse((await steps(id)).at(-1)!.state!) as { said: string[] }).said.toSorted();
  expect([await said('r1'), await said('r9')]).toEqual([['applied', 'printed'], ['rejected NO_PAPER']]);
  expect((await log(topics.service('Desk', 'high').name)).map((each) => each.key!.toString()).sort()).toEqual([
    'Trips/r1/1/0',
    'Trips/r9/1/0',
  ]);
});

it('can be folded again from its history, and is found out where its code does something else', async () => {
  await start();
  await make(['a'], 'r1');
  await untilSteps(2);
  clock += 61_000;
  await untilSteps(3);
  await drop('a');
  await untilSteps(4);
  expect(await refoldSaga(Trips, await steps(), codec)).toEqual([]);
  const other = { ...Trips, onOutcome: { Book: () => ({ room: 'r2', said: [] }) } };
  expect(await refoldSaga(other, await steps(), codec)).toEqual([expect.stringMatching(/^Trips a version 2: state /)]);
  const silent = { ...Trips, timers: { overdue: () => undefined } };
  expect(await refoldSaga(silent, await steps(), codec)).toEqual([expect.stringMatching(/^Trips a version 3: commands /)]);
});

it('takes its steps within the interceptors', async () => {
  const told: string[] = [];
  const before: Interceptor['before'] = ({ kind, messageKind, type }) => void told.push(`${kind} ${messageKind} ${type}`);
  await start({ interceptors: [{ kinds: ['saga'], before }] });
  await make(['a'], 'r1');
  await untilSteps(2);
  clock += 61_000;
  await untilSteps(3);
  expect(told).toEqual(['saga event Made', 'saga event Book', 'saga timer overdue']);
});
