import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  createMemoryCluster,
  offset,
  topicCatalogue,
  type ConsumedRecord,
  type Kafka,
  type MemoryCluster,
  type Producer,
} from '@spool/streams';
import { backUp, refuseHalfRestored, restore, verifyBackUp } from './index.js';
import { manifestName } from './manifest.js';

const topics = topicCatalogue({ namespace: 'acme.', partitions: 2 });
const event = topics.events('Account');
const own = { name: 'acme.own', partitions: 1, cleanup: 'delete', retentionMs: -1, config: { 'max.message.bytes': '2000000' } } as const;

let cluster: MemoryCluster;
let kafka: Kafka;
let parent: string;
let folder: string;
beforeEach(async () => {
  cluster = createMemoryCluster({ clock: () => 77 });
  kafka = cluster.connect();
  parent = mkdtempSync(join(tmpdir(), 'spool-backup-'));
  folder = join(parent, 'b');
  await kafka.admin.ensureTopics([event, own, topics.snapshots('Account'), topics.spans, topics.control, topics.replies('gateway')]);
});
afterEach(() => rmSync(parent, { recursive: true, force: true }));

/** Some records one by one, some in transactions, with holes where a transaction ended, where one failed and where the log was compacted. */
async function fill(): Promise<void> {
  await using plain = await kafka.producer();
  await using writer = await kafka.transactionalProducer({ transactionalId: 'w' });
  for (let n = 0; n < 5; n++) {
    const headers = { ce_type: 'Paid', raw: Buffer.from([0, 255, n]), writerepoch: String(n) };
    await writer.commit([
      { topic: event.name, partition: n % 2, key: `k${n}`, value: Buffer.from([n, 0, 255]), headers, timestamp: 1000 + n },
      { topic: topics.snapshots('Account').name, partition: 0, key: `s/k${n % 2}`, value: Buffer.from(String(n)), timestamp: 2000 + n },
    ]);
    await plain.send({ topic: own.name, key: n === 0 ? null : Buffer.from([n]), value: n === 1 ? null : Buffer.alloc(n * 100, n) });
  }
  await writer.commit([{ topic: topics.snapshots('Account').name, partition: 1, key: 'o/5/0', value: Buffer.from('outcomes') }]);
  cluster.compact(topics.snapshots('Account').name);
  cluster.truncate({ topic: own.name, partition: 0 }, offset(1));
  cluster.breakCommit('w', 'aborted');
  await writer.commit([{ topic: event.name, partition: 0, key: 'no', value: Buffer.from('aborted') }]).catch(() => undefined);
  for (const group of ['seen', 'acme.spool.telemetry.events.Account'])
    await kafka.admin.commitOffsets(group, [{ topic: event.name, partition: 0, offset: offset(3), metadata: '9' }]);
}

async function all(of: Kafka, topic: string): Promise<readonly ConsumedRecord[]> {
  const records: ConsumedRecord[] = [];
  const reader = await of.reader({ maxWaitMs: 1 });
  for (const { partition, latest } of await of.admin.offsets(topic)) {
    reader.assign({ topic, partition }, 'earliest');
    for (let next = 0n; next < latest;) {
      for (const slice of await reader.fetch()) {
        records.push(...slice.records);
        next = slice.nextOffset;
      }
    }
    reader.unassign({ topic, partition });
  }
  await reader.close();
  return records;
}
const save = (more = {}) => backUp({ kafka, folder, namespace: 'acme.', now: () => 5, ...more });
/** As it has to be restored. */
const restored = ({ offset: _, headers, key, ...rest }: ConsumedRecord) => ({
  ...rest,
  // So that no group of the new log writes over it.
  key: key?.toString() === 'o/5/0' ? Buffer.from('o/~5/0') : key,
  headers: headers.writerepoch === undefined ? headers : { ...headers, writerepoch: Buffer.from('0') },
});
const asThere = ({ offset: _, ...rest }: ConsumedRecord) => rest;

