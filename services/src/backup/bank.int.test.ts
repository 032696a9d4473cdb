import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startKafka, testKafka } from '@spool/embedded';
import { createCodec, createHttpRegistry } from '@spool/schemas';
import { connectKafka, topicCatalogue, type Kafka } from '@spool/streams';
import { startSchemaRegistry } from '../schema-registry/index.js';
import { backUp, restore, verifyBackUp } from './index.js';
import { expectRestored, openBank } from './testing.js';

const namespace = `t${randomUUID().slice(0, 8)}.`;
const topics = topicCatalogue({ namespace });

it('a bundle of one broker goes on at another, which was empty, as if nothing had been', async () => {
  const parent = mkdtempSync(join(tmpdir(), 'spool-backup-'));
  const folder = join(parent, 'backup');
  const closing: { close(): Promise<void> }[] = [];
  const keep = <T extends { close(): Promise<void> }>(part: T): T => {
    closing.push(part);
    return part;
  };
  /** A bank at a cluster, with a schema registry that keeps its schemas there. */
  const openAt = async (kafka: Kafka) => {
    const { url } = keep(await startSchemaRegistry({ kafka, port: 0, topic: `${namespace}_schemas`, log: () => undefined }));
    const bank = await openBank(kafka, createCodec({ registry: createHttpRegistry({ url }) }), topics);
    let closed: Promise<void> | undefined;
    return keep({ ...bank, close: () => (closed ??= bank.close()) });
  };
  try {
    const before = keep(await connectKafka({ brokers: testKafka(), clientId: 'backup-test' }));
    const bank = await openAt(before);
    await expectRestored(bank, async () => {
      // While the bundle runs, beside the topics of others.
      const { topics: saved } = await backUp({ kafka: before, folder, namespace, now: Date.now });
      expect(saved.map(({ name }) => name)).toEqual(expect.arrayContaining([`${namespace}_schemas`, topics.events('Account').name]));
      expect(saved.filter(({ name }) => !name.startsWith(namespace))).toEqual([]);
      await bank.close();
      expect((await verifyBackUp(folder)).problems).toEqual([]);
      const other = keep(await startKafka({ dataDir: join(parent, 'kafka'), heapMb: 256, log: () => undefined }));
      const after = keep(await connectKafka({ brokers: [...other.bootstrap], clientId: 'backup-test' }));
      await restore({ kafka: after, folder });
      return openAt(after);
    });
  } finally {
    for (const part of closing.reverse()) await part.close();
    rmSync(parent, { recursive: true, force: true });
  }
}, 240_000);
