/** A process that observes until it is killed: for tests that stop an observer in the middle of its work. It is ready when it has its share of the partitions. */
import { createCodec, createHttpRegistry } from '@spool/schemas';
import { until } from '@spool/schemas/testing';
import { connectKafka, topicCatalogue } from '@spool/streams';
import { startBundle } from '../host/start-bundle.js';
import { watching } from './watching.js';

const [brokers, registry, namespace, instance, dataDir, file] = process.argv.slice(2) as [string, string, string, string, string, string];
const kafka = await connectKafka({ brokers: brokers.split(','), clientId: instance });
const running = await startBundle(watching(file, `${instance}/${process.pid}`), {
  kafka,
  codec: createCodec({ registry: createHttpRegistry({ url: registry }) }),
  topics: topicCatalogue({ namespace }),
  instance,
  dataDir,
  log: () => undefined,
});
process.on('disconnect', () => void running.close().then(() => process.exit(0)));
await until(() => running.instance.status().some(({ partitions }) => partitions.length > 0), 60_000);
process.send?.('ready');