describe('a back-up', () => {
  it('is restored record by record, each with its partition, order, key, value, headers and time', async () => {
    await fill();
    const manifest = await save();
    expect(manifest.topics.map(({ name }) => name)).toEqual(['acme.evt.Account', 'acme.own', 'acme.snap.Account']);
    const fresh = createMemoryCluster().connect();
    await restore({ kafka: fresh, folder });
    for (const { name } of [event, own, topics.snapshots('Account')]) {
      const [before, after] = [await all(kafka, name), await all(fresh, name)];
      expect(after.map(asThere)).toEqual(before.map(restored));
      const inPartition = (partition: number) =>
        after.filter((record) => record.partition === partition).map((record) => Number(record.offset));
      expect(inPartition(0)).toEqual(inPartition(0).map((_, index) => index));
    }
    const described = await fresh.admin.describeTopics([event.name, own.name, topics.snapshots('Account').name]);
    expect(described.map(({ partitions, config }) => [partitions, config['cleanup.policy']])).toEqual([
      [2, 'delete'],
      [1, 'delete'],
      [2, 'compact'],
    ]);
    expect(described[0]!.config['retention.ms']).toBe('-1');
    expect(described[1]!.config['max.message.bytes']).toBe('2000000');
    // The platform's own begin again; ClickHouse is empty.
    expect(await fresh.admin.listGroups()).toEqual(['seen']);
    // The log that was read has [0] [marker] [2] [marker] [4]: before 3 there are two records.
    expect(await fresh.admin.committedOffsets('seen', [event.name])).toEqual([
      { topic: event.name, partition: 0, offset: 2n, metadata: '' },
    ]);
  });

  it('holds committed records alone, of the topics that were asked for', async () => {
    await fill();
    const manifest = await save({ topics: ['acme.evt.*'] });
    expect(manifest.topics).toMatchObject([{ name: event.name, partitions: [{ records: 3 }, { records: 2 }] }]);
    expect(readdirSync(folder).sort()).toEqual(['acme.evt.Account-0.avro', 'acme.evt.Account-1.avro', manifestName]);
    await expect(save({ folder: join(parent, 'c'), topics: ['acme.nothing'] })).rejects.toMatchObject({ code: 'UNKNOWN_TOPIC' });
    await expect(save()).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
  });

  it('is not cut where a transaction is open', async () => {
    await fill();
    const writer = await kafka.transactionalProducer({ transactionalId: 'open' });
    cluster.breakCommit('open', 'open');
    await writer.commit([{ topic: event.name, partition: 1, key: 'a', value: null }]).catch(() => undefined);
    await expect(save({ cutWithinMs: 30 })).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: expect.stringContaining('acme.evt.Account-1') as string,
    });
    // Whoever takes the id ends it.
    await kafka.transactionalProducer({ transactionalId: 'open' });
    rmSync(folder, { recursive: true });
    expect((await save()).topics[0]!.partitions[1]).toMatchObject({ records: 2 });
  });

  it('is cut at one moment: a transaction that comes between two looks is in it as a whole', async () => {
    await fill();
    const writer = await kafka.transactionalProducer({ transactionalId: 'late' });
    let looks = 0;
    const busy = Object.create(kafka, {
      reader: {
        value: async (options: object) => {
          // After the events were looked at, and before the changelogs are looked at again.
          if (++looks === 3) {
            const both = [event, topics.snapshots('Account')].map(({ name }) => ({
              topic: name,
              partition: 0,
              key: 'late',
              value: Buffer.from('x'),
            }));
            await writer.commit(both);
          }
          return kafka.reader(options);
        },
      },
    }) as Kafka;
    const { topics: saved } = await save({ kafka: busy });
    const records = (name: string) => saved.find((topic) => topic.name === name)!.partitions[0]!.records;
    expect([records(event.name), records(topics.snapshots('Account').name)]).toEqual([4, 3]);
  });
});

