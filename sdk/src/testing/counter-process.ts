/** A process that runs the counter bundle until it is killed: for tests that stop an owner in the middle of its work. */
import { createCodec, createHttpRegistry } from '@spool/schemas';
import { connectKafka, topicCatalogue } from '@spool/streams';
import { startBundle } from '../host/start-bundle.js';
import { counting } from './counter.js';

const [brokers, registry, namespace, instance, dataDir, transactions] = process.argv.slice(2) as [
  string,
  string,
  string,
  string,
  string,
  'instance' | 'partition',
];
const kafka = await connectKafka({ brokers: brokers.split(','), clientId: instance });
const running = await startBundle(counting, {
  kafka,
  codec: createCodec({ registry: createHttpRegistry({ url: registry }) }),
  topics: topicCatalogue({ namespace }),
  instance,
  dataDir,
  log: () => undefined,
  transactions,
});
process.on('disconnect', () => void running.close().then(() => process.exit(0)));
process.send?.('ready');
