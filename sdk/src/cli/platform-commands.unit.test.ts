import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { once } from 'node:events';
import { until } from '@spool/schemas/testing';
import { runProgram } from './program.js';

type Answer = (request: IncomingMessage, response: ServerResponse) => void;
let server: Server;
let url: string;
/** What the server answers, by method and path; the requests as it had them. */
let answers: Record<string, Answer>;
let asked: { readonly what: string; readonly headers: IncomingMessage['headers']; body: string }[];
let stop: AbortController;

beforeEach(async () => {
  answers = {};
  asked = [];
  stop = new AbortController();
  server = createServer((request, response) => {
    const one = { what: `${request.method} ${request.url}`, headers: request.headers, body: '' };
    asked.push(one);
    request.on('data', (text: Buffer) => (one.body += text.toString()));
    request.on('end', () => (answers[one.what] ?? answers[one.what.split('?')[0]!] ?? answer('not here', 404))(request, response));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterEach(() => {
  server.closeAllConnections();
  server.close();
});

/** Text as it is, anything else as JSON. */
const answer =
  (body: unknown, status = 200): Answer =>
  (_request, response) =>
    void response.writeHead(status).end(typeof body === 'string' ? body : JSON.stringify(body));
const line = (event: string, data: unknown, id?: string): string =>
  `${id === undefined ? '' : `id: ${id}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
/** The n-th of them is told at the n-th time; the last one again and again. */
const inTurn = (...each: readonly Answer[]): Answer => {
  let turn = 0;
  return (request, response) => each[Math.min(turn++, each.length - 1)]!(request, response);
};

const said = { out: '', err: '' };
async function spool(args: readonly string[], more: { columns?: number; env?: Record<string, string> } = {}) {
  said.out = said.err = '';
  const code = await runProgram(args, {
    env: { SPOOL_URL: url, ...more.env },
    folder: '.',
    out: (text) => void (said.out += text),
    err: (text) => void (said.err += text),
    columns: more.columns,
    signal: stop.signal,
  });
  return { code, ...said };
}

const replay = (state: string, progress: number, more: object = {}): object => ({
  ...{ id: 'r1', target: 'Totals', mode: 'rewind', state, progress, records: 1000 * progress, skipped: 0, recordsPerSecond: 50 },
  ...{ secondsLeft: 3, createdAt: '2026-01-31T12:00:00Z', actor: 'ada', reason: 'x', error: null, partitions: [], instances: [], ...more },
});
const events = 'GET /api/v1/replays/r1/events';

describe('spool replays --wait', () => {
  it('draws how far it is, on one line of the terminal, and then shows the end', async () => {
    answers[events] = answer(
      [replay('running', 0), replay('running', 0.5), replay('completed', 1)].map((at) => line('replay', at)).join(''),
    );
    const { code, out, err } = await spool(['replays', 'r1', '--wait'], { columns: 60 });
    const drawn = err.split('\r\x1b[K').slice(1);
    expect(drawn[1]).toBe(`[${'#'.repeat(15)}${'.'.repeat(15)}]  50 %  running, 500 record`);
    expect(drawn).toHaveLength(4);
    expect([code, drawn.at(-1), out]).toEqual([0, '', expect.stringMatching(/^r1 {2}rewind of Totals: completed, 1,000 records/)]);
    expect((await spool(['replays', 'r1', '--wait'])).err).toBe('');
  });

  it('goes on when the platform restarts, and passes over what is no progress', async () => {
    const cut: Answer = (_request, response) => {
      response.write(line('replay', replay('running', 0.5)), () => response.destroy());
    };
    answers[events] = inTurn(
      answer(line('replay', replay('running', 0.1)) + line('resync', {})),
      cut,
      answer({ code: 'UNAVAILABLE', detail: 'starting' }, 503),
      answer(line('replay', replay('completed', 1))),
    );
    const { code, out } = await spool(['replays', 'r1', '--wait', '--json']);
    expect([
      code,
      out
        .trim()
        .split('\n')
        .map((each) => (JSON.parse(each) as { progress: number }).progress),
    ]).toEqual([0, [0.1, 0.5, 1]]);
  });

  it('leaves the replay running when it is stopped, and says so', async () => {
    answers[events] = (_request, response) => void response.write(line('replay', replay('running', 0.5)));
    const waiting = spool(['replays', 'r1', '--wait'], { columns: 80 });
    await until(() => said.err.includes('50 %'));
    stop.abort();
    expect(await waiting).toMatchObject({
      code: 1,
      out: '',
      err: expect.stringContaining('replay r1 goes on: spool replays r1 --wait\n') as string,
    });
    expect(asked.map(({ what }) => what)).toEqual([events]);
  });

  it('ends with 1 when the replay has failed, and keeps what was written from steering the terminal', async () => {
    answers[events] = answer(line('replay', replay('failed', 0.5, { error: 'disk\x1b[31m full' })));
    expect(await spool(['replays', 'r1', '--wait'])).toMatchObject({
      code: 1,
      out: expect.stringContaining('error: disk [31m full\n') as string,
    });
  });

  it('prints nothing but lines of JSON after an order', async () => {
    answers['POST /api/v1/replays/r1/promote'] = answer(replay('promoting', 1), 202);
    answers[events] = answer(line('replay', replay('completed', 1)));
    const { code, out } = await spool(['replays', 'r1', 'promote', '--wait', '--json']);
    expect([code, JSON.parse(out)]).toMatchObject([0, { state: 'completed' }]);
  });

  it('does not wait for a platform that was never there', async () => {
    expect(await spool(['replays', 'r1', '--wait', '--url', 'http://127.0.0.1:9'])).toMatchObject({ code: 1 });
  });
});

describe('the orders of a replay', () => {
  it.each(['pause', 'resume', 'cancel', 'promote', 'rollback', 'drop'])('%s is posted', async (order) => {
    answers[`POST /api/v1/replays/a%2Fb/${order}`] = answer(replay('running', 0.5), 202);
    expect((await spool(['replays', 'a/b', order])).code).toBe(0);
  });

  it('throttle takes a rate, or none; without either nothing is lifted', async () => {
    answers['POST /api/v1/replays/r1/throttle'] = answer(replay('running', 0.5), 202);
    for (const limit of ['500', 'none']) expect((await spool(['replays', 'r1', 'throttle', limit])).code).toBe(0);
    expect(asked.map(({ body }) => JSON.parse(body) as unknown)).toEqual([{ recordsPerSecond: 500 }, { recordsPerSecond: null }]);
    expect(await spool(['replays', 'r1', 'throttle'])).toMatchObject({ code: 2 });
  });

  it('and all else of a replay are sent as they were given', async () => {
    answers['POST /api/v1/replays'] = answer(replay('running', 0), 202);
    const places = ['--from', '2026-01-31T12:00:00Z', '--to', '{"offsets":{"0":"5"}}'];
    const choice = ['--types', 'A,B', '--skip-keys', 'k', '--with', 'Counts', '--rate', '10', '--reset'];
    expect((await spool(['replay', 'Totals', '--reason', 'why', ...places, ...choice])).code).toBe(0);
    expect(JSON.parse(asked[0]!.body)).toEqual({
      ...{ target: 'Totals', with: ['Counts'], mode: 'rewind', reason: 'why', rate: 10, resetState: true },
      ...{
        from: { timestamp: '2026-01-31T12:00:00Z' },
        to: { offsets: { 0: '5' } },
        eventTypes: { include: ['A', 'B'] },
        keys: { skip: ['k'] },
      },
    });
  });

  it('are not understood where they contradict themselves', async () => {
    for (const odd of [
      ['--types', 'A', '--skip-types', 'B'],
      ['--keys', 'a', '--skip-keys', 'b'],
      ['--dry-run', '--wait'],
      ['--mode', 'up'],
    ])
      expect((await spool(['replay', 'Totals', '--reason', 'why', ...odd])).code).toBe(2);
    expect((await spool(['replays', 'r1', 'explode'])).code).toBe(2);
    expect(asked).toEqual([]);
  });
});

describe('spool consumers', () => {
  const consumer = {
    id: 'c',
    state: 'running',
    error: null,
    recordsPerSecond: null,
    lag: { records: 0, seconds: 0 },
    partitions: [],
    instances: [],
  };

  it('tells that a record failed again, and that not all have answered', async () => {
    const path = 'POST /api/v1/consumers/c/dead-letters/retry';
    answers[path] = answer({ order: '1', acknowledged: true, records: 2, failed: 'still broken', consumer });
    const retried = await spool(['consumers', 'c', 'retry', 'k', '--reason', 'why']);
    expect(retried).toMatchObject({ code: 1, err: '2 records handled\none failed again: still broken\n' });
    expect(JSON.parse(asked[0]!.body)).toEqual({ key: 'k', reason: 'why' });
    answers['POST /api/v1/consumers/c/seek'] = answer({ order: '2', acknowledged: false, records: 0, failed: null, consumer }, 202);
    expect(await spool(['consumers', 'c', 'seek', 'latest', '--reason', 'why'])).toMatchObject({
      code: 0,
      err: 'not every instance has said so yet; the order stands\n',
    });
    expect((await spool(['consumers', 'c', 'rate', '--reason', 'why'])).code).toBe(2);
  });

  it('lists the dead letters of all pages', async () => {
    const letter = (n: number) => ({ topic: 'evt.A', partition: 0, offset: String(n), key: 'k', code: 'INTERNAL', reason: 'boom' });
    answers['GET /api/v1/consumers/c/dead-letters'] = inTurn(
      answer({ items: [letter(1)], nextCursor: 'next' }),
      answer({ items: [letter(2)] }),
    );
    expect((await spool(['consumers', 'c', 'dead-letters'])).out).toMatch(/^record .*\nevt\.A-0@1 +k .*\nevt\.A-0@2 +k .*\n$/);
    expect(asked[1]!.what).toContain('cursor=next');
  });
});

describe('spool events', () => {
  const event = (version: number) => ({
    id: `e${version}`,
    type: 'Added',
    version,
    at: '2026-01-31T12:00:00Z',
    aggregateType: 'A',
    aggregateId: 'a',
    payload: { n: 1 },
  });

  it('finds one by its id, and by all that a search takes', async () => {
    answers['GET /api/v1/events/search'] = answer({ items: [event(1)] });
    const { out } = await spool(['events', '--id', 'e1', '--type', 'Added', '--type', 'Begun', '--where', 'n=1', '--limit', '5', '--json']);
    expect(JSON.parse(out)).toEqual([event(1)]);
    expect(asked[0]!.what).toBe('GET /api/v1/events/search?eventId=e1&type=Added&type=Begun&where=n%3D1&limit=5');
  });

  it('follows them behind the last one when the connection was lost, to a limit', async () => {
    answers['GET /api/v1/events'] = inTurn(
      answer(line('position', {}, 'p0') + line('event', event(1), 'p1')),
      answer(line('event', event(2), 'p2') + line('event', event(3), 'p3')),
    );
    const { code, out } = await spool(['events', '--follow', '--limit', '2']);
    expect([code, out]).toEqual([0, [1, 2].map((n) => `2026-01-31T12:00:00Z  A/a ${n}  Added  {"n":1}\n`).join('')]);
    expect(asked.map(({ headers }) => headers['last-event-id'])).toEqual([undefined, 'p1']);
  });

  it('shows what each event of an aggregate or of a flow has changed', async () => {
    const changes = [
      { op: 'replace', path: '/n', before: 1, after: 2 },
      { op: 'add', path: '/m', after: [] },
      { op: 'remove', path: '/l', before: 0 },
    ];
    answers['GET /api/v1/aggregates/A/a/steps'] = answer({
      items: [{ id: 'e2', type: 'Added', version: 2, at: '2026-01-31T12:00:00Z', before: { n: 1 }, after: { n: 2 }, changes }],
    });
    expect((await spool(['events', 'A', 'a', '--steps'])).out).toMatch(
      /Z {2}A\/a 2 {2}Added\n {4}\/n {2}1 -> 2\n {4}\/m {2}\+ \[\]\n {4}\/l {2}- 0\n$/,
    );
    const message = {
      kind: 'command',
      id: 'c',
      type: 'Add',
      at: '2026-01-31T12:00:00Z',
      component: 'A',
      aggregateId: 'a',
      event: null,
      changes: [],
    };
    answers['GET /api/v1/correlations/f/steps'] = answer({ items: [message] });
    expect((await spool(['events', '--steps', '--correlation', 'f'])).out).toMatch(/Z {2}A\/a - {2}Add\n$/);
  });

  it('says which options do not go together', async () => {
    expect(await spool(['events', '--follow', '--contains', 'x'])).toMatchObject({
      code: 2,
      err: 'INVALID_REQUEST: --follow does not go with --contains\n',
    });
    for (const odd of [['--limit', 'x'], ['--steps'], ['A', 'a', '--steps', '--type', 'X'], ['A', 'a', '--steps', '--correlation', 'f']])
      expect((await spool(['events', ...odd])).code).toBe(2);
    expect(asked).toEqual([]);
  });
});

describe('the platform', () => {
  it('is told who calls, by a key or a token', async () => {
    answers['GET /spool/api/v1/replays'] = answer({ items: [] });
    const env = { SPOOL_URL: `${url}/spool/`, SPOOL_API_KEY: 'of-the-environment' };
    expect((await spool(['replays', '--json'], { env })).out).toBe('[]\n');
    await spool(['replays', '--api-key', 'of-the-option'], { env });
    expect(asked.map(({ headers }) => headers.authorization)).toEqual(['Bearer of-the-environment', 'Bearer of-the-option']);
  });

  it('says what is wrong and what to do; that is a 1, and an address that is none a 2', async () => {
    answers['GET /api/v1/replays'] = answer({ code: 'FORBIDDEN', detail: 'ada may not' }, 403);
    const forbidden = await spool(['replays', '--json']);
    expect([forbidden.code, forbidden.out, forbidden.err]).toEqual([1, '', expect.stringMatching(/^FORBIDDEN: ada may not\n\S.+\n$/)]);
    answers['GET /api/v1/replays'] = answer('<html>', 404);
    expect(await spool(['replays'])).toMatchObject({ code: 1, err: expect.stringContaining('status 404: <html>') as string });
    answers['GET /api/v1/replays'] = answer('<html>');
    expect(await spool(['replays'])).toMatchObject({ code: 1, err: expect.stringContaining('not a platform of Spool') as string });
    for (const bad of ['nowhere', 'ftp://x', 'http://']) expect((await spool(['replays', '--url', bad])).code).toBe(2);
  });

  it.each(['replay', 'replays', 'events', 'consumers'])('and the help of %s has examples', async (name) => {
    expect(await spool([name, '--help'])).toMatchObject({
      code: 0,
      err: '',
      out: expect.stringMatching(/Examples:\n {2}spool /) as string,
    });
  });
});
