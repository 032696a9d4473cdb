import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { testKafka } from '@spool/embedded';
import { chaosSink, type SinkChaosOptions } from './sink.js';

let dataDir: string;
beforeEach(async () => (dataDir = await mkdtemp(join(tmpdir(), 'spool-chaos-test-'))));
afterEach(() => rm(dataDir, { recursive: true, force: true }));

const chaos = (options: Pick<SinkChaosOptions, 'seed' | 'kills' | 'restarts' | 'records' | 'tampering'>) =>
  chaosSink({ brokers: testKafka(), dataDir, deadlineMs: 80_000, progress: () => undefined, ...options });

describe('two sinks of telemetry that are killed and stopped, ClickHouse among them', () => {
  it('store every record once, in each rollup too, and quarantine what cannot be read', async () => {
    expect(await chaos({ seed: 5, kills: 3, restarts: 3, records: 20_000 })).toEqual([]);
  }, 120_000);

  it('would be found out if what cannot be read were thrown away', async () => {
    const found = await chaos({ seed: 6, kills: 0, restarts: 0, records: 5000, tampering: 'unquarantined' });
    expect(found).toContainEqual(expect.stringMatching(/^quarantine: .* is missing$/));
    expect(found).toContainEqual(expect.stringMatching(/telemetry\.spans-\d: rows \d+ in ClickHouse, \d+ in the log$/));
  }, 120_000);
});
