/** An instance in a process of its own, to be killed. Argument: its settings as JSON. */
import { startChaosInstance, type ChaosInstanceConfig } from './instance.js';

const running = await startChaosInstance(JSON.parse(process.argv[2] ?? '{}') as ChaosInstanceConfig);
process.once('SIGTERM', () => void running.close().then(() => process.exit(0)));
process.send?.('ready');
