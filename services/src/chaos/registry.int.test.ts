import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { testKafka } from '@spool/embedded';
import { startRegistryServer } from '@spool/schemas/testing';
import { chaosRegistry } from './index.js';

let dataDir: string;
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'spool-chaos-'));
});
afterEach(() => {
  rmSync(dataDir, { recursive: true, force: true });
});

describe('the registry and the cluster', () => {
  it('are what the model says after ten instances of three bundles came and went, and the projecting process with them', async () => {
    const schemas = await startRegistryServer();
    try {
      const report = await chaosRegistry({
        brokers: testKafka(),
        schemaRegistryUrl: schemas.url,
        namespace: `t${randomUUID().slice(0, 8)}.`,
        dataDir,
        seed: 7,
        seconds: 3,
        kills: false,
        log: () => undefined,
      });
      expect(report.violations).toEqual([]);
      expect(report.projected).toEqual(report.expected);
      expect(Object.keys(report.actions)).toEqual(expect.arrayContaining(['start', 'leave', 'kill', 'speak late', 'announce again']));
    } finally {
      await schemas[Symbol.asyncDispose]();
    }
  }, 90_000);
});
