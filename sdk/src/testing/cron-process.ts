/** A process whose cron adds to a counter at each tick, until it is killed: for tests that stop an owner in the middle of its work. */
import { createCodec, createHttpRegistry } from '@spool/schemas';
import { connectKafka, topicCatalogue } from '@spool/streams';
import { bundle } from '../bundle/bundle.js';
import { startBundle } from '../host/start-bundle.js';
import { cron } from '../invoker/cron.js';
import { only } from '../messages.js';
import { Counter } from './counter.js';

const [brokers, registry, namespace, instance, dataDir] = process.argv.slice(2) as [string, string, string, string, string];
const kafka = await connectKafka({ brokers: brokers.split(','), clientId: instance });
const EverySecond = cron('EverySecond', {
  schedule: '* * * * * *',
  sends: [only(Counter, 'Add')],
  // The aggregate of a tick tells how often it took effect.
  async run({ at }, { commands }) {
    process.send?.(at);
    await commands.send(Counter, 'Add', String(at), { n: 1 });
  },
});
await startBundle(bundle({ id: 'ticking', version: '1.0.0', components: [Counter, EverySecond] }), {
  kafka,
  codec: createCodec({ registry: createHttpRegistry({ url: registry }) }),
  topics: topicCatalogue({ namespace }),
  instance,
  dataDir,
  log: () => undefined,
});
process.send?.('ready');
process.once('disconnect', () => process.exit(0));
