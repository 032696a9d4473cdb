import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createCodec, createMemoryRegistry, headerNames, record, SpoolError, type Codec } from '@spool/schemas';
import { until } from '@spool/schemas/testing';
import { createMemoryCluster, topicCatalogue, type ConsumedRecord, type Kafka, readTopic } from '@spool/streams';
import { aggregate } from '../aggregate/aggregate.js';
import { bundle } from '../bundle/bundle.js';
import { describe as describeBundle } from '../bundle/describe.js';
import { startBundle, type RunningBundle } from '../host/start-bundle.js';
import { only } from '../messages.js';
import { projection } from '../projection/projection.js';
import { projector, table } from '../projector/projector.js';
import { service } from '../service/service.js';
import { observer, type ObserverContext } from './observer.js';

const Flight = aggregate('Flight', {
  commands: { Land: record('air.Land', { delay: 'int' }) },
  events: { Landed: record('air.Landed', { delay: 'int' }), Diverted: record('air.Diverted', {}) },
  initial: () => ({}),
  decide: { Land: ({ delay }) => [{ type: 'Landed', data: { delay } }] },
  evolve: { Landed: (state) => state, Diverted: (state) => state },
});
const Mail = service('Mail', {
  commands: { Send: record('air.Send', { text: 'string' }), Burn: record('air.Burn', {}) },
  events: { Sent: record('air.Sent', { text: 'string' }) },
  handle: { Send: ({ text }) => ({ type: 'Sent', data: { text } }), Burn: () => undefined },
});
const Delays = projector('Delays', { of: Flight, tables: { rows: table<{ delay: number }>() }, on: {} });
const Board = projection('Board', {
  reads: Delays,
  queries: { Delay: { request: record('air.Delay', {}), view: record('air.DelayView', { delay: 'int' }) } },
  answer: { Delay: () => ({ delay: 7 }) },
});

type Seen = (event: unknown, context: ObserverContext) => void;
let seen: Seen;
const Announce = observer('Announce', {
  of: [Flight, Mail],
  sends: [only(Mail, 'Send')],
  asks: [Board],
  on: {
    async Landed(event, context) {
      seen(event, context);
      const { view } = await context.queries.ask(Board, 'Delay', {});
      await context.commands.send(Mail, 'Send', context.aggregateId, { text: `late by ${event.delay}, board says ${view.delay}` });
      await context.commands.send(Mail, 'Send', null, { text: 'again' });
    },
    Sent: (event, context) => seen(event, context as never),
  },
});
const Elsewhere = observer('Elsewhere', { of: Flight, contexts: ['import'], on: { Landed: (event, context) => seen(event, context) } });
const air = bundle({ id: 'air', version: '1.0.0', components: [Flight, Mail, Delays, Board, Announce, Elsewhere] });
const watching = bundle({ id: 'air', version: '1.0.0', components: [Flight, Mail] });

let kafka: Kafka;
let codec: Codec;
let dataDir: string;
const topics = topicCatalogue({ partitions: 1 });
const open: RunningBundle[] = [];

beforeEach(() => {
  kafka = createMemoryCluster().connect();
  codec = createCodec({ registry: createMemoryRegistry() });
  dataDir = mkdtempSync(join(tmpdir(), 'spool-observer-'));
  seen = () => undefined;
});
afterEach(async () => {
  for (const each of open.splice(0)) await each.close();
  await kafka.close();
  rmSync(dataDir, { recursive: true, force: true });
});
async function start(what = air): Promise<RunningBundle> {
  const running = await startBundle(what, { kafka, codec, topics, instance: 'air-0', dataDir, log: () => undefined });
  open.push(running);
  return running;
}
const stop = (): Promise<void> => open.pop()!.close();
const log = (topic: string): Promise<readonly ConsumedRecord[]> => readTopic(kafka, topic);
const mails = async (): Promise<readonly ConsumedRecord[]> => log(topics.events('Mail').name);
const header = ({ headers }: ConsumedRecord, name: keyof typeof headerNames): string | undefined => headers[headerNames[name]]?.toString();

