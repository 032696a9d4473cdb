import { createMemoryCluster, type BrokenCommit, type Kafka, type MemoryCluster, type Reader, type ReaderOptions } from '@spool/streams';
import { startSchemaRegistry, type RunningSchemaRegistry, type SchemaRegistryOptions } from '../start.js';
import { apiOf, eventually, recordOf, type Api } from '../testing/api.js';
import { registerTogether } from '../testing/together.js';

const topic = '_schemas';
const lock = `spool-schema-registry.${topic}`;
let cluster: MemoryCluster;
let open: { close(): Promise<void> }[];

beforeEach(() => {
  cluster = createMemoryCluster();
  open = [];
});
afterEach(async () => {
  for (const resource of open.reverse()) await resource.close();
});

function connect(): Kafka {
  const kafka = cluster.connect();
  open.push(kafka);
  return kafka;
}
async function start(options: Partial<SchemaRegistryOptions> = {}): Promise<RunningSchemaRegistry & { api: Api }> {
  const registry = await startSchemaRegistry({ kafka: connect(), port: 0, ...options });
  open.push(registry);
  return { ...registry, api: apiOf(registry.url) };
}

/** A broker that takes its time, so that replicas do meet in the middle of a commit. */
function slow(kafka: Kafka, fenced: { count: number }): Kafka {
  return {
    admin: kafka.admin,
    [Symbol.asyncDispose]: () => kafka.close(),
    producer: (options) => kafka.producer(options),
    reader: (options) => kafka.reader(options),
    membership: (options) => kafka.membership(options),
    close: () => kafka.close(),
    transactionalProducer: async (options) => {
      const producer = await kafka.transactionalProducer(options);
      return {
        transactionalId: producer.transactionalId,
        close: () => producer.close(),
        [Symbol.asyncDispose]: () => producer.close(),
        commit: async (records) => {
          await new Promise((resolve) => setTimeout(resolve, Math.random() * 20));
          return producer.commit(records).catch((error: unknown) => {
            fenced.count += 1;
            throw error;
          });
        },
      };
    },
  };
}

/** A replica that hears of everything late. */
function lagging(kafka: Kafka, delayMs: number): Kafka {
  const delayed = async (options?: ReaderOptions): Promise<Reader> => {
    const reader = await kafka.reader(options);
    return {
      assign: (partition, from) => reader.assign(partition, from),
      unassign: (partition) => reader.unassign(partition),
      pause: (partition) => reader.pause(partition),
      resume: (partition) => reader.resume(partition),
      close: () => reader.close(),
      [Symbol.asyncDispose]: () => reader.close(),
      fetch: async () => {
        const slices = await reader.fetch();
        await new Promise((resolve) => setTimeout(resolve, delayMs));
        return slices;
      },
    };
  };
  return { ...slow(kafka, { count: 0 }), reader: delayed };
}

async function append(records: readonly (readonly [key: object, value: object | null])[]): Promise<void> {
  const kafka = connect();
  await kafka.admin.ensureTopics([{ name: topic, partitions: 1, cleanup: 'compact', retentionMs: -1 }]);
  await using producer = await kafka.producer();
  await producer.sendAll(
    records.map(([key, value]) => ({ topic, partition: 0, key: JSON.stringify(key), value: value && Buffer.from(JSON.stringify(value)) })),
  );
}

describe('two replicas', () => {
  it('register the same and different schemas at once: one id each, no id twice, no version lost', async () => {
    const fenced = { count: 0 };
    const replicas = [await start({ kafka: slow(connect(), fenced) }), await start({ kafka: slow(connect(), fenced) })] as const;
    await registerTogether(replicas[0].api, replicas[1].api, 60);
    expect(fenced.count).toBeGreaterThan(0);
  }, 60_000);

  it('refuse on the newest state, not on the one that the slower has read', async () => {
    const [quick, late] = [await start(), await start({ kafka: lagging(connect(), 300) })];
    expect(await late.api.register('s', '"int"')).toBe(1); // it holds the lock from here on, as far as it knows
    await quick.api.put('/config/s', { compatibility: 'NONE' });
    expect(await late.api.register('s', '"string"')).toBe(2);
    expect((await quick.api.delete('/subjects/s')).body).toEqual([1, 2]);
    expect((await late.api.delete('/subjects/s?permanent=true')).body).toEqual([1, 2]);
  });
});

