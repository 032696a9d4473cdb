/** A contender in a process of its own, so that its memory and CPU are its own. Arguments: which, and its settings as JSON. */
import type { ContenderConfig, Replayed } from './contender.js';
import { projectWithEmmett } from './emmett.js';
import { consumeBare } from './kafkajs.js';
import { startSpool } from './spool.js';

const [name = '', settings = '{}'] = process.argv.slice(2);
const config = JSON.parse(settings) as ContenderConfig;
const contenders: Readonly<Record<string, (config: ContenderConfig) => Promise<Replayed>>> = {
  kafkajs: consumeBare,
  emmett: projectWithEmmett,
};
if (name === 'spool' || name === 'spool-postgres') {
  const close = await startSpool(name, config);
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => void close().then(() => process.exit(0)));
  process.send?.('ready');
} else {
  console.log(JSON.stringify(await contenders[name]!(config)));
  process.exit(0);
}
