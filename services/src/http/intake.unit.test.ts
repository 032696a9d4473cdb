import type { IncomingMessage, ServerResponse } from 'node:http';
import { Registry } from 'prom-client';
import { createIntake, type Arrived } from './intake.js';
import type { Problem } from './problem.js';

interface Asked {
  readonly url?: string;
  readonly prefer?: string;
  readonly gone?: boolean;
}
interface Refusal {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly problem: Problem;
}

/** An intake on a loop whose time and turns the test decides; what is begun takes `takesMs`. */
function intake({ takesMs = 1, most = 1000 }: { readonly takesMs?: number; readonly most?: number } = {}) {
  let at = 1000;
  let due: (() => void)[] = [];
  const begun: { readonly url: string; readonly arrivedAt: number }[] = [];
  const refused: Refusal[] = [];
  const metrics = new Registry();
  const { listener, connected } = createIntake(
    (request, response) => {
      begun.push({ url: request.url!, arrivedAt: (response as unknown as { locals: Arrived }).locals.arrivedAt });
      at += takesMs;
    },
    { open: new Set(['/livez']), most, allowedOrigins: [], metrics, now: () => at, afterReading: (then) => due.push(then) },
  );
  return {
    ...{ begun, refused, metrics, connected },
    pass: (ms: number) => void (at += ms),
    ask({ url = '/x', prefer, gone = false }: Asked = {}) {
      let head: Pick<Refusal, 'status' | 'headers'>;
      const response = {
        destroyed: gone,
        writeHead: (status: number, headers: Refusal['headers']) => (head = { status, headers }),
        end: (body: string) => refused.push({ ...head, problem: JSON.parse(body) as Problem }),
      };
      listener(
        { url, headers: { prefer } } as unknown as IncomingMessage,
        response as unknown as ServerResponse & { req: IncomingMessage },
      );
    },
    /** One turn of the loop; what was begun goes on after it. */
    async turn() {
      for (const then of due.splice(0)) then();
      due = [...due];
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
}
const urls = ({ begun }: ReturnType<typeof intake>): readonly string[] => begun.map(({ url }) => url);

describe('the intake of requests', () => {
  it('begins them in the order in which they came, a few in each turn of the loop', async () => {
    const door = intake();
    for (let n = 0; n < 5; n++) door.ask({ url: `/${n}` });
    expect(door.begun).toEqual([]);
    await door.turn();
    expect(urls(door)).toEqual(['/0', '/1', '/2']);
    await door.turn();
    expect(urls(door)).toEqual(['/0', '/1', '/2', '/3', '/4']);
    expect(door.begun.map(({ arrivedAt }) => arrivedAt)).toEqual(Array(5).fill(1000));
  });

  it('turns sooner where callers connect, since Node accepts one in each turn', async () => {
    const door = intake();
    for (let n = 0; n < 5; n++) door.ask({ url: `/${n}` });
    door.connected();
    await door.turn();
    expect(urls(door)).toEqual(['/0']);
    await door.turn();
    expect(urls(door)).toHaveLength(4);
  });

  it('lets probes pass those who wait', () => {
    const door = intake();
    door.ask();
    door.ask({ url: '/livez?x=1' });
    expect(urls(door)).toEqual(['/livez?x=1']);
  });

  it('refuses at once who would wait for more than a quarter of its time', async () => {
    const door = intake({ takesMs: 50 });
    for (let n = 0; n < 200; n++) door.ask();
    for (let n = 0; n < 100; n++) await door.turn();
    expect(door.refused).toEqual([]);
    // About 9 ms each by now, as far as it knows.
    door.ask({ prefer: 'wait=1' });
    expect(door.refused).toMatchObject([
      {
        status: 503,
        headers: { 'Retry-After': '1', 'Content-Type': 'application/problem+json' },
        problem: { code: 'OVERLOADED', instance: '/x' },
      },
    ]);
    door.ask({ prefer: 'respond-async, wait=20' });
    expect(door.refused).toHaveLength(1);
    expect(await door.metrics.metrics()).toContain('spool_http_refused_total 1');
  });

  it('refuses who has waited for half of its time after all', async () => {
    const door = intake();
    door.ask({ prefer: 'wait=1' });
    door.ask({ url: '/long' });
    door.pass(600);
    await door.turn();
    expect([urls(door), door.refused.length]).toEqual([['/long'], 1]);
  });

  it('refuses what is more than may wait', () => {
    const door = intake({ most: 2 });
    for (let n = 0; n < 3; n++) door.ask();
    expect(door.refused).toHaveLength(1);
  });

  it('does nothing for who has left meanwhile', async () => {
    const door = intake();
    door.ask({ gone: true });
    door.ask({ url: '/still' });
    await door.turn();
    expect([urls(door), door.refused]).toEqual([['/still'], []]);
  });
});
