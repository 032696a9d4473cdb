/** An instance of a bundle whose read model is copied, until it is stopped or killed. */
import { createCodec, createHttpRegistry } from '@spool/schemas';
import { startBundle } from '@spool/sdk';
import { connectKafka, topicCatalogue } from '@spool/streams';
import { counting } from './testing.js';

const [brokers, registry, namespace, instance, dataDir] = process.argv.slice(2) as [string, string, string, string, string];
const kafka = await connectKafka({ brokers: brokers.split(','), clientId: instance });
const running = await startBundle(counting, {
  kafka,
  codec: createCodec({ registry: createHttpRegistry({ url: registry }) }),
  topics: topicCatalogue({ namespace, partitions: 2 }),
  ...{ instance, dataDir, log: () => undefined },
});
process.on('disconnect', () => void running.close().then(() => process.exit(0)));
process.send?.('ready');