describe('a commit without an answer', () => {
  it.each<BrokenCommit>(['committed', 'aborted', 'open'])('that was truly %s is carried through exactly once', async (ending) => {
    const { api } = await start();
    await api.register('s', '"int"');
    cluster.breakCommit(lock, ending);
    expect((await api.delete('/subjects/s/versions/1')).body).toBe(1);
    cluster.breakCommit(lock, ending);
    expect(await api.register('t', '"string"')).toBe(2);
    expect((await api.get('/subjects/t/versions')).body).toEqual([1]);
    expect((await api.get('/subjects?deletedOnly=true')).body).toEqual(['s']);
  });
});

describe('a restart', () => {
  it('finds everything again, after compaction too', async () => {
    const first = await start();
    await first.api.register('s', '"int"');
    await first.api.register('s', '"long"');
    await first.api.register('t', '"string"');
    await first.api.put('/config/s', { compatibility: 'FULL' });
    await first.api.put('/mode/t', { mode: 'READONLY' });
    await first.api.delete('/subjects/s/versions/1');
    const paths = ['/schemas?deleted=true', '/config/s', '/mode/t', '/subjects'];
    const before = await Promise.all(paths.map((path) => first.api.get(path)));
    await first.close();
    cluster.compact(topic);
    const second = await start();
    const after = await Promise.all(paths.map((path) => second.api.get(path)));
    expect(after.map(({ body }) => body)).toEqual(before.map(({ body }) => body));
    expect(await second.api.register('u', '"bytes"')).toBe(4);
  });

  it('gives no id out again whose schema was deleted for good, even when the log has forgotten it', async () => {
    const first = await start();
    await first.api.register('s', '"int"');
    await first.api.register('t', '"long"');
    await first.api.delete('/subjects/t');
    await first.api.delete('/subjects/t?permanent=true');
    await first.close();
    cluster.compact(topic);
    const second = await start(); // writes a marker over the one that told
    await second.close();
    cluster.compact(topic);
    const third = await start();
    expect((await third.api.get('/schemas?deleted=true')).body).toHaveLength(1);
    expect(await third.api.register('u', '"bytes"')).toBe(3);
  });
});

describe('a topic that a Confluent registry wrote', () => {
  it('is read, and what cannot be read is left aside', async () => {
    const key = (subject: string, version: number) => ({ keytype: 'SCHEMA', subject, version, magic: 1 });
    await append([
      [{ keytype: 'NOOP', magic: 0 }, null],
      [{ keytype: 'CONFIG', subject: null, magic: 0 }, { compatibilityLevel: 'FULL' }],
      [key('s', 1), { subject: 's', version: 1, id: 5, schema: '"int"', deleted: false }],
      [key('p', 1), { subject: 'p', version: 1, id: 6, schemaType: 'PROTOBUF', schema: 'syntax = "proto3";', deleted: false }],
      [key('dup', 1), { subject: 'dup', version: 1, id: 5, schema: '"string"', deleted: false }],
      [
        { keytype: 'CONTEXT', tenant: 'default', context: '.c', magic: 0 },
        { tenant: 'default', context: '.c' },
      ],
      [key('gone', 1), { subject: 'gone', version: 1, id: 9, schema: '"bytes"', deleted: false }],
      [
        { keytype: 'DELETE_SUBJECT', subject: 'gone', magic: 0 },
        { subject: 'gone', version: 1 },
      ],
    ]);
    const warnings: string[] = [];
    const { api } = await start({ log: (level, message) => (level === 'warn' ? warnings.push(message) : 0) });
    expect((await api.get('/subjects')).body).toEqual(['p', 's']);
    expect((await api.get('/config')).body).toEqual({ compatibilityLevel: 'FULL' });
    expect((await api.get('/schemas/ids/6')).body).toEqual({ schemaType: 'PROTOBUF', schema: 'syntax = "proto3";' });
    expect((await api.post('/subjects/p/versions', { schema: '"int"' })).status).toBe(409);
    expect(await api.register('t', '"int"')).toBe(5);
    expect(await api.register('t2', '"float"')).toBe(10);
    expect(warnings.filter((message) => message.startsWith('record left aside'))).toHaveLength(2);
  });

  it('is refused when it could lose schemas or has several partitions', async () => {
    const kafka = connect();
    await kafka.admin.ensureTopics([{ name: 'short', partitions: 1, cleanup: 'delete', retentionMs: 1_000 }]);
    await kafka.admin.ensureTopics([{ name: 'wide', partitions: 2, cleanup: 'compact', retentionMs: -1 }]);
    await expect(startSchemaRegistry({ kafka, port: 0, topic: 'short' })).rejects.toMatchObject({ code: 'UNSAFE_TOPIC' });
    await expect(startSchemaRegistry({ kafka, port: 0, topic: 'wide' })).rejects.toMatchObject({ code: 'PARTITIONS_CHANGED' });
  });
});

