import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { standIn } from '../testing/stand-in.js';
import { freePorts } from '../supervisor/ports.js';
import { platformConfig, type PlatformConfig } from './config.js';
import type { Entries } from './parts.js';
import { startPlatform, type PlatformOptions } from './start.js';

describe('startPlatform', () => {
  let folder: string;
  let lines: string[];
  let entries: Entries;
  let config: PlatformConfig;
  let env: Record<string, string>;
  const log = (text: string): void => void lines.push(text);
  const diary = async (): Promise<string[]> => (await readFile(join(folder, 'diary'), 'utf8')).trim().split('\n');
  const steps = async (): Promise<string[]> => (await diary()).map((text) => text.split(' ').slice(0, 2).join(' '));
  const start = (more: PlatformOptions = {}) =>
    startPlatform(config, log, { entries, env: { DIARY: join(folder, 'diary'), PATH: process.env.PATH, ...env }, ...more });
  const write = (name: string, script: string): Promise<void> => writeFile(join(folder, `${name}.cjs`), script);

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'spool-platform-'));
    lines = [];
    env = {};
    const [http, clickhouse, registry] = await freePorts(3);
    config = platformConfig({
      SPOOL_DATA_DIR: join(folder, 'data'),
      SPOOL_HTTP_PORT: String(http),
      SPOOL_CLICKHOUSE_PORT: String(clickhouse),
      SPOOL_SCHEMA_REGISTRY_PORT: String(registry),
      KAFKA_BROKERS: 'broker:9092',
    });
    await write('clickhouse', standIn('clickhouse'));
    await write('services', standIn('services'));
    await write('flights', standIn('flights'));
    entries = {
      clickhouse: join(folder, 'clickhouse.cjs'),
      services: join(folder, 'services.cjs'),
      bundles: { flights: join(folder, 'flights.cjs') },
    };
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  it('starts the parts in order, gives each what it needs, and stops them the other way round', async () => {
    const platform = await start();
    expect(
      lines.map((text) =>
        text
          .split(/ {2,}/)
          .slice(0, 2)
          .join(' ')
          .replace(/[\d.]+ s/, 'N s'),
      ),
    ).toEqual([
      'kafka uses broker:9092',
      'clickhouse ready after N s',
      'services ready after N s',
      'flights ready after N s',
      'ready',
      ...[' gateway', ' clickhouse', ' schema registry', ' kafka', ' data'].map((text) => expect.stringContaining(text) as string),
    ]);
    await platform.close();
    expect(await platform.failed).toBeUndefined();
    expect(await steps()).toEqual([
      'start clickhouse',
      'start services',
      'start flights',
      'stop flights',
      'stop services',
      'stop clickhouse',
    ]);
    const settings = (await diary()).slice(0, 3).map((text) => JSON.parse(text.slice(text.indexOf('{'))) as Record<string, string>);
    const password = settings[0]!.SPOOL_CLICKHOUSE_WRITER_PASSWORD!;
    expect(password.length).toBeGreaterThan(20);
    expect(settings).toEqual([
      {
        SPOOL_CLICKHOUSE_PATH: join(config.dataDir, 'clickhouse'),
        SPOOL_CLICKHOUSE_PORT: String(config.clickhousePort),
        SPOOL_CLICKHOUSE_WRITER_PASSWORD: password,
      },
      {
        SPOOL_INSTANCE: 'platform-0',
        SPOOL_DATA_DIR: join(config.dataDir, 'services'),
        SPOOL_HTTP_PORT: String(config.httpPort),
        SPOOL_SCHEMA_REGISTRY_PORT: String(config.schemaRegistryPort),
        SPOOL_CLICKHOUSE_WRITER_USER: 'spool',
        SPOOL_CLICKHOUSE_WRITER_PASSWORD: password,
        KAFKA_BROKERS: 'broker:9092',
        CLICKHOUSE_URL: `http://127.0.0.1:${config.clickhousePort}`,
      },
      {
        SPOOL_INSTANCE: 'flights-0',
        SPOOL_DATA_DIR: join(config.dataDir, 'bundles', 'flights'),
        KAFKA_BROKERS: 'broker:9092',
        SCHEMA_REGISTRY_URL: `http://127.0.0.1:${config.schemaRegistryPort}`,
      },
    ]);
  });

  it('uses what runs elsewhere, leaves the demo out, and shows no password', async () => {
    config = { ...config, clickhouseUrl: 'http://writer:secret@clickhouse:8123', schemaRegistryUrl: 'http://registry:8081' };
    env = { KAFKA_TLS: 'true' };
    await using platform = await start({ demo: false });
    expect(platform.children.map(({ name }) => name)).toEqual(['services']);
    expect(lines[1]).toMatch(/^clickhouse +uses http:\/\/clickhouse:8123$/);
    expect(lines.join('\n')).not.toContain('secret');
    expect((await diary())[0]).toContain('"KAFKA_TLS":"true","CLICKHOUSE_URL":"http://writer:secret@clickhouse:8123"');
    expect((await diary())[0]).toContain('"SCHEMA_REGISTRY_URL":"http://registry:8081"');
  });

  it('starts a killed child again and tells of it', async () => {
    await using platform = await start();
    const services = platform.children.find(({ name }) => name === 'services');
    await services!.kill();
    await services!.untilReady(10_000);
    expect(lines.at(-2)).toMatch(/^services +was ended by SIGKILL; it is started again in 0.2 s$/);
    expect(lines.at(-1)).toMatch(/^services +ready again after/);
  });

  it('stops what it started when a later part cannot start, and lets go of the folder', async () => {
    await write('services', 'console.error("no such topic"); process.exit(1)');
    await expect(start()).rejects.toMatchObject({
      code: 'CHILD_FAILED',
      message: expect.stringMatching(/services died .*no such topic/) as string,
    });
    expect(await steps()).toEqual(['start clickhouse', 'stop clickhouse']);
    expect(existsSync(join(config.dataDir, 'platform.lock'))).toBe(false);
  });

  it('goes on without a bundle that fails later, and ends with a part that it needs', async () => {
    // Each lives just long enough to be ready, then dies until it is given up.
    const dies = 'process.send({ type: "ready" }); if (require("node:fs").existsSync(process.env.DIARY + ".die")) process.exit(1);';
    await write('flights', `${dies} setInterval(() => {}, 1000)`);
    await using platform = await start();
    await writeFile(join(folder, 'diary.die'), '');
    const flights = platform.children.find(({ name }) => name === 'flights');
    await flights!.kill();
    expect(await flights!.ended).toMatchObject({ code: 'CHILD_FAILED' });
    expect(await Promise.race([platform.failed, sleep(50, 'goes on')])).toBe('goes on');
    await write('services', 'process.exit(1)');
    await platform.children.find(({ name }) => name === 'services')!.kill();
    expect(await platform.failed).toMatchObject({ code: 'CHILD_FAILED', message: expect.stringContaining('services') as string });
  });

  it('stops in order when it is told to while a part is starting', async () => {
    await write('flights', 'setInterval(() => {}, 1000)');
    const stop = new AbortController();
    const starting = start({ signal: stop.signal });
    while (!lines.some((text) => text.startsWith('services'))) await sleep(20);
    stop.abort();
    await expect(starting).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    expect(await steps()).toEqual(['start clickhouse', 'start services', 'stop services', 'stop clickhouse']);
  });

  it('names every port that is taken before it starts anything', async () => {
    const squatters = [config.httpPort, config.schemaRegistryPort].map((port) => createServer().listen(port, '127.0.0.1'));
    try {
      await expect(start()).rejects.toMatchObject({
        code: 'PORT_IN_USE',
        message: expect.stringMatching(/SPOOL_HTTP_PORT.*SPOOL_SCHEMA_REGISTRY_PORT/) as string,
      });
      expect(existsSync(join(folder, 'diary'))).toBe(false);
    } finally {
      for (const squatter of squatters) squatter.close();
    }
  });
});
