/** A worker, or the replay service where there is a port, in a process of its own, to be killed. Argument: its settings as JSON. */
import { startService, startWorker, type ReplayProcess } from './processes.js';

const config = JSON.parse(process.argv[2] ?? '{}') as ReplayProcess;
const running = await (config.port === undefined ? startWorker(config) : startService(config));
process.once('SIGTERM', () => void running.close().then(() => process.exit(0)));
process.send?.('ready');
