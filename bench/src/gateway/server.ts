import { createServer, type ServerResponse } from 'node:http';
import { Registry as Metrics } from 'prom-client';
import { createCodec, createMemoryRegistry, messageHeaders, record } from '@spool/schemas';
import { eventTails } from '@spool/services/event-store';
import { streamSocket, tailRoute } from '@spool/services/gateway';
import { createAuth, createLog, startHttp } from '@spool/services/http';
import { connectKafka, topicCatalogue } from '@spool/streams';
import { WebSocketServer, type WebSocket } from 'ws';
import { clock, type Fire, type ServerConfig } from './protocol.js';

/** Serves the clients, and fires an event at each order; answers with when. */
interface Server {
  readonly port: number;
  fire(order: Fire): Promise<number>;
}

const Seen = record('bench.Seen', { n: 'int', pad: 'string' });

/** From an event that is produced to Kafka on. */
async function spool(brokers: readonly string[]): Promise<Server> {
  const kafka = await connectKafka({ brokers, clientId: 'fanout' });
  const topics = topicCatalogue({ namespace: `f${Date.now().toString(36)}.`, partitions: 3 });
  const codec = createCodec({ registry: createMemoryRegistry() });
  const topic = topics.events('Thing');
  await kafka.admin.ensureTopics([topic]);
  const encoder = await codec.encoder(topic.name, Seen);
  const producer = await kafka.producer();
  const tails = eventTails({ kafka, codec, topics, now: Date.now, log: () => undefined }, { onChange: () => () => undefined });
  const http = await startHttp({
    port: 0,
    routes: [tailRoute({ tails, topics })],
    sockets: [streamSocket({ tails, topics })],
    auth: await createAuth(),
    info: { name: 'bench', title: 'Bench', version: '1.0.0' },
    metrics: new Metrics(),
    log: createLog({ name: 'bench', level: 'error' }),
    limits: { maxStreams: 20_000, maxConnections: 30_000 },
  });
  let n = 0;
  return {
    port: http.port,
    async fire() {
      const headers = messageHeaders({ id: `e${n}`, type: 'Seen', aggregateVersion: n + 1 });
      const value = encoder.encode({ n: n++, pad: 'x'.repeat(100) });
      const at = clock();
      await producer.send({ topic: topic.name, key: 'thing', value, headers });
      return at;
    },
  };
}

/** The same bytes, written to as many bare responses and web sockets. */
async function floor(): Promise<Server> {
  const responses = new Set<ServerResponse>();
  const sockets = new Set<WebSocket>();
  const server = createServer((_, response) => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    response.flushHeaders();
    responses.add(response);
    response.once('close', () => responses.delete(response));
  });
  const webSockets = new WebSocketServer({ noServer: true, clientTracking: false, perMessageDeflate: false });
  server.on('upgrade', (request, socket, head) => {
    webSockets.handleUpgrade(request, socket, head, (ws) => {
      sockets.add(ws);
      ws.once('close', () => sockets.delete(ws));
      // What the clients wait for before they count themselves in.
      ws.once('message', () => {
        ws.send('{"type":"position"}');
      });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as { port: number }).port,
    fire({ bytes }) {
      const at = clock();
      const sse = Buffer.from(`event: event\ndata: ${'x'.repeat(bytes)}\n\n`);
      for (const response of responses) response.write(sse);
      const text = Buffer.from(`{"type":"event","data":"${'x'.repeat(bytes)}"}`);
      for (const ws of sockets) ws.send(text, { binary: false });
      return Promise.resolve(at);
    },
  };
}

const { brokers, name } = JSON.parse(process.argv[2]!) as ServerConfig;
const server = name === 'spool' ? await spool(brokers) : await floor();
process.on('message', (order: Fire) => {
  void server.fire(order).then((at) => process.send!(at));
});
process.send!(server.port);
