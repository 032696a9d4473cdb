import { createCodec, createHttpRegistry } from '@spool/schemas';
import { startBundle } from '@spool/sdk';
import { connectKafka, topicCatalogue } from '@spool/streams';
import { airports } from '../airports.js';
import type { ContenderConfig } from './contender.js';

/** The bundle whose read model is replayed, as its users run it. */
export async function startSpool({
  brokers,
  id,
  namespace,
  partitions,
  schemaRegistryUrl,
  dataDir,
}: ContenderConfig): Promise<() => Promise<void>> {
  const kafka = await connectKafka({ brokers, clientId: id });
  const running = await startBundle(airports, {
    kafka,
    codec: createCodec({ registry: createHttpRegistry({ url: schemaRegistryUrl }) }),
    topics: topicCatalogue({ namespace, partitions }),
    instance: id,
    dataDir,
    log: () => undefined,
  });
  return async () => {
    await running.close();
    await kafka.close();
  };
}
