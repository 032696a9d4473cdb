import { SpoolError } from '@spool/schemas';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePorts } from '../supervisor/ports.js';
import { kafkaJars } from './jars.js';
import { runKafkaTool } from './java.js';
import { startKafka } from './start.js';

const quiet = (): void => undefined;
const timeoutMs = 180_000;

/** The command line tools of Kafka itself as a client. */
let dataDir: string;
async function client(bootstrap: readonly string[], settings?: string) {
  const jars = await kafkaJars(quiet);
  const server = ['--bootstrap-server', bootstrap.join(',')];
  const config = settings === undefined ? [] : ['--command-config', settings];
  return {
    createTopic: (topic: string, replicas: number) =>
      runKafkaTool(jars, 'org.apache.kafka.tools.TopicCommand', [
        ...server,
        ...config,
        ...['--create', '--topic', topic, '--partitions', '1', '--replication-factor', String(replicas)],
      ]),
    listTopics: () => runKafkaTool(jars, 'org.apache.kafka.tools.TopicCommand', [...server, ...config, '--list']),
    /** Values are `<prefix>.0`, `<prefix>.1` and so on; each is acknowledged by all replicas in sync. */
    produce: async (topic: string, prefix: number, count: number) => {
      // The tool tries once, and says so in its output alone: a leader that is just being replaced would lose a record.
      const retrying = join(await mkdtemp(join(dataDir, 'producer-')), 'producer.properties');
      await writeFile(retrying, 'retries=2147483647\ndelivery.timeout.ms=60000');
      const text = await runKafkaTool(jars, 'org.apache.kafka.tools.VerifiableProducer', [
        ...server,
        ...['--topic', topic, '--max-messages', String(count), '--acks', '-1', '--value-prefix', String(prefix)],
        ...['--command-config', retrying],
      ]);
      expect(text.match(/"name":"producer_send_success"/g)).toHaveLength(count);
    },
    read: async (topic: string, count: number) => {
      const text = await runKafkaTool(jars, 'org.apache.kafka.tools.consumer.ConsoleConsumer', [
        ...server,
        ...['--topic', topic, '--from-beginning', '--max-messages', String(count), '--timeout-ms', '30000'],
      ]);
      return text.split('\n').filter((line) => line !== '');
    },
  };
}

describe('startKafka', () => {
  beforeEach(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'spool-kafka-'));
  });
  afterEach(() => rm(dataDir, { recursive: true, force: true }));

  it(
    'keeps what was acknowledged through a kill -9 and through a second start on other ports',
    async () => {
      {
        await using kafka = await startKafka({ dataDir, log: quiet });
        const tools = await client(kafka.bootstrap);
        await tools.createTopic('kept', 1);
        await tools.produce('kept', 1, 3);
        const [killed] = kafka.pids;
        await kafka.kill(0);
        await kafka.untilReady(60_000);
        expect(kafka.pids[0]).not.toBe(killed);
        expect(await tools.read('kept', 3)).toEqual(['1.0', '1.1', '1.2']);
        await tools.produce('kept', 2, 1);
      }
      await using again = await startKafka({ dataDir, log: quiet });
      expect(await (await client(again.bootstrap)).read('kept', 4)).toEqual(['1.0', '1.1', '1.2', '2.0']);
    },
    timeoutMs,
  );

  it(
    'serves on with two of three brokers, and takes the third back',
    async () => {
      await using kafka = await startKafka({ dataDir, brokers: 3, log: quiet });
      const tools = await client(kafka.bootstrap);
      await tools.createTopic('replicated', 3);
      await tools.produce('replicated', 1, 2);
      const others = await client(kafka.bootstrap.slice(1));
      await kafka.kill(0);
      await others.produce('replicated', 2, 2);
      await kafka.untilReady(60_000);
      const first = await client(kafka.bootstrap.slice(0, 1));
      expect(await first.read('replicated', 4)).toEqual(['1.0', '1.1', '2.0', '2.1']);
    },
    timeoutMs,
  );

  it(
    'lets only known users in over SASL_SSL, by each mechanism',
    async () => {
      const users = [{ username: 'alice', password: 'alice-secret' }];
      await using kafka = await startKafka({ dataDir, security: { users }, log: quiet });
      const as = async (mechanism: string, password: string) => {
        const module = mechanism === 'PLAIN' ? 'plain.PlainLoginModule' : 'scram.ScramLoginModule';
        const file = join(dataDir, `${mechanism}.properties`);
        await writeFile(
          file,
          [
            'security.protocol=SASL_SSL',
            `sasl.mechanism=${mechanism}`,
            `sasl.jaas.config=org.apache.kafka.common.security.${module} required username="alice" password="${password}";`,
            'ssl.truststore.type=PEM',
            `ssl.truststore.location=${kafka.tls!.caFile}`,
          ].join('\n'),
        );
        return client(kafka.bootstrap, file);
      };
      await (await as('PLAIN', 'alice-secret')).createTopic('guarded', 1);
      expect(await (await as('SCRAM-SHA-256', 'alice-secret')).listTopics()).toContain('guarded');
      expect(await (await as('SCRAM-SHA-512', 'alice-secret')).listTopics()).toContain('guarded');
      await expect((await as('SCRAM-SHA-512', 'wrong')).listTopics()).rejects.toThrow(/authentication failed/i);
      await expect((await as('PLAIN', 'wrong')).listTopics()).rejects.toThrow(/authentication failed/i);
    },
    timeoutMs,
  );

  it('names the port that is in use and the variable that moves it', async () => {
    const [port, controllerPort] = await freePorts(2);
    const squatter = createServer().listen(port, '127.0.0.1');
    try {
      const start = startKafka({ dataDir, ports: [port!], controllerPorts: [controllerPort!], log: quiet });
      await expect(start).rejects.toMatchObject({
        code: 'PORT_IN_USE',
        message: expect.stringMatching(`${port!}.*SPOOL_KAFKA_PORT`) as string,
      });
    } finally {
      squatter.close();
    }
  });

  it('refuses a folder that holds a cluster of another size', async () => {
    await writeFile(join(dataDir, 'cluster.json'), JSON.stringify({ clusterId: 'x', brokers: 3 }));
    await expect(startKafka({ dataDir, log: quiet })).rejects.toMatchObject({ code: 'INVALID_CONFIG' });
  });

  it(
    'says where the log is when the broker cannot live',
    async () => {
      const started = startKafka({ dataDir, heapMb: 1, log: quiet });
      await expect(started).rejects.toThrow(SpoolError);
      await expect(started).rejects.toMatchObject({ code: 'CHILD_FAILED', message: expect.stringContaining('console.log') as string });
    },
    timeoutMs,
  );
});
