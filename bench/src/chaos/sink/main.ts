/** A sink in a process of its own, to be killed or measured. Argument: its settings as JSON. */
import { startSinkInstance, type SinkInstanceConfig } from './instance.js';

const running = await startSinkInstance(JSON.parse(process.argv[2] ?? '{}') as SinkInstanceConfig);
process.once('SIGTERM', () => void running.close().then(() => process.exit(0)));
process.send?.('ready');
