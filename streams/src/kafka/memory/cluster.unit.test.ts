import { offset, type ConsumedRecord, type Kafka, type ProducerRecord } from '../port.js';
import { createMemoryCluster } from './connect.js';

const topic = 'orders';
const record = (value: string, key = 'key'): ProducerRecord => ({ topic, key, value: Buffer.from(value) });

async function clusterWithTopic() {
  const cluster = createMemoryCluster({ clock: () => 1_000 });
  const kafka = cluster.connect();
  await kafka.admin.ensureTopics([{ name: topic, partitions: 1, cleanup: 'compact', retentionMs: -1 }]);
  return { cluster, kafka, producer: await kafka.producer() };
}
async function fetchAll(kafka: Kafka, start: number, isolation: 'read_committed' | 'read_uncommitted' = 'read_committed') {
  const moves: string[] = [];
  await using reader = await kafka.reader({ isolation, maxWaitMs: 20, onOutOfRange: (at, to) => moves.push(`${at.offset}-${to}`) });
  reader.assign({ topic, partition: 0 }, offset(start));
  const slices = [...(await reader.fetch())];
  while (slices.at(-1)!.nextOffset < slices.at(-1)!.lastStableOffset) slices.push(...(await reader.fetch()));
  return {
    values: slices.flatMap(({ records }) => records.map((r: ConsumedRecord) => `${r.offset}:${r.value?.toString() ?? ''}`)),
    last: slices.at(-1)!,
    moves,
  };
}

describe('a cluster in memory', () => {
  it('is shared by its clients', async () => {
    const { cluster, producer } = await clusterWithTopic();
    await producer.send(record('a'));
    expect((await fetchAll(cluster.connect(), 0)).values).toEqual(['0:a']);
  });

  it('stamps records by its clock', async () => {
    const { kafka, producer } = await clusterWithTopic();
    await producer.send(record('a'));
    expect(await kafka.admin.offsetsAt(topic, 1_000)).toEqual([{ topic, partition: 0, offset: 0n }]);
    expect(await kafka.admin.offsetsAt(topic, 1_001)).toEqual([{ topic, partition: 0, offset: 1n }]);
  });

  it('keeps its records when the caller changes the bytes it sent', async () => {
    const { kafka, producer } = await clusterWithTopic();
    const value = Buffer.from('a');
    await producer.send({ topic, key: null, value });
    value.write('b');
    expect((await fetchAll(kafka, 0)).values).toEqual(['0:a']);
  });

  it('leaves holes where it compacted, and removes what was deleted', async () => {
    const { cluster, kafka, producer } = await clusterWithTopic();
    for (const [key, value] of ['a1', 'b1', 'a2', 'c1'].entries()) await producer.send(record(value, value[0] ?? String(key)));
    await producer.send({ topic, key: 'c', value: null });
    cluster.compact(topic);
    const { values, last } = await fetchAll(kafka, 0);
    expect(values).toEqual(['1:b1', '2:a2']);
    expect(last.nextOffset).toBe(5n);
  });

  it('moves a reader whose place was removed to what is left', async () => {
    const { cluster, kafka, producer } = await clusterWithTopic();
    await producer.sendAll(['a', 'b', 'c'].map((value) => record(value)));
    cluster.truncate({ topic, partition: 0 }, offset(2));
    const { values, moves } = await fetchAll(kafka, 0);
    expect(values).toEqual(['2:c']);
    expect(moves).toEqual(['0-2']);
    expect((await kafka.admin.offsets(topic))[0]).toMatchObject({ earliest: 2n, latest: 3n });
  });

  it.each([
    ['committed', ['0:a'], ['0:a']],
    ['aborted', [], ['0:a']],
  ] as const)('breaks a commit that in truth is %s', async (ending, committed, uncommitted) => {
    const { cluster, kafka } = await clusterWithTopic();
    const writer = await kafka.transactionalProducer({ transactionalId: 'tx' });
    cluster.breakCommit('tx', ending);
    await expect(writer.commit([record('a')])).rejects.toMatchObject({ code: 'TRANSACTION_INDETERMINATE' });
    await expect(writer.commit([record('b')])).rejects.toMatchObject({ code: 'TRANSACTION_INDETERMINATE' });
    expect((await fetchAll(kafka, 0)).values).toEqual(committed);
    expect((await fetchAll(kafka, 0, 'read_uncommitted')).values).toEqual(uncommitted);
  });

  it('holds readers back at an open transaction until its id is taken again', async () => {
    const { cluster, kafka, producer } = await clusterWithTopic();
    const writer = await kafka.transactionalProducer({ transactionalId: 'tx' });
    cluster.breakCommit('tx', 'open');
    await expect(writer.commit([record('hanging')])).rejects.toMatchObject({ code: 'TRANSACTION_INDETERMINATE' });
    await producer.send(record('behind'));
    const before = await fetchAll(kafka, 0);
    expect(before).toMatchObject({ values: [], last: { nextOffset: 0n, lastStableOffset: 0n, highWatermark: 2n } });
    await kafka.transactionalProducer({ transactionalId: 'tx' });
    expect((await fetchAll(kafka, 0)).values).toEqual(['1:behind']);
  });
});
