import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createCodec, createMemoryRegistry } from '@spool/schemas';
import { openInstance } from '../instance/instance.js';
import { createMemoryCluster } from '../kafka/memory/connect.js';
import { topicCatalogue } from '../topics/topics.js';
import { runTopology } from './run.js';
import { string } from './serde.js';
import { topology } from './topology.js';

it('a join that starts for the first time meets the rows of its time, however much both topics hold', async () => {
  const count = 15_000; // more than a task buffers
  const dataDir = mkdtempSync(join(tmpdir(), 'spool-first-start-'));
  const cluster = createMemoryCluster();
  await using kafka = cluster.connect();
  const topic = (name: string) => ({ name, partitions: 1, cleanup: 'delete' as const, retentionMs: -1 });
  await kafka.admin.ensureTopics(['rows', 'clicks', 'joined'].map(topic));
  await using producer = await kafka.producer();
  const keys = Array.from({ length: count }, (_, n) => `k${n}`);
  // The stream is in the log first; by their times each row comes just before the click on it.
  await producer.sendAll(keys.map((key, n) => ({ topic: 'clicks', key, value: Buffer.from('click'), timestamp: 2 * n + 1 })));
  await producer.sendAll(keys.map((key, n) => ({ topic: 'rows', key, value: Buffer.from('row'), timestamp: 2 * n })));

  const codec = createCodec({ registry: createMemoryRegistry() });
  const config = { kafka, codec, topics: topicCatalogue({ partitions: 1 }), bundle: 'test', version: '1', instance: 'test-0', dataDir };
  await using instance = await openInstance({ ...config, log: () => undefined, now: Date.now });
  const texts = { key: string, value: string };
  const joining = topology('joining', (declare) => {
    const rows = declare.table('rows', { ...texts, name: 'rows' });
    declare
      .stream('clicks', texts)
      .join(rows, (click, row) => `${click} ${row}`)
      .to('joined', texts);
  });
  await using running = await runTopology(instance, joining);
  await running.caughtUp();
  const [end] = await kafka.admin.offsets('joined');
  await using reader = await kafka.reader();
  reader.assign({ topic: 'joined', partition: 0 }, 'earliest');
  let joined = 0;
  for (let next = 0n; next < end!.latest;)
    for (const slice of await reader.fetch()) {
      joined += slice.records.length;
      next = slice.nextOffset;
    }
  expect(joined).toBe(count);
  rmSync(dataDir, { recursive: true, force: true });
}, 60_000);
