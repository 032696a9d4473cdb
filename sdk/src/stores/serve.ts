import { readMeta, StoreQuerySchema, StoreRowsSchema, toSpoolError, type StoreQuery, type StoreRows } from '@spool/schemas';
import {
  partitionKey,
  positionOf,
  rowBytes,
  tailTopic,
  type ConsumedRecord,
  type Instance,
  type RunningTopology,
  type Store,
  type Topology,
} from '@spool/streams';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterHeader } from '../gateway/gateway.js';
import { createReplySender, expired, problemOf } from '../host/replying.js';
import { fromToken, toToken } from '../position/token.js';

/** Rows in one answer, whatever is asked for. */
const maxRows = 10_000;
const pollMs = 5;

/**
 * Answers for the stores of a topology's tasks that run on this instance. Every instance reads all requests, and the owner of the task answers: a
 * request is routed by the same table that routes the records.
 */
export async function serveStores(
  instance: Instance,
  topology: Topology<unknown>,
  running: RunningTopology<never>,
): Promise<{ close(): Promise<void> }> {
  const { kafka, topics, codec, now, log } = instance;
  const replies = createReplySender(instance);
  const requests = codec.decoder(StoreQuerySchema);
  const onError = (error: unknown): void => log('warn', 'a request for rows was passed over', { error: String(error) });
  const tails = await Promise.all(
    running.parts.map(async ({ consumer, sources, tasks, stores }) => {
      const topic = topics.storeQueries(consumer, tasks);
      await kafka.admin.ensureTopics([topic]);
      const rows = await codec.encoder(topic.name, StoreRowsSchema);
      const answer = async (record: ConsumedRecord): Promise<void> => {
        const meta = readMeta(record.headers);
        if (record.value === null || expired(meta, now())) return;
        const { partition } = record;
        const after = fromToken(record.headers[afterHeader]?.toString() ?? '');
        const wanted = sources.flatMap((source) => {
          const key = partitionKey({ topic: source, partition });
          const at = after.get(key);
          return at === undefined ? [] : [[key, at] as const];
        });
        const request = await requests.decode(record.value);
        const behind = (store: Store): boolean => {
          const position = positionOf([store]);
          return wanted.some(([key, at]) => (position.get(key) ?? 0n) < at);
        };
        for (let store = stores.get(partition); store !== undefined && behind(store); store = stores.get(partition)) {
          if (expired(meta, now())) return;
          await sleep(pollMs);
        }
        const store = stores.get(partition);
        if (store === undefined) return;
        try {
          const position = toToken(positionOf([store]));
          replies.send(meta, { outcome: 'answered', position, view: rows.encode(readRows(topology, store, request)) });
        } catch (thrown) {
          replies.send(meta, { outcome: 'failed', problem: problemOf(toSpoolError(thrown)) });
        }
      };
      // Side by side: one that waits for a position holds up no other.
      const onRecord = (record: ConsumedRecord): void => void answer(record).catch(onError);
      return tailTopic({ kafka, topic: topic.name, from: 'latest', onRecord, onError });
    }),
  );
  return {
    async close() {
      await Promise.all(tails.map((tail) => tail.close()));
    },
  };
}

/** Of one task, as of its last commit. */
export function readRows({ queried }: Topology<unknown>, store: Store, { store: name, kind, from, to, limit }: StoreQuery): StoreRows {
  const declared = queried.get(name)!.store;
  const row = ([key, found]: readonly [string, unknown]) => ({ key, value: rowBytes(declared, found) });
  if (kind === 'count') return { rows: [], count: store.count(declared.name) };
  if (kind === 'get') {
    const found = store.get(declared.name, from ?? '');
    return { rows: found === undefined ? [] : [row([from!, found])], count: 0 };
  }
  const bounds = { limit: Math.min(limit, maxRows), ...(from === null ? {} : { from }), ...(to === null ? {} : { to }) };
  return { rows: [...store.range(declared.name, bounds)].map(row), count: 0 };
}
