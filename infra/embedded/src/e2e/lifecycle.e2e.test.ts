import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePorts } from '../supervisor/ports.js';
import { platformProcess, stillAlive, type PlatformProcess } from '../testing/platform-process.js';

const main = fileURLToPath(new URL('../main.js', import.meta.url));
const startMs = 150_000;

interface Place {
  readonly env: Readonly<Record<string, string>>;
  readonly gateway: string;
  readonly registry: string;
  readonly clickhouse: string;
}

/** Ports and a data folder of its own. */
async function place(dataDir: string): Promise<Place> {
  const [http, clickhouse, registry, kafka, controller] = (await freePorts(5)).map(String);
  return {
    env: {
      SPOOL_DATA_DIR: dataDir,
      SPOOL_HTTP_PORT: http!,
      SPOOL_CLICKHOUSE_PORT: clickhouse!,
      SPOOL_SCHEMA_REGISTRY_PORT: registry!,
      SPOOL_KAFKA_PORT: kafka!,
      SPOOL_KAFKA_CONTROLLER_PORT: controller!,
      SPOOL_KAFKA_HEAP_MB: '256',
    },
    gateway: `http://127.0.0.1:${http!}`,
    registry: `http://127.0.0.1:${registry!}`,
    clickhouse: `http://127.0.0.1:${clickhouse!}`,
  };
}

const launch = ({ env }: Place, ...options: string[]): PlatformProcess => platformProcess({ args: [main, '--no-demo', ...options], env });

async function started(at: Place, ...options: string[]): Promise<PlatformProcess> {
  const platform = launch(at, ...options);
  await platform.untilLine(/^ready$/, startMs, 0);
  return platform;
}

const subjects = async ({ registry }: Place): Promise<unknown> => (await fetch(`${registry}/subjects`)).json();

const register = ({ registry }: Place, subject: string): Promise<Response> =>
  fetch(`${registry}/subjects/${subject}/versions`, {
    method: 'POST',
    headers: { 'content-type': 'application/vnd.schemaregistry.v1+json' },
    body: JSON.stringify({ schema: '{"type":"string"}' }),
  });

describe('the platform in a terminal', () => {
  let folder: string;
  let first: Place;
  let second: Place;
  const running: PlatformProcess[] = [];
  const run = async (starting: Promise<PlatformProcess>): Promise<PlatformProcess> => {
    const platform = await starting;
    running.push(platform);
    return platform;
  };

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'spool-lifecycle-'));
    first = await place(join(folder, 'first'));
    second = await place(join(folder, 'second'));
  });
  afterAll(async () => {
    await Promise.all(running.map((platform) => platform[Symbol.asyncDispose]()));
    await rm(folder, { recursive: true, force: true });
  }, 70_000);

  it('runs beside another one on other ports, and neither sees what the other holds', async () => {
    await run(started(first));
    await run(started(second));
    expect((await register(first, 'of-the-first')).status).toBe(200);
    expect((await register(second, 'of-the-second')).status).toBe(200);
    expect(await subjects(first)).toContain('of-the-first');
    expect(await subjects(first)).not.toContain('of-the-second');
    expect(await subjects(second)).not.toContain('of-the-first');
  }, 310_000);

  it('names every port that is in use, and the variable that moves it', async () => {
    await using third = launch({ ...first, env: { ...first.env, SPOOL_DATA_DIR: join(folder, 'third') } });
    expect(await third.exited).toBe(1);
    const printed = third.lines.join('\n');
    expect(printed).toContain('PORT_IN_USE');
    const movable = [
      'SPOOL_HTTP_PORT',
      'SPOOL_CLICKHOUSE_PORT',
      'SPOOL_SCHEMA_REGISTRY_PORT',
      'SPOOL_KAFKA_PORT',
      'SPOOL_KAFKA_CONTROLLER_PORT',
    ];
    for (const variable of movable) {
      expect(printed).toMatch(
        new RegExp(`Port ${first.env[variable]!} for .+ is in use; stop what listens there or set ${variable} to another port`),
      );
    }
  }, 60_000);

  it('leaves the data folder of a running one alone, even when it is to begin anew', async () => {
    const elsewhere = await place(first.env.SPOOL_DATA_DIR!);
    await using third = launch(elsewhere, '--reset');
    expect(await third.exited).toBe(1);
    expect(third.lines.join('\n')).toMatch(/INVALID_CONFIG: Another platform \(process \d+\) uses the data folder/);
    expect(await subjects(first)).toContain('of-the-first');
  }, 60_000);

  it('stops at Ctrl-C and leaves no process, while the other one goes on', async () => {
    const [platform] = running;
    const children = platform!.children();
    // Kafka, ClickHouse and the services, and the guard of each.
    expect(children).toHaveLength(6);
    expect(await platform!.interrupt()).toBe(0);
    expect(platform!.lines.at(-1)).toBe('stopped');
    expect(await stillAlive(children)).toEqual([]);
    await expect(fetch(`${first.gateway}/livez`)).rejects.toThrow();
    expect((await fetch(`${second.gateway}/readyz`)).status).toBe(200);
  }, 90_000);

  it('goes on with its data at the next start', async () => {
    const platform = await run(started(first));
    expect(await subjects(first)).toContain('of-the-first');
    const answer = await fetch(`${first.clickhouse}/?query=${encodeURIComponent('EXISTS TABLE spool.spans')}`);
    expect(await answer.text()).toBe('1\n');
    expect(await platform.interrupt()).toBe(0);
  }, 300_000);

  it('begins anew with --reset', async () => {
    await run(started(first, '--reset'));
    expect(await subjects(first)).not.toContain('of-the-first');
    expect((await fetch(`${first.gateway}/readyz`)).status).toBe(200);
  }, 300_000);
});
