import { readMeta, StoreQuerySchema, StoreRowsSchema, toSpoolError, type StoreQuery, type StoreRows } from '@spool/schemas';
import {
  partitionKey,
  restoredInputs,
  rowValue,
  tailTopic,
  type ConsumedRecord,
  type Instance,
  type RunningTopology,
  type Store,
  type StoreShare,
} from '@spool/streams';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterHeader } from '../gateway/gateway.js';
import { expired, problemOf, createReplySender } from '../host/replying.js';
import { fromToken, toToken } from '../position/token.js';

/** Rows in one answer, whatever is asked for. */
export const maxRows = 10_000;
const pollMs = 5;

/**
 * Answers for the stores of a topology's tasks that run on this instance. Every instance reads all requests, and the owner of the task answers: a
 * request is routed by the same table that routes the records.
 */
export async function serveStores(instance: Instance, topology: RunningTopology): Promise<{ close(): Promise<void> }> {
  const { kafka, topics, codec, now, log } = instance;
  const replies = createReplySender(instance);
  const requests = codec.decoder(StoreQuerySchema);
  const onError = (error: unknown): void => log('warn', 'a request for rows was passed over', { error: String(error) });
  const tails = await Promise.all(
    topology.shares.map(async (share) => {
      const topic = { ...topics.queries(''), name: topics.storeQueries(share.consumer), partitions: share.partitions };
      await kafka.admin.ensureTopics([topic]);
      const rows = await codec.encoder(topic.name, StoreRowsSchema);
      const answer = async (record: ConsumedRecord): Promise<void> => {
        const meta = readMeta(record.headers);
        if (record.value === null || expired(meta, now())) return;
        const after = fromToken(record.headers[afterHeader]?.toString() ?? '');
        const request = await requests.decode(record.value);
        const wanted = share.sources.flatMap((source) => {
          const key = partitionKey({ topic: source, partition: record.partition });
          const at = after.get(key);
          return at === undefined ? [] : [[key, at] as const];
        });
        const owned = (): Store | undefined => share.task(record.partition);
        const behind = (store: Store): boolean => wanted.some(([key, at]) => (restoredInputs(store).get(key) ?? 0n) < at);
        for (let store = owned(); store !== undefined && behind(store); store = owned()) {
          if (expired(meta, now())) return;
          await sleep(pollMs);
        }
        const store = owned();
        if (store === undefined) return;
        try {
          const position = toToken(restoredInputs(store));
          replies.send(meta, { outcome: 'answered', position, view: rows.encode(read(share, store, request)) });
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

export function read({ specs }: StoreShare, store: Store, { store: name, kind, from, to, limit }: StoreQuery): StoreRows {
  const spec = specs.find((one) => one.name === name)!;
  const encoded = ([key, row]: readonly [string, unknown]) => ({ key, value: spec.encode(rowValue(spec, row)) });
  if (kind === 'count') return { rows: [], count: store.count(name) };
  if (kind === 'get') {
    const row = from === null ? undefined : store.get(name, from);
    return { rows: row === undefined ? [] : [encoded([from!, row])], count: 0 };
  }
  const bounds = { limit: Math.min(limit, maxRows), ...(from === null ? {} : { from }), ...(to === null ? {} : { to }) };
  return { rows: [...store.range(name, bounds)].map(encoded), count: 0 };
}
