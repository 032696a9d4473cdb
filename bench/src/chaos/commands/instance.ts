import { createCodec, createHttpRegistry } from '@spool/schemas';
import { startBundle } from '@spool/sdk';
import { connectKafka, topicCatalogue } from '@spool/streams';
import { early, tampered, type CommandTampering } from '../instance/tampering.js';
import { Account, accounts } from './account.js';

/** What an instance that is to be killed is started with, as its only argument. */
export interface AccountsConfig {
  readonly instance: string;
  readonly brokers: readonly string[];
  readonly schemaRegistryUrl: string;
  readonly namespace: string;
  readonly dataDir: string;
  readonly sessionTimeoutMs: number;
  readonly transactions: 'instance' | 'partition';
  /** A violation on purpose, which the check must find. */
  readonly tampering: CommandTampering | undefined;
}

/** Resolves when it runs. */
export async function startAccounts(config: AccountsConfig): Promise<{ close(): Promise<void> }> {
  const { tampering, sessionTimeoutMs, transactions } = config;
  const topics = topicCatalogue({ namespace: config.namespace });
  const connected = await connectKafka({ brokers: config.brokers, clientId: config.instance });
  const kafka =
    tampering === 'early'
      ? early(connected)
      : tampered(connected, topics.events(Account.name).name, tampering === 'forgetful' ? undefined : tampering);
  const running = await startBundle(accounts, {
    kafka,
    codec: createCodec({ registry: createHttpRegistry({ url: config.schemaRegistryUrl }) }),
    topics,
    instance: config.instance,
    dataDir: config.dataDir,
    log: (level, message, fields) => console.log(new Date().toISOString(), level, message, fields ?? ''),
    sessionTimeoutMs,
    transactions,
    ...(tampering === 'forgetful' ? { outcomeRetentionMs: 1 } : {}),
  });
  return {
    async close() {
      await running.close();
      await kafka.close();
    },
  };
}
