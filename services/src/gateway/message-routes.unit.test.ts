import { request, type IncomingMessage } from 'node:http';
import { aggregate, bundle, observer, projection, projector, record, table } from '@spool/sdk';
import { startInMemory, type BundleInMemory } from '@spool/sdk/testing';
import type { EventStore } from '../event-store/index.js';
import { startTestServer, type TestServer } from '../http/testing.js';
import { messageRoutes } from './message-routes.js';

const Meter = aggregate('Meter', {
  commands: { Read: record('meter.Read', { value: 'int' }) },
  events: { WasRead: record('meter.WasRead', { value: 'int' }) },
  initial: () => ({}),
  decide: { Read: ({ value }) => [{ type: 'WasRead', data: { value } }] },
  evolve: { WasRead: (state) => state },
});
const Last = projector('Last', {
  of: Meter,
  tables: { last: table<{ value: number }>() },
  on: { WasRead: ({ value }, { last }, { aggregateId }) => last.put(aggregateId, { value }) },
});
const Meters = projection('Meters', {
  reads: Last,
  queries: { Value: { request: record('meter.Value', { id: 'string' }), view: record('meter.ValueView', { value: 'int' }) } },
  answer: { Value: ({ id }, { last }) => last.get(id) },
});

const imported: number[] = [];
const Imports = observer('Imports', { of: Meter, contexts: ['import'], on: { WasRead: ({ value }) => void imported.push(value) } });

let whole: BundleInMemory;
let server: TestServer;
beforeEach(async () => {
  whole = await startInMemory(bundle({ id: 'meters', version: '1.0.0', components: [Meter, Last, Meters, Imports] }));
  const { gateway, registry } = whole.running;
  server = await startTestServer({ routes: messageRoutes(gateway, registry, {} as EventStore) });
});
afterEach(async () => {
  await server.close();
  await whole.close();
});
const read = (value: number) => whole.gateway.send(Meter, 'Read', 'm', { value });
const path = (payload: string): string => `/api/v1/queries/Value?payload=${encodeURIComponent(payload)}`;

describe('a command over HTTP', () => {
  const send = (body: object) => server.send({ method: 'POST', path: '/api/v1/commands/Read', body });

  it('goes into the context that it names, and reaches who is bound to it', async () => {
    imported.length = 0;
    expect((await send({ aggregateId: 'm', payload: { value: 1 } })).status).toBe(200);
    expect((await send({ aggregateId: 'm', payload: { value: 2 }, context: 'import', expectedVersion: 'exists' })).status).toBe(200);
    await whole.until(() => imported.length > 0);
    expect(imported).toEqual([2]);
  });

  it('is one under its Idempotency-Key: the same gets its answer, another is refused', async () => {
    const keyed = (value: number) =>
      server.send({
        method: 'POST',
        path: '/api/v1/commands/Read',
        body: { aggregateId: 'm', payload: { value } },
        headers: { 'idempotency-key': '"k1"', 'content-type': 'application/json' },
      });
    const first = (await keyed(1)).json();
    expect((await keyed(1)).json()).toEqual({ ...(first as object), status: 'duplicate', position: expect.any(String) as string });
    const other = await keyed(2);
    expect([other.status, other.problem().code]).toEqual([422, 'IDEMPOTENCY_KEY_REUSED']);
  });

  it.each([
    [{ payload: { value: 1 } }, 400, 'INVALID_REQUEST', '/aggregateId'],
    [{ aggregateId: 'm', payload: { value: 1 }, context: 'Not one' }, 400, 'INVALID_REQUEST', '/context'],
    [{ aggregateId: 'm', payload: { value: 1 }, expectedVersion: 'some' }, 400, 'INVALID_REQUEST', '/expectedVersion'],
    [{ aggregateId: 'm', payload: { value: 1 }, expectedVersion: 'exists' }, 409, 'VERSION_CONFLICT', undefined],
  ])('refuses %j with a problem document', async (body, status, code, pointer) => {
    const answer = await send(body);
    expect([answer.status, answer.problem().code]).toEqual([status, code]);
    if (pointer !== undefined) expect(JSON.stringify(answer.problem())).toContain(`"pointer":"${pointer}"`);
  });
});

describe('a query over server-sent events', () => {
  it('gives the answer and what it becomes, and ends when the client goes', async () => {
    const { position } = await read(1);
    const response = await new Promise<IncomingMessage>((resolve) => {
      const target = { port: server.port, host: '127.0.0.1', path: `${path('{"id":"m"}')}&after=${position}`, agent: false as const };
      request({ ...target, headers: { accept: 'text/event-stream' } }, resolve).end();
    });
    expect(response.headers['content-type']).toBe('text/event-stream; charset=utf-8');
    response.setEncoding('utf8');
    let text = '';
    const values: number[] = [];
    for await (const chunk of response) {
      text += chunk as string;
      for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
        const event = /^id: \S+\nevent: answer\ndata: (.+)$/.exec(text.slice(0, end));
        text = text.slice(end + 2);
        if (event === null) continue;
        const { view } = JSON.parse(event[1]!) as { view: { value: number } };
        if (values.push(view.value) < 3) await read(values.length * 10);
      }
      // Leaving the loop closes the connection.
      if (values.length === 3) break;
    }
    expect(values).toEqual([1, 10, 20]);
    const queries = whole.running.instance.topics.queries('Meters').name;
    const sent = async (): Promise<bigint> =>
      (await whole.running.instance.kafka.admin.offsets(queries)).reduce((sum, { latest }) => sum + latest, 0n);
    // The request, and the word that nobody listens any more.
    await whole.until(async () => (await sent()) === 2n);
  });

  it.each([
    ['{"id":', 400, 'MALFORMED_JSON'],
    ['{"id":7}', 400, 'INVALID_PAYLOAD'],
    ['{"id":"none"}', 404, 'NOT_FOUND'],
  ])('refuses %s with a problem document', async (payload, status, code) => {
    await read(1);
    const answer = await server.send({ path: path(payload), headers: { accept: 'text/event-stream' } });
    expect([answer.status, answer.problem().code]).toEqual([status, code]);
  });
});
