import { fork, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { startPostgres, testKafka, type EmbeddedPostgres } from '@spool/embedded';
import { ControlOrderSchema, createCodec, createHttpRegistry, readMeta, type Codec, type ControlOrder } from '@spool/schemas';
import { startRegistryServer } from '@spool/schemas/testing';
import { connectKafka, partitionOf, topicCatalogue, type Kafka, type TopicCatalogue, readTopic } from '@spool/streams';
import { bundle } from '../bundle/bundle.js';
import { startBundle, type RunningBundle } from '../host/start-bundle.js';
import { openPostgres, type PostgresDatabase } from '../postgres/index.js';
import { adapters, counted, poison, type Adapter, type AdapterOptions } from '../testing/adapters.js';
import type { AdapterProcess } from '../testing/adapter-process.js';
import { Counter } from '../testing/counter.js';

/** What every kind of read model must do; where they differ, the test says so. */

let postgresDir: string;
let server: EmbeddedPostgres;
let schemas: Awaited<ReturnType<typeof startRegistryServer>>;
beforeAll(async () => {
  postgresDir = mkdtempSync(join(tmpdir(), 'spool-adapters-postgres-'));
  server = await startPostgres({ dataDir: postgresDir, log: () => undefined });
  schemas = await startRegistryServer();
}, 60_000);
afterAll(async () => {
  await server.close();
  await schemas[Symbol.asyncDispose]();
  rmSync(postgresDir, { recursive: true, force: true });
});

let kafka: Kafka;
let codec: Codec;
let topics: TopicCatalogue;
let dataDir: string;
let postgres: PostgresDatabase;
let writer: RunningBundle;
const running: RunningBundle[] = [];
const children = new Set<ChildProcess>();
beforeEach(async () => {
  kafka = await connectKafka({ brokers: testKafka(), clientId: 'test' });
  codec = createCodec({ registry: createHttpRegistry({ url: schemas.url }) });
  topics = topicCatalogue({ namespace: `t${randomUUID().slice(0, 8)}.` });
  dataDir = mkdtempSync(join(tmpdir(), 'spool-adapters-'));
  postgres = await openPostgres({ url: server.url });
  writer = await startBundle(bundle({ id: 'counting', version: '1.0.0', components: [Counter] }), config('counting-0'));
});
afterEach(async () => {
  for (const child of children) child.kill('SIGKILL');
  for (const child of children) if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  children.clear();
  for (const each of running.splice(0)) await each.close();
  await writer.close();
  await postgres.close();
  await kafka.close();
  rmSync(dataDir, { recursive: true, force: true });
});
const config = (instance: string) => ({ kafka, codec, topics, instance, dataDir, log: () => undefined });

async function start(adapter: Adapter, instance = 'counted-0', options: AdapterOptions = {}): Promise<RunningBundle> {
  const one = await startBundle(counted(adapter, options).bundle, { ...config(instance), postgres, sessionTimeoutMs: 6000 });
  running.push(one);
  return one;
}
async function spawn(adapter: Adapter, instance: string, options: AdapterOptions = {}): Promise<ChildProcess> {
  const settings: AdapterProcess = {
    ...{ adapter, brokers: testKafka(), schemaRegistryUrl: schemas.url, namespace: topics.namespace, instance, dataDir, ...options },
    postgresUrl: adapter === 'PostgreSQL' ? server.url : undefined,
  };
  const child = fork(fileURLToPath(new URL('../testing/adapter-process.js', import.meta.url)), [JSON.stringify(settings)]);
  children.add(child);
  await once(child, 'message');
  return child;
}
async function kill(child: ChildProcess): Promise<void> {
  child.kill('SIGKILL');
  await once(child, 'exit');
  children.delete(child);
}
const add = async (key: string, n: number): Promise<string> => (await writer.gateway.send(Counter, 'Add', key, { n })).position;
/** Some counters in every partition. */
async function addAll(count: number): Promise<void> {
  await Promise.all(Array.from({ length: count }, (_, at) => add(`c${at % 17}`, 1 + (at % 5))));
}
async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 45_000;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error('the condition did not come true');
    await sleep(50);
  }
}

