/** A bundle with a read model in a process of its own, to be killed. Argument: its settings as JSON. */
import { createCodec, createHttpRegistry } from '@spool/schemas';
import { connectKafka, topicCatalogue } from '@spool/streams';
import { startBundle } from '../host/start-bundle.js';
import { openPostgres } from '../postgres/database.js';
import { counted, type Adapter, type AdapterOptions } from './adapters.js';

export interface AdapterProcess extends AdapterOptions {
  readonly adapter: Adapter;
  readonly brokers: readonly string[];
  readonly schemaRegistryUrl: string;
  readonly namespace: string;
  readonly instance: string;
  readonly dataDir: string;
  readonly postgresUrl: string | undefined;
}

const { adapter, brokers, schemaRegistryUrl, namespace, instance, dataDir, postgresUrl, ...options } = JSON.parse(
  process.argv[2] ?? '{}',
) as AdapterProcess;
const kafka = await connectKafka({ brokers, clientId: instance });
const postgres = postgresUrl === undefined ? undefined : await openPostgres({ url: postgresUrl, idleTransactionMs: 3000 });
await startBundle(counted(adapter, options).bundle, {
  kafka,
  codec: createCodec({ registry: createHttpRegistry({ url: schemaRegistryUrl }) }),
  topics: topicCatalogue({ namespace }),
  instance,
  dataDir,
  log: () => undefined,
  sessionTimeoutMs: 6000,
  ...(postgres === undefined ? {} : { postgres }),
});
process.on('disconnect', () => process.exit(0));
process.send?.('ready');
