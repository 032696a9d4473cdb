import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { hostname } from 'node:os';
import { until } from '@spool/schemas/testing';
import { mendSilent } from './mend-silent.js';

describe('an instance that is down while its process is there', () => {
  let server: Server;
  let asked: number;
  let items: object[];
  let status: number;
  let killed: number[];
  let lines: string[];
  let mending: { close(): Promise<void> };
  const seen = (pid: number, rest: object = {}) => ({
    ...{ instance: `shop-${pid}`, state: 'down', reason: 'silent for 10 s', host: hostname(), pid },
    ...rest,
  });
  const looks = async (): Promise<void> => {
    const before = asked;
    await until(() => asked >= before + 2);
  };

  beforeEach(async () => {
    [asked, items, status, killed, lines] = [0, [], 200, [], []];
    server = createServer((request, response) => {
      asked += 1;
      const known = request.url === '/api/v1/cluster/instances';
      response.writeHead(known ? status : 404, { connection: 'close' }).end(JSON.stringify({ items }));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const pids = new Map([1, 2, 3].map((pid) => [pid, true]));
    mending = mendSilent({
      gateway: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      everyMs: 5,
      log: (text) => lines.push(text),
      children: () =>
        [...pids.keys()].map((pid) => ({
          pid,
          kill() {
            killed.push(pid);
            pids.delete(pid);
            return Promise.resolve();
          },
        })),
    });
  });
  afterEach(async () => {
    await mending.close();
    await new Promise((resolve) => server.close(resolve));
  });

  it('is ended, once, and it is told why', async () => {
    items = [seen(2)];
    await until(() => killed.length === 1);
    await looks();
    expect(killed).toEqual([2]);
    expect(lines).toEqual([expect.stringContaining('silent for 10 s, though its process 2 is there')]);
  });

  it('is left alone when it is another run, of another machine, or only suspect', async () => {
    items = [seen(9), seen(1, { host: 'elsewhere' }), seen(2, { state: 'suspect' }), seen(3, { state: 'up' })];
    await looks();
    status = 503;
    items = [seen(1)];
    await looks();
    expect(killed).toEqual([]);
  });
});
