/** A process of the platform that projects the registry and the cluster until it is stopped or killed. */
import { createCodec, createHttpRegistry } from '@spool/schemas';
import { connectKafka, openInstance, platformBundle, topicCatalogue } from '@spool/streams';
import { clusterProcessor } from '../cluster/index.js';
import { registryProcessor } from '../registry/index.js';

const [brokers, registry, namespace, instanceId, dataDir] = process.argv.slice(2) as [string, string, string, string, string];
const kafka = await connectKafka({ brokers: brokers.split(','), clientId: instanceId });
const instance = await openInstance({
  kafka,
  codec: createCodec({ registry: createHttpRegistry({ url: registry }) }),
  topics: topicCatalogue({ namespace }),
  bundle: platformBundle,
  version: '1.0.0',
  instance: instanceId,
  dataDir,
  log: () => undefined,
  now: Date.now,
});
await instance.run(clusterProcessor(instance));
await instance.run(registryProcessor(instance));
instance.ready();
process.on('disconnect', () => void instance.close().then(() => process.exit(0)));
process.send?.('ready');
