import { createCodec, createMemoryRegistry } from '@spool/schemas';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openInstance, type Instance } from '../instance/instance.js';
import { createMemoryCluster, type MemoryCluster } from '../kafka/memory/connect.js';
import { topicCatalogue } from '../topics/topics.js';
import { runTopology, type RunTopologyOptions, type RunningTopology } from './run.js';
import { json, string } from './serde.js';
import { topology, type Topology } from './topology.js';

const text = { key: string, value: string };
const words = topology('words', ({ stream }) =>
  stream('lines', text)
    .flatMapValues((line) => line.split(' '))
    .groupBy((_, word) => word, text)
    .count({ name: 'counts' })
    .toStream()
    .to('counts', { key: string, value: json<number>() }),
);

let cluster: MemoryCluster;
let folder: string;
const codec = createCodec({ registry: createMemoryRegistry() });
const open: { close(): Promise<void> }[] = [];
beforeEach(async () => {
  cluster = createMemoryCluster();
  folder = mkdtempSync(join(tmpdir(), 'spool-topology-'));
  await cluster.connect().admin.ensureTopics([
    { name: 'lines', partitions: 3, cleanup: 'delete', retentionMs: -1 },
    { name: 'others', partitions: 2, cleanup: 'delete', retentionMs: -1 },
    { name: 'counts', partitions: 3, cleanup: 'delete', retentionMs: -1 },
  ]);
});
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close();
  rmSync(folder, { recursive: true, force: true });
});
async function start(of: Topology, options?: RunTopologyOptions, instance = 'a'): Promise<RunningTopology> {
  const kafka = cluster.connect();
  const id: Instance = await openInstance({
    kafka,
    codec,
    topics: topicCatalogue(),
    bundle: 'test',
    version: '1',
    instance,
    dataDir: folder,
    log: () => undefined,
    now: Date.now,
  });
  open.push(kafka, id);
  return runTopology(id, of, options);
}
const say = async (...lines: string[]): Promise<void> => {
  const producer = await cluster.connect().producer();
  await producer.sendAll(lines.map((line, index) => ({ topic: 'lines', key: `line ${index}`, value: Buffer.from(line) })));
};

it.each([
  ['one transaction for the instance', {}],
  ['one transaction for each partition', { transactions: 'partition' as const }],
  ['at least once', { delivery: 'at-least-once' as const }],
])('a topology runs in parts, and its stores can be asked with what they reflect: %s', async (_, options) => {
  await say('to be or not to be', 'that is the question', 'to die to sleep');
  const running = await start(words, options);
  await running.caughtUp();
  const counts = running.store<string, number>('counts', string);
  expect([counts.get('to'), counts.get('question'), counts.get('nothing')]).toEqual([4, 1, undefined]);
  expect([...counts.range({ from: 'q', to: 'u' })].sort()).toEqual([
    ['question', 1],
    ['sleep', 1],
    ['that', 1],
    ['the', 1],
    ['to', 4],
  ]);
  expect(counts.size).toBe(10);
  expect([...counts.positions.keys()].sort()).toEqual([0, 1, 2].map((partition) => `words.repartition-3.repartition-${partition}`));
  await say('to');
  await running.caughtUp();
  expect(counts.get('to')).toBe(5);
  expect(() => running.store('others', string)).toThrow('no store others');
});

it('a topology goes on where it was, on another disk too', async () => {
  await say('to be or not to be');
  const first = await start(words);
  await first.caughtUp();
  await first.close();
  await say('to be');
  const second = await start(words, {}, 'b');
  await second.caughtUp();
  const counts = second.store<string, number>('counts', string);
  expect([counts.get('to'), counts.get('be'), counts.get('or')]).toEqual([3, 3, 1]);
});

it('what is joined must have the same number of partitions', async () => {
  const joined = topology('joined', ({ stream, table }) => void stream('lines', text).join(table('others', text), (a) => a));
  await expect(start(joined)).rejects.toThrow('lines has 3, others has 2');
});
