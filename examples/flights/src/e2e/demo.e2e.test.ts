import { freePorts, platformProcess, stillAlive, type PlatformProcess } from '@spool/embedded';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { expectedAirportDelays, expectedAirports, expectedRouteDelays, expectedRoutes } from '../expected.js';
import { flightId, timetable } from '../timetable.js';
import { ask, assertPrograms, eventsInLog, logEnds, request, select, type Demo } from './demo.js';
import { persistentCaller } from './persistent-caller.js';
import { masked, stepsOf, walk, type Step } from './walkthrough.js';

const root = fileURLToPath(new URL('../../../../', import.meta.url));
const startMs = 150_000;
/** Slow enough that the feed is under way at each kill. */
const flightsPerSecond = 500;
/** For the rest of the feed once all have died, on a slow machine. */
const feedMs = 240_000;

/** Where the README stops the platform, and starts it with a bug. */
const bugTour = '\n## A bug, its fix';

describe('the demo on a machine where everything dies once', () => {
  let folder: string;
  let env: Readonly<Record<string, string>>;
  let demo: Demo;
  let addresses: Readonly<Record<string, string>>;
  let platform: PlatformProcess;
  let acknowledged: readonly string[] = [];

  beforeAll(async () => {
    await assertPrograms('curl', 'jq', 'kcat');
    folder = await mkdtemp(join(tmpdir(), 'spool-demo-'));
    const [http, clickhouse, registry, kafka, controller] = (await freePorts(5)).map(String);
    env = {
      SPOOL_DATA_DIR: join(folder, 'data'),
      SPOOL_HTTP_PORT: http!,
      SPOOL_CLICKHOUSE_PORT: clickhouse!,
      SPOOL_SCHEMA_REGISTRY_PORT: registry!,
      SPOOL_KAFKA_PORT: kafka!,
      SPOOL_KAFKA_CONTROLLER_PORT: controller!,
      SPOOL_FLIGHTS_RATE: String(flightsPerSecond),
    };
    demo = { gateway: `http://127.0.0.1:${http!}`, clickhouse: `http://127.0.0.1:${clickhouse!}`, kafka: `127.0.0.1:${kafka!}` };
    addresses = {
      '127.0.0.1:8080': `127.0.0.1:${http!}`,
      '127.0.0.1:8123': `127.0.0.1:${clickhouse!}`,
      '127.0.0.1:8081': `127.0.0.1:${registry!}`,
      '127.0.0.1:9092': demo.kafka,
      '/home/you/spool/.spool': env.SPOOL_DATA_DIR!,
    };
    platform = platformProcess({ args: [join(root, 'scripts/start.mjs')], env });
    await platform.untilLine(/^ {2}data/, startMs, 0);
  }, startMs + 10_000);
  afterAll(async () => {
    await platform[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  }, 70_000);

  it('starts with the lines that the README prints', async () => {
    const printed = /^```console\n\$ npm start\n([^]*?)^```$/m.exec(await readPage('README.md'))![1]!;
    const expected = Object.entries(addresses).reduce((text, [shown, real]) => text.replaceAll(shown, real), printed);
    // What starts side by side is ready in either order.
    const comparable = (lines: readonly string[]): string => masked([...lines].sort().join('\n'), /\d+\.\d s/g);
    // Before them the first start of all tells of what it installs.
    const lines = platform.lines.filter((line) => /^( {2})?[a-z ]+ {2}|^ready$/.test(line));
    expect(comparable(lines)).toBe(comparable(expected.trim().split('\n')));
  });

  it('loses nothing acknowledged and doubles nothing when each process is killed with -9 while flights are fed', async () => {
    await using caller = persistentCaller(demo);
    for (const [name, command] of [
      ['kafka-1', /kafka\.Kafka/],
      ['clickhouse', /clickhouse\/main\.js/],
      ['services', /platform\/main\.js/],
      ['flights', /flights\/dist\/main\.js/],
    ] as const) {
      // Work goes on before each kill.
      await caller.untilMore(20);
      const { pid } = platform.children().find((child) => command.test(child.command))!;
      const from = platform.lines.length;
      process.kill(pid, 'SIGKILL');
      await platform.untilLine(new RegExp(`^${name} +was ended by SIGKILL; it is started again`), 10_000, from);
      await platform.untilLine(new RegExp(`^${name} +ready again`), startMs, from);
    }
    const fed = await feedProgress();
    await caller.stop();
    acknowledged = caller.acknowledged;
    // Otherwise the kills would have proved nothing.
    expect(fed).toBeLessThan(timetable().length);
    expect(caller.retries()).toBeGreaterThan(0);
    const deadline = performance.now() + feedMs;
    while ((await feedProgress()) < timetable().length && performance.now() < deadline) await sleep(500);
    expect(await feedProgress()).toBe(timetable().length);
  }, 500_000);

  it('has three events for each flight of the file, and one for each flight that was scheduled over HTTP', async () => {
    const events = await eventsInLog(demo);
    const versions = new Map<string, number[]>();
    for (const { key, version } of events) versions.set(key, [...(versions.get(key) ?? []), version]);
    const wrong = [
      ...timetable().map((flight, row) => ({ key: flightId(flight, row), expected: '1,2,3' })),
      ...acknowledged.map((key) => ({ key, expected: '1' })),
    ].flatMap(({ key, expected }) => {
      const found = versions.get(key)?.join() ?? 'none';
      return found === expected ? [] : [`${key}: ${found}`];
    });
    expect(wrong).toEqual([]);
    expect(events).toHaveLength(3 * timetable().length + acknowledged.length);
    expect(new Set(events.map(({ id }) => id)).size).toBe(events.length);
    expect(new Set(events.map(({ commandId }) => commandId)).size).toBe(events.length);
  }, 120_000);

  it('answers with the figures that the file gives, for every airport and every route', () => expectFigures(), 120_000);

  it('has each event once in ClickHouse, and a span for each record that was handled', () => expectEventsOnce(), 120_000);

  it('has issued vouchers for every long delay, once, and for no other', async () => {
    const late = `SELECT countIf(event_type = 'FlightArrived' AND JSONExtractInt(payload, 'delayMinutes') >= 180) AS late,
      countIf(event_type = 'VouchersIssued') AS issued,
      uniqExactIf(aggregate_id, event_type = 'VouchersIssued') AS flights FROM events_index`;
    const now = async () => (await select(demo, late))[0]! as Readonly<Record<'late' | 'issued' | 'flights', string | number>>;
    for (let tries = 0; tries < 120 && Number((await now()).issued) < Number((await now()).late); tries += 1) await sleep(500);
    const { late: wanted, issued, flights } = await now();
    expect(Number(wanted)).toBeGreaterThan(50);
    expect([issued, flights]).toEqual([wanted, wanted]);
  }, 120_000);

  it('has as many instances as its owner wants, and is one again when more are not wanted', async () => {
    const want = (instances: number) => request(demo, 'PATCH', '/api/v1/autoscale/flights/policy', { min: instances, max: instances });
    const from = platform.lines.length;
    await want(2);
    await platform.untilLine(/^flights-1 .*ready after/, 60_000, from);
    await want(1);
    await platform.untilLine(/^flights-1 .*stopped/, 60_000, from);
  }, 130_000);

  it('ends an instance that stands still, and starts it again', async () => {
    const { items } = (await request(demo, 'GET', '/api/v1/cluster/instances')).body as { items: { instance: string; pid: number }[] };
    const from = platform.lines.length;
    process.kill(items.find(({ instance }) => instance === 'flights-0')!.pid, 'SIGSTOP');
    await platform.untilLine(/^flights-0 .*silent for .* it is ended/, 60_000, from);
    await platform.untilLine(/^flights .*ready again/, 60_000, from);
  }, 130_000);

  it('has everything that the runbooks name', async () => {
    const folder = join(root, 'docs/runbooks');
    const pages = await Promise.all((await readdir(folder)).map((page) => readFile(join(folder, page), 'utf8')));
    const named = (pattern: RegExp): string[] => [
      ...new Set(pages.flatMap((page) => [...page.matchAll(pattern)].map(([, name]) => name!))),
    ];
    const { paths } = (await request(demo, 'GET', '/openapi.json')).body as { paths: Record<string, unknown> };
    const metrics = await (await fetch(`${demo.gateway}/metrics`)).text();
    const orders = await readPage('docs/cli.md');
    expect(named(/(\/api\/v1\/[\w/{}-]+)/g).filter((path) => paths[path] === undefined)).toEqual([]);
    expect(named(/`(spool_\w+)`/g).filter((name) => !metrics.includes(`# TYPE ${name} `))).toEqual([]);
    expect(named(/npx (spool \w+)/g).filter((command) => !orders.includes(`\`${command}`))).toEqual([]);
    expect([named(/(\/api\/v1\/\w+)/g), named(/`(spool_\w+)`/g), named(/npx (spool \w+)/g)].every(({ length }) => length > 1)).toBe(true);
  });

  it('does what the README shows', async () => {
    const page = await readPage('README.md');
    const [tour] = page.split(bugTour);
    await expectAsPrinted(stepsOf(tour!, addresses));
    const printed = /"airport":"(\w{3})","arrivals":(\d+),"averageDelayMinutes":([\d.]+),"worstDelayMinutes":(\d+)/.exec(page)!;
    expect({ arrivals: Number(printed[2]), averageDelayMinutes: Number(printed[3]), worstDelayMinutes: Number(printed[4]) }).toEqual(
      expectedAirportDelays(printed[1]!),
    );
  }, 120_000);

  it('does what the README of the flights shows', async () => {
    await expectAsPrinted(stepsOf(await readPage('examples/flights/README.md'), addresses));
  }, 120_000);

  it('refuses bad input with a problem document, and none of it reaches a topic', async () => {
    const commands = '/api/v1/commands';
    const payload = { origin: 'SFO', destination: 'FRA', distance: 5682, scheduledAt: 994260600000 };
    const body = { aggregateId: 'bad-1', payload };
    const schedule = `${commands}/ScheduleFlight`;
    const before = await logEnds(demo);
    expect(Object.keys(before)).toEqual(expect.arrayContaining(['cmd.Flight [0]', 'evt.Flight [0]']));

    const cases: readonly [number, string, string | undefined, Promise<{ status: number; type: string | null; body: object }>][] = [
      [404, 'UNKNOWN_COMMAND', undefined, request(demo, 'POST', `${commands}/LandFlight`, body)],
      [404, 'UNKNOWN_QUERY', undefined, request(demo, 'POST', '/api/v1/queries/AirportWeather', { payload: {} })],
      [400, 'INVALID_PAYLOAD', '/distance', request(demo, 'POST', schedule, { ...body, payload: { ...payload, distance: 'far' } })],
      [400, 'INVALID_PAYLOAD', '/origin', request(demo, 'POST', schedule, { ...body, payload: { ...payload, origin: undefined } })],
      [400, 'INVALID_PAYLOAD', '/colour', request(demo, 'POST', schedule, { ...body, payload: { ...payload, colour: 'red' } })],
      [400, 'INVALID_PAYLOAD', '/airport', request(demo, 'POST', '/api/v1/queries/AirportDelays', { payload: { airport: 1 } })],
      [400, 'INVALID_REQUEST', '/expectedVersion', request(demo, 'POST', schedule, { ...body, expectedVersion: -1 })],
      [400, 'INVALID_REQUEST', '/expectedVersion', request(demo, 'POST', schedule, { ...body, expectedVersion: 1 }, { 'if-match': '"2"' })],
      [400, 'INVALID_REQUEST', '/aggregateId', request(demo, 'POST', schedule, { payload })],
      [413, 'BODY_TOO_LARGE', undefined, request(demo, 'POST', schedule, { ...body, padding: 'x'.repeat(2 * 1024 * 1024) })],
      [400, 'MALFORMED_JSON', undefined, request(demo, 'POST', schedule, '{"aggregateId": "bad-1", ')],
      [415, 'UNSUPPORTED_MEDIA_TYPE', undefined, request(demo, 'POST', schedule, JSON.stringify(body), { 'content-type': 'text/plain' })],
      [404, 'NOT_FOUND', undefined, request(demo, 'POST', '/api/v1/comands/ScheduleFlight', body)],
      [405, 'METHOD_NOT_ALLOWED', undefined, request(demo, 'PUT', schedule, body)],
    ];
    for (const [status, code, pointer, asking] of cases) {
      const reply = await asking;
      expect(reply).toMatchObject({ status, body: { status, code, type: `urn:spool:problem:${code}` } });
      expect(reply.type).toBe('application/problem+json');
      if (pointer !== undefined)
        expect(reply.body).toMatchObject({ errors: expect.arrayContaining([expect.objectContaining({ pointer })]) as unknown });
    }
    // Long enough for a record that was sent after all.
    await sleep(1_000);
    expect(await logEnds(demo)).toEqual(before);
  }, 60_000);

  it('refuses a version that has passed with the one that is there, and nothing of it reaches a topic', async () => {
    const id = flightId(timetable()[0]!, 0);
    const before = await logEnds(demo);
    const reply = await request(demo, 'POST', '/api/v1/commands/CancelFlight', {
      aggregateId: id,
      payload: { reason: 'fog' },
      expectedVersion: 1,
    });
    expect(reply).toMatchObject({ status: 409, type: 'application/problem+json', body: { code: 'VERSION_CONFLICT', actualVersion: 3 } });
    await sleep(1_000);
    expect(await logEnds(demo)).toEqual(before);
  });

  it('stops at Ctrl-C without a process left, and goes on with its data at the next start', async () => {
    const children = platform.children();
    // Each of the four, and its guard.
    expect(children).toHaveLength(8);
    expect(await platform.interrupt()).toBe(0);
    expect(await stillAlive(children)).toEqual([]);

    platform = platformProcess({
      args: [join(root, 'infra/embedded/dist/main.js')],
      env: { ...env, SPOOL_FLIGHTS_FEED: 'off', SPOOL_FLIGHTS_BUG: 'on' },
    });
    await platform.untilLine(/^ready$/, startMs, 0);
    expect(await ask(demo, 'AirportDelays', { airport: 'ORD' })).toMatchObject({ arrivals: expectedAirportDelays('ORD')!.arrivals });
    const again = {
      aggregateId: acknowledged[0]!,
      payload: { origin: 'SFO', destination: 'FRA', distance: 5682, scheduledAt: 994260600000 },
    };
    const reply = await request(demo, 'POST', '/api/v1/commands/ScheduleFlight', again, { 'idempotency-key': acknowledged[0]! });
    expect(reply).toMatchObject({ status: 200, body: { status: 'duplicate', version: 1 } });
  }, 250_000);

  it('finds a bug, rehearses its fix and promotes it, as the README shows', async () => {
    const page = await readPage('README.md');
    const settings = page.match(/^(api|json)=.+$/gm)!.join('\n');
    const steps = stepsOf(`\`\`\`sh\n${settings}\n\`\`\`\n${page.slice(page.indexOf(bugTour))}`, addresses);
    // The functions of the first step are those of the ones after it: the same terminal.
    const [set, bug, ...fixed] = steps;
    await expectAsPrinted([set!, bug!]);
    expect(await platform.interrupt()).toBe(0);
    platform = platformProcess({ args: [join(root, 'infra/embedded/dist/main.js')], env: { ...env, SPOOL_FLIGHTS_FEED: 'off' } });
    await platform.untilLine(/^ready$/, startMs, 0);
    const functions = bug!.command.split('\n').slice(0, 2).join('\n');
    await expectAsPrinted([{ ...set!, command: `${set!.command}\n${functions}` }, ...fixed]);
    await expectFigures();
  }, 400_000);

  it('builds everything anew from the log alone, with one command', async () => {
    expect(await platform.interrupt()).toBe(0);
    const args = [join(root, 'infra/embedded/dist/main.js'), '--rebuild'];
    platform = platformProcess({ args, env: { ...env, SPOOL_FLIGHTS_FEED: 'off' } });
    await platform.untilLine(/^ready$/, startMs, 0);
    await expectFigures();
    await expectEventsOnce();
  }, 400_000);

  /** For every airport and every route. */
  async function expectFigures(): Promise<void> {
    const questions = [
      ...expectedAirports().map((airport) => ({ query: 'AirportDelays', key: { airport }, figures: expectedAirportDelays(airport)! })),
      ...expectedRoutes().map((route) => ({
        query: 'RouteDelays',
        key: route,
        figures: expectedRouteDelays(route.origin, route.destination)!,
      })),
    ];
    const wrong: string[] = [];
    const askNext = async (): Promise<void> => {
      for (let question = questions.pop(); question !== undefined; question = questions.pop()) {
        const { query, key, figures } = question;
        const view = (await ask(demo, query, key)) as typeof figures | undefined;
        // The order of the sum is another one.
        const averageIsRight = Math.abs((view?.averageDelayMinutes ?? NaN) - figures.averageDelayMinutes) < 1e-9;
        const rest = { ...view, averageDelayMinutes: 0 };
        if (!averageIsRight || !same(rest, { ...key, ...figures, averageDelayMinutes: 0 }))
          wrong.push(JSON.stringify({ key, view, figures }));
      }
    };
    await Promise.all(Array.from({ length: 16 }, askNext));
    expect(wrong).toEqual([]);
  }

  /** As the log has them. */
  async function expectEventsOnce(): Promise<void> {
    const events = await eventsInLog(demo);
    const count = "SELECT count() AS rows, uniqExact(event_id) AS ids FROM events_index WHERE aggregate_type = 'Flight'";
    const isThere = async (): Promise<boolean> => Number((await select(demo, count))[0]!.rows) >= events.length;
    for (let tries = 0; tries < 120 && !(await isThere()); tries += 1) await sleep(500);
    expect(await select(demo, count)).toEqual([{ rows: events.length, ids: events.length }]);
    expect(
      await select(demo, 'SELECT topic, partition, rows, offsets FROM audit_offsets WHERE rows != offsets OR quarantined > 0'),
    ).toEqual([]);
  }

  const readPage = (path: string): Promise<string> => readFile(join(root, path), 'utf8');

  async function expectAsPrinted(steps: readonly Step[]): Promise<void> {
    expect(steps.some(({ output }) => output !== undefined)).toBe(true);
    const outputs = await walk(steps, { cwd: root, env: { ...process.env, SPOOL_URL: demo.gateway }, timeoutMs: 90_000 });
    const comparable = (texts: readonly (string | undefined)[]): readonly string[] =>
      steps.map(({ line, output, varies }, index) => `line ${line}\n${output === undefined ? '' : masked(texts[index]!, varies)}`);
    expect(comparable(outputs)).toEqual(comparable(steps.map(({ output }) => output)));
  }

  /** Flights of the file that have arrived, in the read model. */
  async function feedProgress(): Promise<number> {
    const [row] = await select(demo, "SELECT uniqExact(aggregate_id) AS arrived FROM events_index WHERE event_type = 'FlightArrived'");
    return Number(row!.arrived);
  }
});

const same = (one: object, other: object): boolean =>
  JSON.stringify(Object.entries(one).sort()) === JSON.stringify(Object.entries(other).sort());
