import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { createCodec, createMemoryRegistry } from '@spool/schemas';
import { until } from '@spool/schemas/testing';
import { openRegistry, startBundle, type RunningBundle } from '@spool/sdk';
import { runProgram } from '@spool/sdk/cli';
import { createMemoryCluster, openInstance, topicCatalogue } from '@spool/streams';
import { openConsumerService } from '../consumers/index.js';
import { eventTails, openEventStore } from '../event-store/index.js';
import { startTestServer, type TestServer } from '../http/testing.js';
import { registryProcessor } from '../registry/index.js';
import { noEvents, openReplayService } from '../replay/index.js';
import { Counter, counting } from '../replay/testing.js';
import type { IndexedEvent } from '../telemetry/index.js';
import { aggregateRoutes } from './aggregate-routes.js';
import { consumerRoutes } from './consumer-routes.js';
import { eventRoutes } from './event-routes.js';
import { replayRoutes } from './replay-routes.js';

const program = fileURLToPath(new URL('../../../sdk/bin/spool.mjs', import.meta.url));
const closing: (() => Promise<void>)[] = [];
let server: TestServer;
let running: RunningBundle;
/** The events of any flow that is asked for. */
let flow: readonly IndexedEvent[] = [];

beforeAll(async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'spool-cli-'));
  closing.push(() => rm(dataDir, { recursive: true, force: true }));
  const kafka = createMemoryCluster().connect();
  closing.push(() => kafka.close());
  const topics = topicCatalogue({ partitions: 2 });
  const codec = createCodec({ registry: createMemoryRegistry() });
  const shared = { kafka, codec, topics, dataDir, log: () => undefined, now: Date.now };
  const keep = <T extends { close(): Promise<void> }>(part: T): T => {
    closing.push(() => part.close());
    return part;
  };
  const platform = keep(await openInstance({ ...shared, bundle: 'spool', version: '1.0.0', instance: 'platform-0' }));
  await platform.run(registryProcessor(platform));
  const registry = keep(await openRegistry({ kafka, codec, topics, onError: () => undefined }));
  running = keep(await startBundle(counting, { ...shared, instance: 'counting-0' }));
  await until(() => registry.component('Totals') !== undefined);
  const eventStore = keep(openEventStore({ instance: platform, registry, gateway: running.gateway }));
  const replays = keep(await openReplayService({ instance: platform, registry, ...noEvents }));
  const consumers = keep(await openConsumerService(platform, registry));
  const events = { ...noEvents.events, flow: () => Promise.resolve({ events: flow, messages: [], truncated: false }) };
  const tails = eventTails(platform, registry);
  server = keep(
    await startTestServer({
      routes: [
        ...[...replayRoutes(replays), ...consumerRoutes(consumers), ...aggregateRoutes(eventStore)],
        ...eventRoutes({ events, eventStore, registry, tails, consumers, topics }),
      ],
    }),
  );
  for (let n = 0; n < 12; n++) await running.gateway.send(Counter, 'Add', `c${n % 3}`, { n: 1 });
  await until(async () => (await consumers.list()).some(({ id }) => id === 'counting.Totals-1.default'));
}, 30_000);
afterAll(async () => {
  for (const close of closing.reverse()) await close();
});

interface Said {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}
/** @param enough stops it, as Ctrl-C does, when it has said that much */
async function spool(args: readonly string[], enough?: (out: string) => boolean, url = server.url): Promise<Said> {
  const said = { out: '', err: '' };
  const stop = new AbortController();
  const out = (text: string): void => {
    said.out += text;
    if (enough?.(said.out) === true) stop.abort();
  };
  const err = (text: string): void => void (said.err += text);
  const code = await runProgram(args, { env: { SPOOL_URL: url }, folder: '.', out, err, columns: undefined, signal: stop.signal });
  return { code, ...said };
}
const because = ['--reason', 'test'];

