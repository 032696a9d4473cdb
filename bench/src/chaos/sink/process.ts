import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { superviseChild, type RestartPolicy, type SupervisedChild } from '@spool/embedded';
import { nodeCommand } from '../../engine/start.js';
import type { SinkInstanceConfig } from './instance.js';

const sinkMain = fileURLToPath(new URL('main.js', import.meta.url));

/** @param profileDir takes a CPU profile when the sink is closed */
export const startSinkProcess = (config: SinkInstanceConfig, restart: RestartPolicy, profileDir?: string): Promise<SupervisedChild> =>
  superviseChild({
    ...nodeCommand([sinkMain, JSON.stringify(config)], profileDir),
    name: config.instance,
    logFile: join(config.dataDir, `${config.instance}.log`),
    restart,
  });