type Rows = Readonly<Record<string, { readonly events: number; readonly sum: number }>>;
async function rowsOf(of: RunningBundle, after?: string): Promise<Rows> {
  const { Counts } = counted('LMDB');
  const { view } = await of.gateway.ask(Counts, 'Rows', {}, { timeoutMs: 20_000, ...(after === undefined ? {} : { after }) });
  return Object.fromEntries(view.rows.map(({ id, ...row }) => [id, row]));
}
/** What the log says, counted apart. */
async function recount(): Promise<Rows> {
  const decoder = codec.decoder(Counter.events.Added);
  const rows: Record<string, { events: number; sum: number }> = {};
  for (const { headers, value } of await readTopic(kafka, topics.events('Counter').name)) {
    const { n } = await decoder.decode(value!);
    if (n === poison) continue;
    const row = (rows[readMeta(headers).subject!] ??= { events: 0, sum: 0 });
    row.events += 1;
    row.sum += n;
  }
  return rows;
}
async function untilRecounted(of: RunningBundle): Promise<void> {
  const expected = await recount();
  await until(async () => JSON.stringify(sorted(await rowsOf(of).catch(() => ({})))) === JSON.stringify(sorted(expected))).catch(
    () => undefined,
  );
  expect(await rowsOf(of)).toEqual(expected);
}
const sorted = (rows: Rows): readonly unknown[] => Object.entries(rows).sort(([a], [b]) => (a < b ? -1 : 1));

async function order(wish: Partial<ControlOrder> & Pick<ControlOrder, 'action'>): Promise<void> {
  const encoder = await codec.encoder(topics.control.name, ControlOrderSchema);
  const consumer = 'counted.PerCounter-1.default';
  const blank = {
    replayId: null,
    positions: [],
    targets: [],
    recordsPerSecond: null,
    resetState: true,
    filter: null,
    records: null,
    key: null,
    letter: null,
  };
  const value = encoder.encode({
    ...blank,
    value: null,
    id: randomUUID(),
    consumer,
    reason: 'test',
    actor: 'test',
    at: Date.now(),
    ...wish,
  });
  await writer.instance.producer.send({
    topic: topics.control.name,
    key: consumer,
    partition: partitionOf(consumer, topics.control.partitions),
    value,
  });
}
const replayStates = (of: RunningBundle): readonly (string | undefined)[] =>
  of.instance
    .status()
    .find(({ consumer }) => consumer.startsWith('counted.PerCounter'))
    ?.replays.map(({ state }) => state) ?? [];

