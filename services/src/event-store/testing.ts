import { until } from '@spool/schemas/testing';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createCodec, createMemoryRegistry, FoldRequestSchema, type Codec } from '@spool/schemas';
import {
  aggregate,
  bundle,
  createGateway,
  foldQuery,
  openRegistry,
  openReplies,
  record,
  startBundle,
  type Gateway,
  type Registry,
  type RunningBundle,
} from '@spool/sdk';
import { createMemoryCluster, openInstance, topicCatalogue, type Instance, type Kafka, type MemoryCluster } from '@spool/streams';
import { registryProcessor } from '../registry/index.js';
import type { Tail, TailItem } from './tail.js';

export { until };

/**
 * An account with a list and nested fields in its state, so that differences have something to show.
 * @param times what an amount counts for; a function makes an `evolve` that does not give the same each time
 */
export const account = (codeVersion = '1', times: number | (() => number) = 1) =>
  aggregate('Account', {
    commands: {
      Put: record('store.Put', { amount: 'int', note: 'string' }),
      Many: record('store.Many', { count: 'int' }),
      Close: record('store.Close', {}),
    },
    events: {
      Paid: record('store.Paid', { amount: 'int', note: 'string' }),
      Closed: record('store.Closed', {}),
    },
    initial: () => ({ balance: 0, notes: [] as readonly string[] }),
    decide: {
      Put: ({ amount, note }) => [{ type: 'Paid', data: { amount, note } }],
      Many: ({ count }) => Array.from({ length: count }, () => ({ type: 'Paid' as const, data: { amount: 1, note: '' } })),
      Close: () => [{ type: 'Closed' as const, data: {} }],
    },
    evolve: {
      Paid: ({ balance, notes }, { amount, note }) => ({
        balance: balance + amount * (typeof times === 'number' ? times : times()),
        notes: note === '' ? notes : [...notes, note],
      }),
      Closed: (state) => state,
    },
    deletes: ['Closed'],
    snapshotEvery: 100,
    codeVersion,
  });
export const Account = account();

/** A platform with the bundle of the account, in memory. */
export interface Stage extends AsyncDisposable {
  readonly cluster: MemoryCluster;
  readonly kafka: Kafka;
  readonly codec: Codec;
  readonly topics: ReturnType<typeof topicCatalogue>;
  readonly platform: Instance;
  readonly registry: Registry;
  /** The platform's gateway. */
  readonly gateway: Gateway;
  readonly bank: RunningBundle;
  /** Events that the bundle was asked to fold. */
  folded(): number;
  /** Runs another version of the aggregate in the place of the one that runs. */
  deploy(of: ReturnType<typeof account>): Promise<void>;
}

export async function stage({ partitions = 2 }: { readonly partitions?: number } = {}): Promise<Stage> {
  const cluster = createMemoryCluster();
  const kafka = cluster.connect();
  const codec = createCodec({ registry: createMemoryRegistry() });
  const topics = topicCatalogue({ partitions });
  const dataDir = mkdtempSync(join(tmpdir(), 'spool-event-store-'));
  const shared = { kafka, codec, topics, dataDir, log: () => undefined, now: Date.now };
  const platform = await openInstance({ ...shared, bundle: 'spool', version: '1.0.0', instance: 'platform-0' });
  await platform.run(registryProcessor(platform));
  const onError = (error: unknown): void => {
    throw error as Error;
  };
  const registry = await openRegistry({ kafka, codec, topics, onError });
  const replies = await openReplies({ kafka, codec, topic: topics.replies('gateway'), slot: 0, now: Date.now, onError });
  const plain = createGateway({ codec, topics, producer: platform.producer, replies, registry, source: 'gateway', now: Date.now });
  const requests = codec.decoder(FoldRequestSchema);
  let folded = 0;
  const gateway: Gateway = {
    ...plain,
    async request(message) {
      if (message.type === foldQuery) {
        const { events } = await requests.decode(message.value);
        folded += events.length;
      }
      return plain.request(message);
    },
  };
  let runs = 0;
  const run = (of: ReturnType<typeof account>): Promise<RunningBundle> =>
    startBundle(bundle({ id: 'bank', version: '1.0.0', components: [of] }), { ...shared, instance: `bank-${runs++}` });
  let bank = await run(Account);
  await until(() => registry.component('Account') !== undefined);
  return {
    cluster,
    kafka,
    codec,
    topics,
    platform,
    registry,
    gateway,
    get bank() {
      return bank;
    },
    folded: () => folded,
    async deploy(of) {
      await bank.close();
      bank = await run(of);
    },
    async [Symbol.asyncDispose]() {
      await bank.close();
      await replies.close();
      await registry.close();
      await platform.close();
      await kafka.close();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

/** What a tail gives, one by one. */
export async function* pulled(tail: Tail): AsyncGenerator<TailItem, void, undefined> {
  const items: TailItem[] = [];
  let wake: () => void = () => undefined;
  let ended = false as boolean;
  const following = tail
    .follow({
      deliver: (item) => {
        items.push(item);
        wake();
        return true;
      },
      ready: () => undefined,
    })
    .finally(() => {
      ended = true;
      wake();
    });
  following.catch(() => undefined);
  for (;;) {
    const item = items.shift();
    if (item !== undefined) yield item;
    else if (ended) return following;
    else await new Promise<void>((resolve) => (wake = resolve));
  }
}
