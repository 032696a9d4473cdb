import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startKafka, type EmbeddedKafka } from '@spool/embedded';
import { read, text } from '../conformance/stage.js';
import type { KafkaConfig } from './connection.js';
import { connectKafka } from './connect.js';

const user = { username: 'spool', password: 'a-secret' };

describe('a broker that asks for SASL over TLS', () => {
  let dataDir: string;
  let cluster: EmbeddedKafka;
  let ca: string;
  beforeAll(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'spool-port-'));
    cluster = await startKafka({ dataDir, security: { users: [user] }, log: () => undefined });
    ca = await readFile(cluster.tls!.caFile, 'utf8');
  }, 120_000);
  afterAll(async () => {
    await cluster.close();
    await rm(dataDir, { recursive: true, force: true });
  }, 60_000);

  const logged: string[] = [];
  const connect = (config: Partial<KafkaConfig>) =>
    connectKafka({
      brokers: cluster.bootstrap,
      clientId: 'security',
      retryForMs: 5_000,
      log: (...line) => logged.push(JSON.stringify(line)),
      ...config,
    });

  it.each(['plain', 'scram-sha-256', 'scram-sha-512'] as const)('lets a known user write and read by %s', async (mechanism) => {
    await using kafka = await connect({ tls: { ca }, sasl: { mechanism, ...user } });
    const topic = `guarded-${mechanism}`;
    await kafka.admin.ensureTopics([{ name: topic, partitions: 1, cleanup: 'delete', retentionMs: -1 }]);
    const writer = await kafka.transactionalProducer({ transactionalId: mechanism });
    await writer.commit([{ topic, key: 'k', value: Buffer.from('v') }]);
    expect((await read(kafka, topic)).map(({ value }) => text(value))).toEqual(['v']);
  });

  it.each(['plain', 'scram-sha-512'] as const)('refuses a wrong password at once by %s, and does not write it down', async (mechanism) => {
    const refused = connect({ tls: { ca }, sasl: { mechanism, username: user.username, password: 'not the password' } });
    await expect(refused).rejects.toMatchObject({ code: 'KAFKA_REFUSED' });
    await expect(refused).rejects.not.toMatchObject({ message: expect.stringContaining('not the password') as string });
    expect(logged.join('\n')).not.toContain('not the password');
  });

  it('refuses at once a broker whose certificate it has no reason to trust', async () => {
    await expect(connect({ tls: true, sasl: { mechanism: 'plain', ...user } })).rejects.toMatchObject({
      code: 'KAFKA_REFUSED',
      message: expect.stringMatching(/certificate/) as string,
    });
  });
});