describe('an observer', () => {
  it('sends commands and asks queries for events of aggregates and services, with ids of its own and what the event carries', async () => {
    const types: string[] = [];
    seen = (event) => types.push(Object.keys(event as object).join());
    const { gateway } = await start();
    await gateway.send(Flight, 'Land', 'f1', { delay: 30 }, { commandId: 'c1', correlationId: 'flow', actor: 'tower' });
    await until(async () => (await mails()).length === 2);
    const [first, second] = await mails();
    expect([first!.key!.toString(), header(first!, 'commandId'), header(second!, 'commandId')]).toEqual([
      'f1',
      'c1/0/Announce/0',
      'c1/0/Announce/1',
    ]);
    expect([header(first!, 'correlationId'), header(first!, 'actor')]).toEqual(['flow', 'tower']);
    const [command] = await log(topics.service('Mail', 'normal').name);
    expect([header(command!, 'causationId'), header(command!, 'source')]).toEqual(['c1/0', 'air/Announce']);
    await until(() => types.length === 3);
    expect(types).toEqual(['delay', 'text', 'text']);
  });

  it('begins with what comes, and goes on with what came while nobody ran', async () => {
    await start(watching);
    await open[0]!.gateway.send(Flight, 'Land', 'f1', { delay: 1 });
    await stop();
    await start();
    await stop();
    await start(watching);
    await open[0]!.gateway.send(Flight, 'Land', 'f1', { delay: 2 });
    await stop();
    const delays: unknown[] = [];
    seen = (event) => delays.push(event);
    await start();
    await until(async () => (await mails()).length === 2);
    await until(() => delays.length === 3);
    expect(delays[0]).toEqual({ delay: 2 });
  });

  it('sends again what failed for the moment, and it counts once', async () => {
    let failures = 2;
    seen = (event) => {
      if ('text' in (event as object) && failures-- > 0) throw new SpoolError('UNAVAILABLE', 'not now');
    };
    let tries = 0;
    const Repeating = observer('Repeating', {
      of: Flight,
      sends: [Mail],
      on: {
        async Landed(_, { commands }) {
          await commands.send(Mail, 'Send', null, { text: 'once' });
          if (++tries < 3) throw new SpoolError('UNAVAILABLE', 'after the mail was sent');
        },
      },
    });
    const { gateway } = await start(bundle({ id: 'air', version: '1.0.0', components: [Flight, Mail, Repeating] }));
    await gateway.send(Flight, 'Land', 'f1', { delay: 1 });
    await until(() => tries === 3);
    expect(await mails()).toHaveLength(1);
  });

  it('parks an event that fails for good with what follows of its aggregate, and goes on with others', async () => {
    const done: string[] = [];
    seen = (event, { aggregateId }) => {
      if (!('delay' in (event as object))) return;
      if (aggregateId === 'bad') throw new TypeError('a bug');
      done.push(aggregateId);
    };
    const { gateway } = await start();
    for (const id of ['bad', 'good', 'bad']) await gateway.send(Flight, 'Land', id, { delay: 1 });
    const letters = topics.deadLetters('air.Announce-1.default').name;
    await until(async () => (await log(letters)).length === 2 && done.length === 1);
    expect((await log(letters)).map(({ headers }) => headers['dlq-code']!.toString())).toEqual(['INTERNAL', 'FOLLOWS_PARKED']);
  });

  it('is given the events of the contexts that it is bound to', async () => {
    const got: string[] = [];
    seen = (event, context) => {
      if ('delay' in (event as object)) got.push(`${(event as { delay: number }).delay} ${'commands' in context}`);
    };
    const Bound = (contexts: readonly string[] | 'all') =>
      bundle({
        id: 'air',
        version: '1.0.0',
        components: [Flight, observer('Bound', { of: Flight, contexts, on: { Landed: (event, context) => seen(event, context) } })],
      });
    const { gateway, instance } = await start(Bound(['import', 'test']));
    expect(instance.status().map(({ consumer }) => consumer)).toEqual(expect.arrayContaining(['air.Bound-1.import', 'air.Bound-1.test']));
    await gateway.send(Flight, 'Land', 'f1', { delay: 1 });
    await gateway.send(Flight, 'Land', 'f1', { delay: 2 }, { context: 'import' });
    await gateway.send(Flight, 'Land', 'f1', { delay: 3 }, { context: 'test' });
    await until(() => got.length === 2);
    expect(got.sort()).toEqual(['2 true', '3 true']);
  });

  it('tells in its descriptor what it reads and sends', () => {
    expect(describeBundle(air, topics).components.find(({ name }) => name === 'Announce')).toMatchObject({
      kind: 'observer',
      handles: ['Landed', 'Sent'],
      sends: ['Send', 'Delay'],
      consumer: 'air.Announce-1.default',
      sources: ['evt.Flight', 'evt.Mail'],
    });
  });

  it('does not compile where it sends, asks or handles what it has not declared', async () => {
    const none = observer('None', {
      of: [Flight, Mail],
      sends: [only(Mail, 'Send')],
      on: {
        async Landed(event, { commands, queries }) {
          // @ts-expect-error a delay is a number
          const wrong: string = event.delay;
          // @ts-expect-error Burn is not declared
          await commands.send(Mail, 'Burn', null, {});
          // @ts-expect-error the payload has a text
          await commands.send(Mail, 'Send', null, { words: wrong });
          // @ts-expect-error Flight is not declared
          await commands.send(Flight, 'Land', 'f1', { delay: 1 });
          // @ts-expect-error no query is declared
          await queries.ask(Board, 'Delay', {});
        },
        // @ts-expect-error nobody gives such an event
        TookOff: () => undefined,
      },
    });
    const refusals: string[] = [];
    const gateway = { send: () => Promise.reject(new Error('sent')), ask: () => Promise.reject(new Error('asked')) };
    expect(Object.keys(none.handlers)).toEqual(['Landed', 'TookOff']);
    const { declaredCommands, declaredQueries } = await import('../gateway/declared.js');
    const commands = declaredCommands(gateway as never, 'None', none.sends, (options) => options);
    const queries = declaredQueries(gateway as never, 'None', none.asks, (options) => options);
    await commands.send(Mail, 'Burn', null, {} as never).catch((error: unknown) => refusals.push((error as SpoolError).code));
    await queries.ask(Board as never, 'Delay' as never, {}).catch((error: unknown) => refusals.push((error as SpoolError).code));
    await commands.send(Mail, 'Send', null, { text: '' } as never).catch((error: unknown) => refusals.push((error as Error).message));
    expect(refusals).toEqual(['INVALID_REQUEST', 'INVALID_REQUEST', 'sent']);
  });
});
