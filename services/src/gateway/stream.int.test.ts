import { randomUUID } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { testKafka } from '@spool/embedded';
import { createCodec, createMemoryRegistry, messageHeaders, record, type Encoder } from '@spool/schemas';
import { connectKafka, topicCatalogue, type Kafka, type Producer } from '@spool/streams';
import { WebSocket } from 'ws';
import { eventTails } from '../event-store/index.js';
import { until } from '../event-store/testing.js';
import { startTestServer, type TestServer } from '../http/testing.js';
import { tailRoute } from './event-routes.js';
import { streamSocket } from './stream-socket.js';

const Seen = record('stream.Seen', { n: 'int', pad: 'string' });
interface Seen {
  readonly n: number;
  readonly pad: string;
}

describe('two hundred clients of one gateway on a real broker', () => {
  const topics = topicCatalogue({ namespace: `t${randomUUID().slice(0, 8)}.`, partitions: 3 });
  const topic = topics.events('Thing');
  let kafka: Kafka;
  let producer: Producer;
  let encoder: Encoder<Seen>;
  let server: TestServer;
  let readers = 0;
  const closing: (() => void)[] = [];
  beforeAll(async () => {
    kafka = await connectKafka({ brokers: testKafka(), clientId: 'stream-test' });
    await kafka.admin.ensureTopics([topic]);
    producer = await kafka.producer();
    const codec = createCodec({ registry: createMemoryRegistry() });
    encoder = await codec.encoder(topic.name, Seen);
    const counted: Kafka = { ...kafka, reader: (options) => ((readers += 1), kafka.reader(options)) };
    const tails = eventTails({ kafka: counted, codec, topics, now: Date.now, log: () => undefined }, { onChange: () => () => undefined });
    server = await startTestServer({
      routes: [tailRoute({ tails, topics })],
      sockets: [streamSocket({ tails, topics, maxBufferedBytes: 64 * 1024 })],
    });
  }, 60_000);
  afterAll(async () => {
    for (const close of closing) close();
    await server.close();
    await producer.close();
    await kafka.close();
  }, 60_000);

  const produce = (from: number, to: number, type = 'Seen', pad = ''): Promise<unknown> =>
    producer.sendAll(
      Array.from({ length: to - from }, (_, n) => ({
        ...{ topic: topic.name, key: 'thing', value: encoder.encode({ n: from + n, pad }) },
        headers: messageHeaders({ id: `e${from + n}`, type, aggregateVersion: from + n + 1 }),
      })),
    );
  interface Client {
    readonly numbers: number[];
    /** From the last position on. */
    readonly open: () => Promise<void>;
    /** Whether it was told to resync, or cut off for it. */
    readonly late: () => boolean;
    readonly socket: () => { pause(): unknown; resume(): unknown };
  }
  const numbersIn = (text: string): number[] => [...text.matchAll(/"payload":\{"n":(\d+)/g)].map(([, n]) => Number(n));

  function sse(type?: string): Client {
    const numbers: number[] = [];
    let socket: Socket;
    let last: string | undefined;
    let late = false;
    const open = (): Promise<void> =>
      new Promise((resolve) => {
        const resume = last === undefined ? '' : `Last-Event-ID: ${last}\r\n`;
        socket = connect(server.port, '127.0.0.1', () => {
          socket.write(`GET /api/v1/events${type === undefined ? '' : `?type=${type}`} HTTP/1.1\r\nHost: localhost\r\n${resume}\r\n`);
        });
        closing.push(() => socket.destroy());
        let text = '';
        socket.on('data', (chunk) => {
          // Without what chunked encoding stands between.
          text += chunk.toString().replaceAll(/\r\n[0-9a-f]+\r\n/g, '');
          const blocks = text.split('\n\n');
          text = blocks.pop()!;
          for (const block of blocks) {
            numbers.push(...numbersIn(block));
            last = /id: (.*)/.exec(block)?.[1] ?? last;
            if (block.includes('event: resync')) late = true;
            if (last !== undefined) resolve();
          }
        });
        // It may not have come to the word before it was cut off.
        socket.on('close', () => (late = true));
        socket.on('error', () => undefined);
      });
    return { numbers, open, late: () => late, socket: () => socket };
  }
  function webSocket(type?: string): Client {
    const numbers: number[] = [];
    let last: string | undefined;
    let late = false;
    let socket: WebSocket;
    const open = (): Promise<void> =>
      new Promise((resolve, reject) => {
        socket = new WebSocket(`${server.url.replace('http', 'ws')}/api/v1/stream`, 'spool.v1');
        closing.push(() => {
          socket.terminate();
        });
        socket.on('open', () => {
          socket.send(JSON.stringify({ type: 'subscribe', id: '1', filter: { type }, after: last }));
        });
        socket.on('message', (data: Buffer) => {
          const text = data.toString();
          numbers.push(...numbersIn(text));
          last = (JSON.parse(text) as { position?: string }).position ?? last;
          if (text.startsWith('{"type":"resync"')) late = true;
          if (text.startsWith('{"type":"position"')) resolve();
        });
        socket.on('error', reject);
      });
    return { numbers, open, late: () => late, socket: () => socket };
  }

  it('get each event once and in order through one reader; the slow ones are told to resync, and then have everything too', async () => {
    const quick = Array.from({ length: 198 }, (_, n) => (n % 2 === 0 ? sse('Seen') : webSocket('Seen')));
    const slow = [sse(), webSocket()];
    await Promise.all([...quick, ...slow].map((client) => client.open()));
    expect(readers).toBe(1);
    for (const client of slow) client.socket().pause();
    // More than the kernel holds for the slow ones, and between it what the others are there for.
    const pad = 'x'.repeat(400_000);
    let sent = 0;
    const seen: number[] = [];
    while (sent < 100) {
      await produce(sent, sent + 1, 'Big', pad);
      await produce(sent + 1, sent + 2);
      seen.push(sent + 1);
      sent += 2;
      await until(() => quick.every(({ numbers }) => numbers.length === seen.length));
    }
    for (const client of slow) client.socket().resume();
    await until(() => slow.every((client) => client.late()));
    for (const client of slow) expect(client.numbers.length).toBeLessThan(sent);
    await Promise.all(slow.map((client) => client.open()));
    await produce(sent, sent + 1);
    seen.push(sent++);
    await until(() => slow.every(({ numbers }) => numbers.length >= sent) && quick.every(({ numbers }) => numbers.length >= seen.length));
    for (const { numbers } of slow) expect(numbers).toEqual(Array.from({ length: sent }, (_, n) => n));
    for (const { numbers, late } of quick) expect([numbers, late()]).toEqual([seen, false]);
  }, 120_000);
});
