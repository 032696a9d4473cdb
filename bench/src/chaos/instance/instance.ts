import { createCodec, createMemoryRegistry } from '@spool/schemas';
import { connectKafka, openInstance, topicCatalogue, type RestoreProgress } from '@spool/streams';
import { engineProcessor } from '../../engine/contenders/spool.js';
import type { EngineTopics } from '../../engine/workload.js';
import { tampered, type Tampering } from './tampering.js';

/** What a keyed count that is to be killed is started with, as its only argument. */
export interface ChaosInstanceConfig {
  readonly instance: string;
  readonly brokers: readonly string[];
  /** Consumer and prefix of all else that the instances share. */
  readonly consumer: string;
  readonly topics: EngineTopics;
  readonly partitions: number;
  readonly dataDir: string;
  readonly sessionTimeoutMs: number;
  readonly standbys: number;
  /** How writers are fenced. */
  readonly transactions: 'instance' | 'partition';
  /** A violation on purpose, which the check must find. */
  readonly tampering: Tampering | undefined;
}

/** Resolves when it runs; restores are told to `log`. */
export async function startChaosInstance(config: ChaosInstanceConfig, log: (line: string) => void): Promise<{ close(): Promise<void> }> {
  const { consumer, topics, sessionTimeoutMs, partitions } = config;
  const kafka = tampered(await connectKafka({ brokers: config.brokers, clientId: config.instance }), topics.output, config.tampering);
  const instance = await openInstance({
    kafka,
    codec: createCodec({ registry: createMemoryRegistry() }),
    topics: topicCatalogue({ namespace: `${consumer}.` }),
    bundle: 'chaos',
    version: '1.0.0',
    instance: config.instance,
    dataDir: config.dataDir,
    log: (level, message, fields) => log(`${new Date().toISOString()} ${level} ${message} ${JSON.stringify(fields ?? {})}`),
    now: Date.now,
  });
  const definition = await engineProcessor(instance, {
    workload: 'count',
    topics,
    consumer,
    partitions,
    standbys: config.standbys,
    transactions: config.transactions,
    onRestore: restoreLog(log),
  });
  await instance.run({ ...definition, sessionTimeoutMs });
  return {
    async close() {
      await instance.close();
      await kafka.close();
    },
  };
}

/** One line for each restore that ends: `restored <records> in <ms>`. */
export const restoredLine = /^restored (\d+) in (\d+)$/;

function restoreLog(log: (line: string) => void): (progress: RestoreProgress) => void {
  let began: { readonly at: number; readonly position: bigint } | undefined;
  return ({ position, end }) => {
    began ??= { at: performance.now(), position };
    if (position < end) return;
    if (position > began.position) log(`restored ${position - began.position} in ${Math.round(performance.now() - began.at)}`);
    began = undefined;
  };
}
