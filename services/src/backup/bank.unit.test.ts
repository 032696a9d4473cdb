import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createCodec, createMemoryRegistry } from '@spool/schemas';
import { createMemoryCluster, topicCatalogue } from '@spool/streams';
import { backUp, restore } from './index.js';
import { expectRestored, openBank } from './testing.js';

const topics = topicCatalogue({ partitions: 2 });
const registry = createMemoryRegistry();
const codec = createCodec({ registry });

it('a bundle goes on after a restore as if nothing had been', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'spool-backup-'));
  await using before = createMemoryCluster().connect();
  await using after = createMemoryCluster().connect();
  let bank = await openBank(before, codec, topics);
  try {
    await expectRestored(bank, async () => {
      await backUp({ kafka: before, folder, namespace: '', now: Date.now });
      await bank.close();
      await restore({ kafka: after, folder, schemas: registry });
      return (bank = await openBank(after, codec, topics));
    });
  } finally {
    await bank.close();
    rmSync(folder, { recursive: true, force: true });
  }
}, 120_000);
