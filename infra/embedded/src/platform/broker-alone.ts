import { SpoolError } from '@spool/schemas';
import { readdirSync } from 'node:fs';
import type { Log } from '../log.js';
import { assertPortsFree } from '../supervisor/ports.js';
import { addresses, startBroker } from './parts.js';
import { wantedPorts, type PlatformConfig } from './config.js';
import { takeDataFolder } from './data-folder.js';

/**
 * Starts the broker of the platform on this machine and nothing else, for a restore: on a data folder without anything that belongs to another log.
 * @throws SpoolError INVALID_CONFIG when there is such a thing; as `startPlatform`
 */
export async function startBrokerAlone(config: PlatformConfig, log: Log): Promise<{ readonly address: string; close(): Promise<void> }> {
  const folder = takeDataFolder(config.dataDir);
  try {
    const stores = readdirSync(config.dataDir).filter((name) => !['kafka', 'logs', 'spool.json', 'platform.lock'].includes(name));
    if (stores.length > 0)
      throw new SpoolError('INVALID_CONFIG', `${config.dataDir} has stores of another log (${stores.join(', ')}): move it away first`);
    await assertPortsFree(
      wantedPorts(config).filter(({ variable }) => variable.startsWith('SPOOL_KAFKA_')),
      0,
    );
    const { signal } = new AbortController();
    const brokers = await startBroker(config, { signal, onState: () => undefined }, log);
    const close = async (): Promise<void> => {
      for (const broker of brokers) await broker.close();
      folder.release();
    };
    return { address: addresses(config).kafka, close };
  } catch (error) {
    folder.release();
    throw error;
  }
}
