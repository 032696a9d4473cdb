import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startKafka } from '../kafka/start.js';
import { testKafkaVariable } from './broker.js';
import { keepForTeardown } from './shared-broker.js';

/** Starts the one broker of all integration tests, unless SPOOL_TEST_KAFKA names one. */
export default async function setUp(): Promise<void> {
  if ((process.env[testKafkaVariable] ?? '') !== '') return;
  const dataDir = await mkdtemp(join(tmpdir(), 'spool-test-kafka-'));
  const remove = (): Promise<void> => rm(dataDir, { recursive: true, force: true });
  try {
    const kafka = await startKafka({ dataDir, log: (line) => process.stderr.write(`${line}\n`) });
    process.env[testKafkaVariable] = kafka.bootstrap.join(',');
    keepForTeardown(async () => {
      await kafka.close();
      await remove();
    });
  } catch (error) {
    await remove();
    throw error;
  }
}
