import { createHash } from 'node:crypto';
import { createCodec, createMemoryRegistry } from '@spool/schemas';
import type { RegisteredComponent } from '@spool/sdk';
import { indexConsumer, openEventStore, rowKey, streamsTable, type IndexRow } from '@spool/services/event-store';
import { connectKafka, openInstance, topicCatalogue, type Store } from '@spool/streams';
import { quantile, type Row, type Table } from '../report.js';
import { Thing } from './thing.js';

export interface GrowthOptions {
  readonly brokers: readonly string[];
  readonly id: string;
  readonly dataDir: string;
  /** Events in the index, in rising order. */
  readonly sizes: readonly number[];
  readonly reads: number;
  readonly progress: (line: string) => void;
}

const perStream = 10;
const together = 20_000;
/** No order among the ids: streams that lie side by side were not written one after the other. */
const idOf = (at: number): string => createHash('sha1').update(String(at)).digest('hex').slice(0, 24);

/**
 * How the time to read one stream of ten events grows with all events of the index. The rows are put into the index's own store, so that the log
 * need not be written; reads go all the way through the event store.
 */
export async function growth({ brokers, id, dataDir, sizes, reads, progress }: GrowthOptions): Promise<Table> {
  const kafka = await connectKafka({ brokers, clientId: 'bench' });
  const codec = createCodec({ registry: createMemoryRegistry() });
  const topics = topicCatalogue({ namespace: `${id}.` });
  const events = topics.events(Thing.name);
  await kafka.admin.ensureTopics([events, topics.snapshots(Thing.name)]);
  const payload = (await codec.encoder(events.name, Thing.events.Added)).encode({ n: 1, pad: 'x'.repeat(60) });
  const components = [{ kind: 'aggregate', name: Thing.name }] as unknown as readonly RegisteredComponent[];
  const registry = { components: () => components, component: () => components[0], onChange: () => () => undefined };
  const gateway = { request: () => Promise.reject(new Error('nothing is folded here')) };
  const rows: Row[] = [];
  let streams = 0;
  try {
    for (const size of sizes) {
      const shared = { kafka, codec, topics, dataDir, log: () => undefined, now: Date.now };
      await using instance = await openInstance({ ...shared, bundle: 'bench', version: '1.0.0', instance: 'reader-0' });
      const store = instance.openStore(indexConsumer(Thing.name), 'all');
      const began = performance.now();
      fill(store, streams, size / perStream, payload);
      await store.close();
      progress(`${size} events: ${Math.round((size - streams * perStream) / ((performance.now() - began) / 1000))} rows/s written`);
      streams = size / perStream;
      await using eventStore = openEventStore({ instance, registry, gateway });
      const read = async (after: string | undefined): Promise<readonly number[]> => {
        const taken: number[] = [];
        for (let n = 0; n < reads; n++) {
          const aggregateId = idOf(Math.floor(Math.random() * streams));
          const start = performance.now();
          const found = await eventStore.events({
            aggregateType: Thing.name,
            aggregateId,
            limit: 100,
            after,
            deadline: Date.now() + 30_000,
          });
          taken.push(performance.now() - start);
          if (found.length !== perStream) throw new Error(`${found.length} events instead of ${perStream}`);
        }
        return taken.sort((a, b) => a - b);
      };
      await read(undefined);
      for (const [label, after] of [
        ['up to the end of the log', undefined],
        ['up to a position', ''],
      ] as const) {
        const taken = await read(after);
        const of = `${size.toLocaleString('en')} events, ${label}`;
        rows.push({ label: of, metric: 'p50', value: quantile(taken, 0.5), unit: 'ms', ratio: null });
        rows.push({ label: of, metric: 'p99', value: quantile(taken, 0.99), unit: 'ms', ratio: null });
      }
    }
  } finally {
    await kafka.close();
  }
  return { name: `Reading one stream of ${perStream} events`, rows };
}

function fill(store: Store, from: number, to: number, payload: Buffer): void {
  const ids = Array.from({ length: to - from }, (_, at) => idOf(from + at));
  let changes = new Map<string, IndexRow>();
  const flush = (): void => {
    store.commit(new Map([[streamsTable, changes]]), store.checkpoint);
    changes = new Map();
  };
  for (const [at, id] of ids.entries()) {
    for (let version = 1; version <= perStream; version++) {
      const commandId = `${id}-${version}`;
      changes.set(rowKey(id, version), {
        ...{
          id: `${commandId}/0`,
          type: 'Added',
          at: 1_700_000_000_000 + at,
          partition: at % 3,
          offset: String(at * perStream + version),
          payload,
        },
        ...{ correlationId: commandId, causationId: commandId, commandId, actor: undefined },
      });
      if (changes.size >= together) flush();
    }
  }
  flush();
}
