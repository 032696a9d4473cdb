import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { liveBrokers } from '../kafka/probe.js';
import { freePorts } from '../supervisor/ports.js';
import { standIn } from '../testing/stand-in.js';
import { platformConfig } from './config.js';
import { startPlatform } from './start.js';

describe('startPlatform with its own broker', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'spool-platform-'));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  it('hands the broker to the services, without what only applies to a broker elsewhere, and brings it back after kill -9', async () => {
    const [http, clickhouse, registry, kafka, controller] = await freePorts(5);
    const entry = join(folder, 'services.cjs');
    const diary = join(folder, 'diary');
    await writeFile(entry, standIn('services'));
    const config = platformConfig({
      SPOOL_DATA_DIR: join(folder, 'data'),
      SPOOL_HTTP_PORT: String(http),
      SPOOL_CLICKHOUSE_PORT: String(clickhouse),
      SPOOL_SCHEMA_REGISTRY_PORT: String(registry),
      SPOOL_KAFKA_PORT: String(kafka),
      SPOOL_KAFKA_CONTROLLER_PORT: String(controller),
      CLICKHOUSE_URL: 'http://elsewhere:8123',
    });
    const lines: string[] = [];
    await using platform = await startPlatform(config, (line) => void lines.push(line), {
      entries: { clickhouse: '', services: entry, bundles: {} },
      env: { DIARY: diary, PATH: process.env.PATH, KAFKA_TLS: 'true' },
    });
    expect(await readFile(diary, 'utf8')).toContain(`"KAFKA_BROKERS":"127.0.0.1:${kafka!}","CLICKHOUSE_URL"`);
    const broker = platform.children.find(({ name }) => name === 'kafka-1');
    await broker!.kill();
    await broker!.untilReady(60_000);
    expect(await liveBrokers(kafka!)).toEqual([1]);
    expect(lines.some((line) => /^kafka-1 +was ended by SIGKILL; it is started again/.test(line))).toBe(true);
  }, 120_000);
});
