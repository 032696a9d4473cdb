import { createCodec, createMemoryRegistry } from '@spool/schemas';
import { connectKafka, openInstance, runTopology, topicCatalogue, type RunTopologyOptions } from '@spool/streams';
import { counting } from '../../engine/contenders/spool.js';
import { tampered, type Tampering } from './tampering.js';

/** What a keyed count that is to be killed is started with, as its only argument. */
export interface ChaosInstanceConfig {
  readonly instance: string;
  readonly brokers: readonly string[];
  readonly namespace: string;
  readonly dataDir: string;
  readonly sessionTimeoutMs: number;
  readonly standbys: number;
  readonly transactions: NonNullable<RunTopologyOptions['transactions']>;
  /** A violation on purpose, which the check must find. */
  readonly tampering: Tampering | undefined;
}

/** Of all that the instances share in Kafka. */
export const chaosTopics = ({ namespace }: Pick<ChaosInstanceConfig, 'namespace'>) => ({
  input: `${namespace}input`,
  output: `${namespace}output`,
});
export const chaosTopology = (config: Pick<ChaosInstanceConfig, 'namespace'>) => counting(chaosTopics(config));

/** Resolves when it runs. */
export async function startChaosInstance(config: ChaosInstanceConfig): Promise<{ close(): Promise<void> }> {
  const { namespace, sessionTimeoutMs, standbys, transactions } = config;
  const connected = await connectKafka({ brokers: config.brokers, clientId: config.instance });
  const kafka = tampered(connected, chaosTopics(config).output, config.tampering);
  const instance = await openInstance({
    kafka,
    codec: createCodec({ registry: createMemoryRegistry() }),
    topics: topicCatalogue({ namespace }),
    bundle: 'chaos',
    version: '1.0.0',
    instance: config.instance,
    dataDir: config.dataDir,
    log: (level, message, fields) => console.log(new Date().toISOString(), level, message, fields ?? ''),
    now: Date.now,
  });
  await runTopology(instance, chaosTopology(config), { sessionTimeoutMs, standbys, transactions });
  return {
    async close() {
      await instance.close();
      await kafka.close();
    },
  };
}
