import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { SpoolError } from '@spool/schemas';
import { until } from '@spool/schemas/testing';
import type { SupervisedChild } from '../supervisor/supervise.js';
import { followBalance, type Follower } from './follow-balance.js';

describe('the instances of a bundle on this machine', () => {
  let server: Server;
  let answer: { status: number; body: unknown };
  let diary: string[];
  let broken: boolean;
  let follower: Follower;
  let die: (error: SpoolError) => void;
  const decide = (desired: number, at = new Date()): void => void (answer = { status: 200, body: { desired, at: at.toISOString() } });
  const looks = async (): Promise<void> => {
    const seen = asked;
    await until(() => asked >= seen + 2);
  };
  let asked: number;

  beforeEach(async () => {
    asked = 0;
    diary = [];
    broken = false;
    decide(1);
    server = createServer((request, response) => {
      asked += 1;
      const { status, body } = request.url === '/api/v1/autoscale/shop' ? answer : { status: 404, body: {} };
      response.writeHead(status, { connection: 'close' }).end(JSON.stringify(body));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    follower = followBalance({
      gateway: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      bundle: 'shop',
      everyMs: 5,
      pauseMs: 100,
      log: () => undefined,
      start(name) {
        diary.push(`start ${name}`);
        if (broken) return Promise.reject(new SpoolError('CHILD_FAILED', 'it died'));
        const ended = new Promise<SpoolError | undefined>((resolve) => (die = resolve));
        const close = (): Promise<void> => Promise.resolve(void diary.push(`stop ${name}`));
        return Promise.resolve([{ name, ended, close } as unknown as SupervisedChild]);
      },
    });
  });
  afterEach(async () => {
    await follower.close();
    await new Promise((resolve) => server.close(resolve));
  });

  it('are as many as the balancer decides, the first one always, and stop with the platform', async () => {
    decide(3);
    await until(() => follower.children.length === 2);
    decide(2);
    await until(() => diary.includes('stop shop-2'));
    decide(0);
    await until(() => follower.children.length === 0);
    decide(2);
    await until(() => follower.children.length === 1);
    await follower.close();
    expect(diary).toEqual(['start shop-1', 'start shop-2', 'stop shop-2', 'stop shop-1', 'start shop-1', 'stop shop-1']);
  });

  it('stay as they are while nobody decides', async () => {
    decide(2);
    await until(() => follower.children.length === 1);
    decide(5, new Date(Date.now() - 120_000));
    await looks();
    answer = { status: 503, body: {} };
    await looks();
    expect(follower.children.map(({ name }) => name)).toEqual(['shop-1']);
  });

  it('are started again after a while when one has failed for good or cannot start', async () => {
    broken = true;
    decide(2);
    await until(() => diary.length === 1);
    await looks();
    expect(diary).toHaveLength(1);
    broken = false;
    await until(() => follower.children.length === 1);
    die(new SpoolError('CHILD_FAILED', 'it died'));
    await until(() => diary.length === 3);
    await until(() => follower.children.length === 1);
  });
});
