/** A process that runs the bundle with a read model in parts until it is killed: for tests that stop an owner in the middle of its work. */
import { createCodec, createHttpRegistry } from '@spool/schemas';
import { connectKafka, topicCatalogue } from '@spool/streams';
import { startBundle } from '../host/start-bundle.js';
import { inParts } from './parts.js';

const [brokers, registry, namespace, instance, dataDir] = process.argv.slice(2) as [string, string, string, string, string];
const kafka = await connectKafka({ brokers: brokers.split(','), clientId: instance });
const running = await startBundle(inParts, {
  kafka,
  codec: createCodec({ registry: createHttpRegistry({ url: registry }) }),
  topics: topicCatalogue({ namespace }),
  instance,
  dataDir,
  log: () => undefined,
  sessionTimeoutMs: 6000,
});
process.on('disconnect', () => void running.close().then(() => process.exit(0)));
process.send?.('ready');
