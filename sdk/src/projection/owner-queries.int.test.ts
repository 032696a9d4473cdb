import { fork, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { testKafka } from '@spool/embedded';
import { createCodec, createHttpRegistry, type Codec } from '@spool/schemas';
import { startRegistryServer, until } from '@spool/schemas/testing';
import { connectKafka, partitionKey, topicCatalogue, type Kafka, type TopicCatalogue, readTopic } from '@spool/streams';
import { bundle } from '../bundle/bundle.js';
import { startBundle, type RunningBundle } from '../host/start-bundle.js';
import { fromToken } from '../position/token.js';
import { projection } from './projection.js';
import { Counter, Totals, Sums } from '../testing/counter.js';
import { inParts, PartOf } from '../testing/parts.js';

let kafka: Kafka;
let codec: Codec;
let topics: TopicCatalogue;
let dataDir: string;
let schemas: Awaited<ReturnType<typeof startRegistryServer>>;
let writer: RunningBundle;
const running: RunningBundle[] = [];
const children = new Set<ChildProcess>();
beforeEach(async () => {
  schemas = await startRegistryServer();
  kafka = await connectKafka({ brokers: testKafka(), clientId: 'test' });
  codec = createCodec({ registry: createHttpRegistry({ url: schemas.url }) });
  topics = topicCatalogue({ namespace: `t${randomUUID().slice(0, 8)}.` });
  dataDir = mkdtempSync(join(tmpdir(), 'spool-parts-'));
  writer = await startBundle(bundle({ id: 'counting', version: '1.0.0', components: [Counter] }), config('counting-0'));
});
afterEach(async () => {
  for (const child of children) child.kill('SIGKILL');
  for (const child of children) if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  children.clear();
  for (const each of running.splice(0)) await each.close();
  await writer.close();
  await kafka.close();
  await schemas[Symbol.asyncDispose]();
  rmSync(dataDir, { recursive: true, force: true });
});
const config = (instance: string) => ({ kafka, codec, topics, instance, dataDir, log: () => undefined, sessionTimeoutMs: 6000 });
async function start(instance: string): Promise<RunningBundle> {
  const one = await startBundle(inParts, config(instance));
  running.push(one);
  return one;
}
async function spawn(instance: string): Promise<ChildProcess> {
  const args = [testKafka().join(','), schemas.url, topics.namespace, instance, dataDir];
  const child = fork(fileURLToPath(new URL('../testing/parts-process.js', import.meta.url)), args);
  children.add(child);
  await once(child, 'message');
  return child;
}
const ids = Array.from({ length: 24 }, (_, at) => `c${at}`);
const sums = new Map<string, number>();
/** @returns the position of the last, by counter */
async function addAll(n: number): Promise<ReadonlyMap<string, string>> {
  const positions = new Map<string, string>();
  await Promise.all(
    ids.map(async (id) => {
      positions.set(id, (await writer.gateway.send(Counter, 'Add', id, { n })).position);
      sums.set(id, (sums.get(id) ?? 0) + n);
    }),
  );
  return positions;
}
const owned = ({ instance }: RunningBundle): number =>
  instance.status().find(({ consumer }) => consumer.startsWith('parts.PerCounter'))?.partitions.length ?? 0;
const ask = async (id: string, after?: string): Promise<number> =>
  (await writer.gateway.ask(PartOf, 'One', { id }, { timeoutMs: 30_000, ...(after === undefined ? {} : { after }) })).view.sum;

describe('a read model in parts', () => {
  it('is held in parts, and whoever owns the part answers, with what was written before', async () => {
    const [one, two] = [await start('parts-0'), await start('parts-1')];
    await until(() => owned(one) > 0 && owned(two) > 0 && owned(one) + owned(two) === 3);
    const positions = await addAll(1);
    for (const id of ids) expect(await ask(id, positions.get(id))).toBe(sums.get(id));
    await expect(writer.gateway.ask(PartOf, 'One', { id: 'nobody' })).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(writer.gateway.ask(PartOf, 'One', { id: 'c0' }, { context: 'audit' })).rejects.toThrow(/answers in default/);
    await expect(writer.gateway.subscribe(PartOf, 'One', { id: 'c0' }).next()).rejects.toThrow(/takes no subscriptions/);
  }, 60_000);

  it('answers every query, and rightly, while the owner is killed and its parts move', async () => {
    sums.clear();
    await start('parts-0');
    const other = await spawn('parts-1');
    await until(() => owned(running[0]!) > 0 && owned(running[0]!) < 3);
    await addAll(1);
    other.kill('SIGKILL');
    // Asked while nobody owns them: whoever takes them over answers.
    const positions = await addAll(2);
    const answers = await Promise.all(ids.map((id) => ask(id, positions.get(id))));
    expect(answers).toEqual(ids.map((id) => sums.get(id)));
    await until(() => owned(running[0]!) === 3);
    // It comes back with what lies on its disk, which is older.
    await spawn('parts-1');
    await until(() => owned(running[0]!) < 3);
    expect(await Promise.all(ids.map((id) => ask(id)))).toEqual(ids.map((id) => sums.get(id)));
  }, 90_000);

  it('answers what the log says, while commands and queries go on and the owner is killed', async () => {
    await start('parts-0');
    const other = await spawn('parts-1');
    await until(() => owned(running[0]!) > 0 && owned(running[0]!) < 3);
    const done = new AbortController();
    const answers: { id: string; after: ReadonlyMap<string, bigint>; sum: number; position: ReadonlyMap<string, bigint> }[] = [];
    const going = Promise.all(
      ids.map(async (id) => {
        while (!done.signal.aborted) {
          const { position: after } = await writer.gateway.send(Counter, 'Add', id, { n: 1 });
          const { view, position } = await writer.gateway.ask(PartOf, 'One', { id }, { after, timeoutMs: 30_000 });
          answers.push({ id, after: fromToken(after), sum: view.sum, position: fromToken(position) });
        }
      }),
    );
    await until(() => answers.length > 200);
    other.kill('SIGKILL');
    await once(other, 'exit');
    const before = answers.length;
    // Those whose owner is gone wait for the next one; in the end each of them has had an answer.
    await until(() => ids.every((id) => answers.slice(before + ids.length).some((answer) => answer.id === id)), 40_000);
    done.abort();
    await going;
    const { name: topic } = topics.events('Counter');
    const records = await readTopic(kafka, topic);
    const log = new Map(ids.map((id) => [id, records.filter(({ key }) => key!.toString() === id)]));
    for (const { id, after, sum, position } of answers) {
      const { [0]: first, length } = log.get(id)!;
      const at = partitionKey({ topic, partition: first!.partition });
      const upTo = (end: bigint): number => log.get(id)!.filter(({ offset }) => offset < end).length;
      expect(position.get(at)).toBeGreaterThanOrEqual(after.get(at)!);
      expect(sum).toBeGreaterThanOrEqual(upTo(position.get(at)!));
      expect(sum).toBeLessThanOrEqual(length);
    }
    for (const id of ids) expect(await ask(id)).toBe(log.get(id)!.length);
  }, 120_000);

  it('is read by projections that say whose part they want, and by no others', async () => {
    const queries = PartOf.queries;
    const answer = { One: () => undefined };
    const keyless = projection('Keyless', { reads: PartOf.reads, queries, answer });
    const wrong = bundle({ id: 'wrong', version: '1.0.0', components: [PartOf.reads, keyless] });
    await expect(startBundle(wrong, config('wrong-0'))).rejects.toThrow(/keys do not say whose partition One is about/);
    const keyed = { ...Sums, keys: { Total: () => 'x' } };
    const needless = bundle({ id: 'wrong', version: '1.0.0', components: [Counter, Totals, keyed] });
    await expect(startBundle(needless, config('wrong-0'))).rejects.toThrow(/leave keys out/);
  });
});
