/** A process that runs the vouchers bundle until it is killed: for tests that stop a service between a call to the outside and its record. */
import { createCodec, createHttpRegistry } from '@spool/schemas';
import { connectKafka, topicCatalogue } from '@spool/streams';
import { startBundle } from '../host/start-bundle.js';
import { issuing } from './vouchers.js';

const [brokers, registry, namespace, instance, dataDir, file] = process.argv.slice(2) as [string, string, string, string, string, string];
const kafka = await connectKafka({ brokers: brokers.split(','), clientId: instance });
const running = await startBundle(issuing(file, `${instance}/${process.pid}`), {
  kafka,
  codec: createCodec({ registry: createHttpRegistry({ url: registry }) }),
  topics: topicCatalogue({ namespace, partitions: 3 }),
  instance,
  dataDir,
  log: () => undefined,
});
process.on('disconnect', () => void running.close().then(() => process.exit(0)));
process.send?.('ready');
