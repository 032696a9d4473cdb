import { bank } from '@spool/bank';
import { createCodec, createHttpRegistry } from '@spool/schemas';
import { startBundle } from '@spool/sdk';
import { connectKafka, topicCatalogue } from '@spool/streams';
import { tamperedBank, type BankTampering } from './tampering.js';

/** What an instance that is to be killed is started with, as its only argument. */
export interface BankConfig {
  readonly instance: string;
  readonly brokers: readonly string[];
  readonly schemaRegistryUrl: string;
  readonly namespace: string;
  readonly dataDir: string;
  readonly sessionTimeoutMs: number;
  /** A violation on purpose, which the check must find. */
  readonly tampering: BankTampering | undefined;
}

/** Resolves when it runs. */
export async function startBank(config: BankConfig): Promise<{ close(): Promise<void> }> {
  const { instance, dataDir, sessionTimeoutMs } = config;
  const topics = topicCatalogue({ namespace: config.namespace });
  const connected = await connectKafka({ brokers: config.brokers, clientId: instance });
  const kafka = tamperedBank(connected, topics.commands('Account').name, config.tampering);
  const running = await startBundle(bank, {
    kafka,
    codec: createCodec({ registry: createHttpRegistry({ url: config.schemaRegistryUrl }) }),
    topics,
    instance,
    dataDir,
    log: (level, message, fields) => console.log(new Date().toISOString(), level, message, fields ?? ''),
    sessionTimeoutMs,
  });
  return {
    async close() {
      await running.close();
      await kafka.close();
    },
  };
}
