import { createCodec, createHttpRegistry } from '@spool/schemas';
import { startBundle } from '@spool/sdk';
import { openPostgres } from '@spool/sdk/postgres';
import { connectKafka, topicCatalogue } from '@spool/streams';
import { airports } from '../airports.js';
import type { ContenderConfig, SpoolContender } from './contender.js';

/** The bundle whose read model is replayed, as its users run it. */
export async function startSpool(
  name: SpoolContender,
  { brokers, id, namespace, partitions, schemaRegistryUrl, dataDir, postgresUrl }: ContenderConfig,
): Promise<() => Promise<void>> {
  const postgres = name === 'spool-postgres' ? await openPostgres({ url: postgresUrl }) : undefined;
  const kafka = await connectKafka({ brokers, clientId: id });
  const running = await startBundle(airports(name), {
    kafka,
    codec: createCodec({ registry: createHttpRegistry({ url: schemaRegistryUrl }) }),
    topics: topicCatalogue({ namespace, partitions }),
    instance: id,
    dataDir,
    log: () => undefined,
    ...(postgres === undefined ? {} : { postgres }),
  });
  return async () => {
    await running.close();
    await kafka.close();
    await postgres?.close();
  };
}