describe('spool replay and replays', () => {
  it('order one, wait for its end, list it and show it', async () => {
    const { code, out } = await spool(['replay', 'Totals', ...because, '--wait', '--json']);
    const last = JSON.parse(out.trim().split('\n').at(-1)!) as { id: string; state: string; records: number };
    expect([code, last.state, last.records]).toEqual([0, 'completed', 12]);
    const listed = JSON.parse((await spool(['replays', '--json'])).out) as { id: string }[];
    expect(listed.map(({ id }) => id)).toContain(last.id);
    const shown = await spool(['replays', last.id]);
    expect(shown.out).toMatch(/rewind of Totals: completed, 12 records/);
    expect(shown.out).toMatch(/evt\.Counter-0 +0 /);
    expect((await spool(['replays', last.id, '--wait'])).code).toBe(0);
  });

  it('rehearse, say what would be different, and hand over', async () => {
    const scratch = await spool(['replay', 'Totals', '--mode', 'scratch', ...because, '--wait']);
    const [id] = scratch.out.split(' ', 1);
    expect((await spool(['replays', id!, 'report'])).out).toMatch(/^the copy is equal\n\ntable +rows.*\ntotals +3 +3 +0 +0 +0\n$/);
    expect(await spool(['replays', id!, 'differences'])).toEqual({ code: 0, out: '', err: '' });
    const shadow = await spool(['replay', 'Totals', '--mode', 'shadow', ...because, '--wait', '--json']);
    const ready = JSON.parse(shadow.out.trim().split('\n').at(-1)!) as { id: string; state: string };
    expect(ready.state).toBe('ready');
    const promoted = await spool(['replays', ready.id, 'promote', '--wait']);
    expect([promoted.code, promoted.out]).toEqual([0, expect.stringMatching(/shadow of Totals: completed/)]);
    expect((await spool(['replays', ready.id, 'drop'])).code).toBe(0);
  });

  it('say what a dry run would do', async () => {
    const { out } = await spool(['replay', 'Counts', ...because, '--dry-run', '--keys', 'c1', '--from', 'earliest']);
    expect(out).toMatch(/4 records, nobody knows how long\n\ntype +records\nAdded +4\n$/);
  });

  it('say what is wrong: 1 where the platform refuses, 2 where it was not understood', async () => {
    const unknown = await spool(['replay', 'Nobody', ...because]);
    expect(unknown).toMatchObject({ code: 1, out: '', err: expect.stringContaining('UNKNOWN_CONSUMER: there is no component') as string });
    const refused = await spool(['replay', 'Counts', ...because, '--mode', 'shadow', '--keys', 'c1']);
    expect(refused).toMatchObject({ code: 1, err: expect.stringContaining('  /mode: ') as string });
    expect(refused.err).toMatch(/^INVALID_REQUEST: .*\n {2}\/mode: .*\nCorrect /s);
    expect(await spool(['replay', 'Totals'])).toMatchObject({ code: 2, err: expect.stringContaining('--reason') as string });
    for (const bad of [
      ['--from', 'yesterday'],
      ['--rate', '0'],
      ['--mode', 'sideways'],
    ])
      expect((await spool(['replay', 'Totals', ...because, ...bad])).code).toBe(2);
    const shell = promisify(execFile)(process.execPath, [program, 'replays', 'none'], { env: { ...process.env, SPOOL_URL: server.url } });
    await expect(shell).rejects.toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining('UNKNOWN_REPLAY') as string });
    const away = await spool(['replays'], undefined, 'http://127.0.0.1:9');
    expect(away).toMatchObject({ code: 1, err: expect.stringContaining('is the platform running there?') as string });
  });
});