describe('the check of a back-up', () => {
  beforeEach(async () => {
    await fill();
    await save();
  });
  const problems = async () => (await verifyBackUp(folder)).problems;

  it('finds nothing in what was written', async () => {
    expect(await problems()).toEqual([]);
  });

  it('names the file with a byte that was flipped, whichever it is, and it is not restored', async () => {
    for (const name of readdirSync(folder)) {
      const path = join(folder, name);
      const before = readFileSync(path);
      const bytes = Buffer.from(before);
      bytes[Math.floor(bytes.length / 2)]! ^= 1;
      writeFileSync(path, bytes);
      const found = await problems().catch((error: unknown) => [String(error)]);
      expect(found).toHaveLength(1);
      expect(found[0]).toContain(path);
      const fresh = createMemoryCluster().connect();
      await expect(restore({ kafka: fresh, folder })).rejects.toMatchObject({ code: 'BACKUP_DAMAGED' });
      expect(await fresh.admin.listTopics()).toEqual([]);
      writeFileSync(path, before);
    }
    expect(await problems()).toEqual([]);
  });

  it('names a file that is gone and one that is longer', async () => {
    const [gone, longer] = ['acme.own-0.avro', 'acme.evt.Account-1.avro'].map((name) => join(folder, name)) as [string, string];
    unlinkSync(gone);
    appendFileSync(longer, 'x');
    expect(await problems()).toEqual([expect.stringContaining(longer), expect.stringContaining(gone)]);
  });

  it('takes a folder without a manifest for one that was not finished', async () => {
    unlinkSync(join(folder, manifestName));
    await expect(problems()).rejects.toMatchObject({ code: 'BACKUP_DAMAGED', message: expect.stringContaining('not finished') as string });
  });
});

describe('a restore', () => {
  beforeEach(async () => {
    await fill();
    await save();
  });

  it('refuses a topic that holds records, and names it', async () => {
    const fresh = createMemoryCluster().connect();
    await fresh.admin.ensureTopics([event]);
    await (await fresh.producer()).send({ topic: event.name, partition: 1, key: 'a', value: null });
    await expect(restore({ kafka: fresh, folder })).rejects.toMatchObject({
      code: 'TOPIC_NOT_EMPTY',
      message: expect.stringContaining('acme.evt.Account-1') as string,
    });
    expect(await fresh.admin.listTopics()).toEqual([event.name]);
  });

  it('that stopped is seen by whoever starts, and goes on where it was', async () => {
    const fresh = createMemoryCluster().connect();
    // The producer goes in the middle of a topic.
    const dying: Kafka = Object.create(fresh, {
      producer: {
        value: async (): Promise<Producer> => {
          const producer = await fresh.producer();
          const sendAll: Producer['sendAll'] = async (records) => {
            if (records[0]?.topic !== own.name) return producer.sendAll(records);
            await producer.sendAll(records.slice(0, 2));
            throw new Error('killed');
          };
          const close = () => producer.close();
          return { send: (record) => producer.send(record), sendAll, close, [Symbol.asyncDispose]: close } satisfies Producer;
        },
      },
    }) as Kafka;
    await refuseHalfRestored(fresh, topics);
    await expect(restore({ kafka: dying, folder })).rejects.toThrow('killed');
    await expect(refuseHalfRestored(fresh, topics)).rejects.toMatchObject({ code: 'RESTORE_UNFINISHED' });

    // Another one does not go on with it.
    const other = join(parent, 'other');
    await backUp({ kafka, folder: other, namespace: 'acme.', now: () => 6 });
    await expect(restore({ kafka: fresh, folder: other })).rejects.toMatchObject({ code: 'TOPIC_NOT_EMPTY' });

    await restore({ kafka: fresh, folder });
    await refuseHalfRestored(fresh, topics);
    for (const { name } of [event, own, topics.snapshots('Account')]) {
      expect((await all(fresh, name)).map(asThere)).toEqual((await all(kafka, name)).map(restored));
    }
    await expect(restore({ kafka: fresh, folder })).rejects.toMatchObject({ code: 'TOPIC_NOT_EMPTY' });
  });
});
