import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { untilListed } from './listed.js';

const bundle = (...instances: string[]) => ({ items: [{ instances: ['other-0'] }, { instances }] });

describe('untilListed', () => {
  let server: Server;
  let asked: number;
  let answer: () => { status?: number; body: unknown };
  const gateway = (): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const { signal } = new AbortController();

  beforeEach(async () => {
    asked = 0;
    server = createServer((request, response) => {
      asked += 1;
      const { status = 200, body } = request.url === '/api/v1/registry/bundles' ? answer() : { status: 404, body: {} };
      response.writeHead(status, { connection: 'close' }).end(JSON.stringify(body));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  });
  afterEach(() => new Promise((resolve) => server.close(resolve)));

  it('waits until the gateway lists the instance', async () => {
    answer = () => ({ body: asked < 3 ? bundle() : bundle('flights-0') });
    await untilListed(gateway(), 'flights-0', signal);
    expect(asked).toBe(3);
  });

  it('gives up after the bound, and when it is stopped', async () => {
    answer = () => ({ body: bundle() });
    await untilListed(gateway(), 'flights-0', signal, 120);
    const before = asked;
    expect(before).toBeGreaterThan(1);
    await untilListed(gateway(), 'flights-0', AbortSignal.abort());
    expect(asked).toBe(before);
  });

  it('does not ask a gateway again that does not tell', async () => {
    answer = () => ({ status: 401, body: {} });
    await untilListed(gateway(), 'flights-0', signal);
    expect(asked).toBe(1);
    await untilListed('http://127.0.0.1:1', 'flights-0', signal);
  });
});