describe('spool consumers', () => {
  it('list all, show one, and order it to wait and to go on', async () => {
    expect((await spool(['consumers'])).out).toMatch(/^counting\.Counts-1\.default +running +0 /m);
    const paused = await spool(['consumers', 'Counts', 'pause', ...because, '--json']);
    expect(JSON.parse(paused.out)).toMatchObject({ id: 'counting.Counts-1.default', state: 'paused' });
    const resumed = await spool(['consumers', 'Counts', 'resume', ...because]);
    expect(resumed.out).toMatch(/^counting\.Counts-1\.default: running, 0 records behind\n\npartition +instance/);
    expect((await spool(['consumers', 'Counts', 'rate', '1000', ...because])).out).toContain('at most 1000 per second');
    expect((await spool(['consumers', 'Counts', 'dead-letters', '--json'])).out).toBe('[]\n');
    expect(await spool(['consumers', 'Counts', 'reset'])).toMatchObject({ code: 2, err: expect.stringContaining('--reason') as string });
    expect(await spool(['consumers', 'Counts', 'explode', ...because])).toMatchObject({ code: 2 });
  });
});

describe('spool events', () => {
  it('show those of an aggregate', async () => {
    const { out } = await spool(['events', 'Counter', 'c1', '--limit', '3']);
    expect(out.split('\n').slice(1, -1)).toHaveLength(3);
    expect(out).toMatch(/Counter\/c1 +1 +Added +\{"n":1\}/);
    const all = JSON.parse((await spool(['events', 'Counter', 'c1', '--json'])).out) as { version: number }[];
    expect(all.map(({ version }) => version)).toEqual([1, 2, 3, 4]);
  });

  it('go through an aggregate or a flow step by step', async () => {
    const { out } = await spool(['events', 'Counter', 'c1', '--steps', '--from', '2', '--limit', '2']);
    expect(out.replaceAll(/^\S*Z  /gm, '')).toBe('Counter/c1 2  Added\n    /sum  1 -> 2\nCounter/c1 3  Added\n    /sum  2 -> 3\n');
    const [first] = JSON.parse((await spool(['events', 'Counter', 'c1', '--steps', '--json'])).out) as Record<string, unknown>[];
    expect(first).toMatchObject({ version: 1, before: { sum: 0 }, after: { sum: 1 } });
    const named = { aggregateType: 'Counter', aggregateId: 'c2', topic: 'evt.Counter', source: 'counting/Counter' };
    const sent = { actor: '', correlationId: 'f', causationId: 'x', commandId: 'x', traceId: '' };
    flow = [{ id: 'x/0', type: 'Added', version: 1, at: 1, partition: 0, offset: '0', payload: {}, ...named, ...sent }];
    expect((await spool(['events', '--correlation', 'f', '--steps'])).out.replaceAll(/^\S*Z  /gm, '')).toBe(
      'Counter/c2 -  x\nCounter/c2 1  Added\n    /sum  0 -> 1\n',
    );
    for (const wrong of [['Counter'], ['Counter', 'c1', '--correlation', 'f'], ['Counter', 'c1', '--type', 'Added']]) {
      expect(await spool(['events', ...wrong, '--steps'])).toMatchObject({
        code: 2,
        err: expect.stringContaining('--steps ') as unknown,
      });
    }
  });

  it('end when whoever reads them has enough', async () => {
    const child = spawn(process.execPath, [program, 'events', '--follow', '--from', 'earliest'], {
      env: { ...process.env, SPOOL_URL: server.url },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const closed = once(child, 'close');
    await once(child.stdout, 'data');
    child.stdout.destroy();
    await running.gateway.send(Counter, 'Add', 'late', { n: 1 });
    expect(await closed).toEqual([0, null]);
  });

  it('follow them until told to stop', async () => {
    const lines = (out: string): string[] => out.split('\n').slice(0, -1);
    const { code, out } = await spool(
      ['events', 'Counter', '--follow', '--from', 'earliest', '--json'],
      (text) => lines(text).length >= 13,
    );
    expect(code).toBe(0);
    expect(lines(out).map((line) => (JSON.parse(line) as { type: string }).type)).toEqual(Array.from({ length: 13 }, () => 'Added'));
  });
});
