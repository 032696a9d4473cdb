import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { testKafka } from '@spool/embedded';
import { createCodec, createMemoryRegistry } from '@spool/schemas';
import { instanceEvents } from '@spool/sdk/routed';
import { connectKafka, openInstance, topicCatalogue } from '@spool/streams';
import { WebSocket } from 'ws';
import { eventTails } from '../event-store/index.js';
import { until } from '../event-store/testing.js';
import { startTestServer } from '../http/testing.js';
import { tailRoute } from './event-routes.js';
import { streamSocket } from './stream-socket.js';

it('a routed event reaches who asked for its pattern over server-sent events and over a WebSocket', async () => {
  const topics = topicCatalogue({ namespace: `t${randomUUID().slice(0, 8)}.` });
  const codec = createCodec({ registry: createMemoryRegistry() });
  const dataDir = await mkdtemp(join(tmpdir(), 'spool-routed-'));
  const kafka = await connectKafka({ brokers: testKafka(), clientId: 'routed-test' });
  await kafka.admin.ensureTopics([topics.signals('shop')]);
  const shared = { kafka, codec, topics, now: Date.now, log: () => undefined };
  const instance = await openInstance({ ...shared, dataDir, bundle: 'shop', version: '1.0.0', instance: 'shop-0', sampling: 'none' });
  const events = instanceEvents(instance, { root: 'shop' });
  const tails = eventTails(shared, { onChange: () => () => undefined });
  const server = await startTestServer({ routes: [tailRoute({ tails, topics })], sockets: [streamSocket({ tails, topics })] });
  const reading = new AbortController();
  const socket = new WebSocket(`${server.url.replace('http', 'ws')}/api/v1/stream`, 'spool.v1');
  const opened = new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
  try {
    const [sse, ws] = [{ text: '' }, { text: '' }];
    const query = `routing=${encodeURIComponent('shop.exception.#')}&emitter=${encodeURIComponent('*.shop.*')}`;
    const answer = await fetch(`${server.url}/api/v1/events?${query}`, { signal: reading.signal });
    const received = (async () => {
      for await (const chunk of answer.body!) sse.text += Buffer.from(chunk as Uint8Array).toString();
    })().catch(() => undefined);
    socket.on('message', (data: Buffer) => (ws.text += data.toString()));
    await opened;
    socket.send(JSON.stringify({ type: 'subscribe', id: '1', filter: { routing: 'shop.exception.#', emitter: '*.shop.*' } }));
    await until(() => ws.text.includes('"subscribed"') && sse.text.includes('event: position'));
    events.declare('fine', { routing: { root: 'shop', kind: 'data', category: ['auth'], severity: 'info', detail: 'fine' } });
    events.declare('failed', { routing: { root: 'shop', kind: 'exception', category: ['auth'], severity: 'error', detail: 'failed' } });
    await events.fire('fine', {});
    await events.fire('failed', { user: 'ada' });
    const said = '"data":{"user":"ada"}';
    await until(() => sse.text.includes(said) && ws.text.includes(said));
    for (const { text } of [sse, ws]) {
      expect(text).toContain('"routing":"shop.exception.auth.error.failed"');
      expect(text).not.toContain('auth.info.fine');
    }
    reading.abort();
    await received;
    const odd = await server.send({ path: `/api/v1/events?${query}&aggregateId=a` });
    expect(odd.problem()).toMatchObject({ code: 'INVALID_REQUEST', detail: expect.stringContaining('aggregateId') as string });
  } finally {
    reading.abort();
    socket.terminate();
    await server.close();
    await events.close();
    await instance.close();
    await kafka.close();
    await rm(dataDir, { recursive: true, force: true });
  }
}, 60_000);
