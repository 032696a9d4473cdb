/** A contender in a process of its own, so that its memory and CPU are its own. Arguments: which, and its settings as JSON. */
import type { ContenderConfig, StartContender } from './contender.js';
import { startKafkaJs } from './kafkajs.js';
import { startSpool } from './spool.js';

const contenders: Readonly<Record<string, StartContender>> = { kafkajs: startKafkaJs, spool: startSpool };

const [name = '', config = '{}'] = process.argv.slice(2);
const running = await contenders[name]!(JSON.parse(config) as ContenderConfig);
// Ends in order also where the parent has gone.
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => void running.close().then(() => process.exit(0)));
process.send?.('ready');