describe('bounds', () => {
  it('a write that Kafka does not take in time is answered with 50002, and later ones go on', async () => {
    const kafka = connect();
    let away = false;
    const flaky: Kafka = {
      ...slow(kafka, { count: 0 }),
      transactionalProducer: (options) => (away ? Promise.reject(new Error('no broker')) : kafka.transactionalProducer(options)),
    };
    const { api } = await start({ kafka: flaky, writeTimeoutMs: 300, random: () => 0.05 });
    away = true;
    const answer = await api.post('/subjects/s/versions', { schema: '"int"' });
    expect([answer.status, answer.body]).toEqual([500, { error_code: 50002, message: expect.stringContaining('no broker') as string }]);
    away = false;
    expect(await api.register('s', '"int"')).toBe(1);
  });

  it('more waiting writes than allowed are refused at once with Retry-After', async () => {
    const kafka = connect();
    let letGo: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => (letGo = resolve));
    const stuck: Kafka = {
      ...slow(kafka, { count: 0 }),
      transactionalProducer: (options) => gate.then(() => kafka.transactionalProducer(options)),
    };
    const { api } = await start({ kafka: stuck, writeTimeoutMs: 500, maxWaitingWrites: 2 });
    const answers = await Promise.all(['a', 'b', 'c'].map((subject) => api.post(`/subjects/${subject}/versions`, { schema: '"int"' })));
    const statuses = answers.map(({ status }) => status).sort();
    expect(statuses).toEqual([500, 500, 503]);
    expect(answers.find(({ status }) => status === 503)?.headers.get('retry-after')).toBe('1');
    letGo();
    expect(await api.register('d', '"int"')).toBe(1); // the writes that were given up are not carried out behind their callers' backs
    expect((await api.get('/subjects')).body).toEqual(['d']);
  });

  it('a schema that Kafka does not take is refused, the others of its batch are written', async () => {
    const { api } = await start({ maxBodyBytes: 4 * 1024 * 1024 });
    const huge = JSON.stringify({ type: 'enum', name: 'E', doc: 'x'.repeat(1_200_000), symbols: ['A'] });
    const [refusal, ...ids] = await Promise.all([
      api.post('/subjects/huge/versions', { schema: huge }),
      ...Array.from({ length: 5 }, (_, index) => api.register(`s${index}`, recordOf(`R${index}`, ['a']))),
    ]);
    expect([refusal.status, refusal.body]).toMatchObject([422, { error_code: 42209 }]);
    expect(new Set(ids).size).toBe(5);
  });

  it('a topic that was made anew under the reader is read anew', async () => {
    const { api, problem } = await start();
    await api.register('s', '"int"');
    const kafka = connect();
    await kafka.admin.deleteTopics([topic]);
    await kafka.admin.ensureTopics([{ name: topic, partitions: 1, cleanup: 'compact', retentionMs: -1 }]);
    await eventually(async () => {
      expect((await api.get('/subjects')).body).toEqual([]);
      expect(problem()).toBeUndefined();
    });
    expect(await api.register('t', '"long"')).toBe(1);
  });
});