describe.each(adapters)('a read model in %s', (adapter) => {
  it('counts each event once while its process is killed in the middle of batches', async () => {
    await addAll(40);
    let alive = await spawn(adapter, 'counted-1', { slowMs: 3 });
    for (let kills = 0; kills < 5; kills++) {
      await addAll(60);
      await sleep(Math.random() * 150);
      await kill(alive);
      alive = await spawn(adapter, 'counted-1', { slowMs: 3 });
    }
    await kill(alive);
    // LMDB: what the same instance finds on its disk. PostgreSQL: what any finds.
    await untilRecounted(await start(adapter, 'counted-1'));
  }, 120_000);

  it('answers with what was written before, when asked for it', async () => {
    const one = await start(adapter);
    for (let n = 1; n <= 10; n++) {
      const position = await add('c', n);
      expect((await rowsOf(one, position))['c']).toEqual({ events: n, sum: (n * (n + 1)) / 2 });
    }
  });

  it('is built anew with a new version, before it answers', async () => {
    await start(adapter);
    await addAll(50);
    await running.pop()!.close();
    expect(await rowsOf(await start(adapter, 'counted-0', { version: 2 }))).toEqual(await recount());
  });

  it('is emptied and built anew by a replay, once for all that share it', async () => {
    const one = await start(adapter, 'counted-0');
    const two = await start(adapter, 'counted-1');
    const owned = (of: RunningBundle) =>
      of.instance.status().find(({ consumer }) => consumer.includes('PerCounter'))?.partitions.length ?? 0;
    // LMDB: each has all. PostgreSQL: they share.
    await until(() => owned(one) + owned(two) === (adapter === 'LMDB' ? 6 : 3) && owned(one) > 0 && owned(two) > 0);
    await addAll(100);
    await untilRecounted(one);
    const ends = await kafka.admin.offsets(topics.events('Counter').name);
    const places = (which: 'earliest' | 'latest') =>
      ends.map(({ topic, partition, ...at }) => ({ topic, partition, offset: Number(at[which]) }));
    await order({ action: 'rewind', replayId: 'r1', positions: places('earliest'), targets: places('latest') });
    await addAll(50);
    await until(() => [...replayStates(one), ...replayStates(two)].every((state) => state === 'completed') && replayStates(one).length > 0);
    await untilRecounted(one);
    await untilRecounted(two);
  }, 60_000);

  it('tells subscribers of every instance what has changed', async () => {
    const [one, two] = [await start(adapter, 'counted-0'), await start(adapter, 'counted-1')];
    const { Counts } = counted(adapter);
    const updates = [one, two].map(({ gateway }) => gateway.subscribe(Counts, 'Rows', {}));
    for (const n of [1, 2]) {
      await add('c', n);
      for (const update of updates) {
        for (;;) {
          const { value, done } = await update.next();
          if (done === true) throw new Error('the subscription ended');
          if (value.view.rows.some(({ events }) => events === n)) break;
        }
      }
    }
    for (const update of updates) await update.return();
  });

  it('parks what its handler does not take, and everything after it of the same counter, and goes on with the others', async () => {
    const one = await start(adapter);
    await add('a', 1);
    await add('b', poison);
    await add('b', 2);
    await add('a', 4);
    await until(async () => (await rowsOf(one))['a']?.events === 2);
    expect(await rowsOf(one)).toEqual({ a: { events: 2, sum: 5 } });
    expect(await readTopic(kafka, topics.deadLetters('counted.PerCounter-1.default').name)).toHaveLength(2);
  });
});

describe('a read model in PostgreSQL', () => {
  it('is not written by an owner that was stopped and goes on when another has taken over', async () => {
    await addAll(60);
    const zombie = await spawn('PostgreSQL', 'counted-1', { slowMs: 3 });
    await addAll(120);
    zombie.kill('SIGSTOP');
    const other = await start('PostgreSQL', 'counted-2');
    await addAll(60);
    await untilRecounted(other);
    zombie.kill('SIGCONT');
    await addAll(60);
    await sleep(2000);
    await untilRecounted(other);
  }, 120_000);

  it('waits while the server is away, and goes on where it was', async () => {
    const one = await start('PostgreSQL');
    for (let kills = 0; kills < 3; kills++) {
      const adding = addAll(80);
      await sleep(Math.random() * 100);
      await server.kill();
      await adding;
    }
    await untilRecounted(one);
  }, 120_000);

  it('is refused where it cannot be what it says', async () => {
    const without = startBundle(counted('PostgreSQL').bundle, config('counted-0'));
    await expect(without).rejects.toThrow(/give startBundle a database/);
    const { bundle: whole, Counts } = counted('PostgreSQL');
    const keeping = { ...whole, components: [...whole.components.slice(0, 1), { ...Counts, cache: { maxEntries: 1 } }] };
    await expect(startBundle(keeping, { ...config('counted-0'), postgres })).rejects.toThrow(/leave cache out/);
    await expect(openPostgres({ url: 'mysql://nowhere' })).rejects.toThrow(/postgresql:/);
    await expect(openPostgres({ url: 'postgresql://127.0.0.1:1/none' })).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  });
});
