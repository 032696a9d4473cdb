import { partitionOf, tailTopic, type ConsumedRecord } from '@spool/streams';
import { readMeta, SpoolError, type ReadMeta } from '@spool/schemas';
import { defaultContext } from '../context/context.js';
import { problemOf } from '../host/replying.js';
import { answerOne, unbound, type Answering, type QueryHostOptions } from './answering.js';

/** Queries under way at once; more are refused with OVERLOADED. */
const maxBusy = 1000;
/** Queries that wait for an owner; the oldest go first, and their askers wait for nothing. */
const maxPending = 10_000;

interface Asked {
  readonly record: ConsumedRecord;
  readonly meta: ReadMeta;
  readonly part: Answering;
  /** Why it gets no answer. */
  readonly refused: SpoolError | undefined;
}

/**
 * Answers the queries of a read model in parts: every instance reads all of them, and the one that owns the partition of a query's key answers. A query that
 * comes while nobody does is kept by all until its deadline, and answered by whoever takes the partition over; its asker takes the first answer.
 * @param keyOf what tells the partition @throws what reading the request throws: partition 0 then says so
 */
export async function hostOwnerQueries(
  options: QueryHostOptions,
  contexts: ReadonlyMap<string, Answering>,
  partitions: number,
  keyOf: (type: string, value: Buffer) => Promise<string>,
): Promise<{ close(): Promise<void> }> {
  const { instance, replies } = options.hosting;
  const stop = new AbortController();
  const pending = new Map<number, Set<Asked>>();
  const underWay = new Set<Promise<void>>();
  const only = contexts.values().next().value!;

  const answer = ({ record, meta, part, refused }: Asked, partition: number): boolean => {
    const model = part.model?.parts?.of(partition);
    if (model === undefined) return false;
    if (underWay.size >= maxBusy) {
      const full = new SpoolError('OVERLOADED', `${maxBusy} queries of ${options.component} are under way here`, { retryAfterMs: 1000 });
      replies.send(meta, { outcome: 'failed', problem: problemOf(full) });
      return true;
    }
    const ready = (): Promise<void> => (refused === undefined ? Promise.resolve() : Promise.reject(refused));
    const answering = answerOne({ ...options, handlers: part.handlers, model, ready }, undefined, record, meta, stop.signal);
    underWay.add(answering);
    void answering.finally(() => underWay.delete(answering));
    return true;
  };
  const keep = (asked: Asked, partition: number): void => {
    const kept = pending.get(partition) ?? new Set();
    pending.set(partition, kept.add(asked));
    const [oldest] = kept;
    if (kept.size > maxPending && oldest !== undefined) kept.delete(oldest);
  };
  const late = ({ meta }: Asked): boolean => meta.deadline !== undefined && meta.deadline <= instance.now();
  const take = async (record: ConsumedRecord): Promise<void> => {
    const meta = readMeta(record.headers);
    const { context = defaultContext } = meta;
    const bound = contexts.get(context);
    const asked: Asked = {
      record,
      meta,
      part: bound ?? only,
      refused: bound === undefined ? unbound(options, contexts, context) : undefined,
    };
    if (record.value === null || late(asked)) return;
    const key = await keyOf(meta.type ?? '', record.value).catch(() => undefined);
    const partition = key === undefined ? 0 : partitionOf(key, partitions);
    if (!answer(asked, partition)) keep(asked, partition);
  };
  const forgets = [...contexts.values()].map(({ model }) =>
    model?.parts?.onReady((partition) => {
      const kept = pending.get(partition);
      pending.delete(partition);
      for (const asked of kept ?? []) if (!late(asked) && !answer(asked, partition)) keep(asked, partition);
    }),
  );
  const sweep = setInterval(() => {
    for (const kept of pending.values()) for (const asked of kept) if (late(asked)) kept.delete(asked);
  }, 1000);
  const { kafka, log } = instance;
  const onError = (error: unknown): void => log('warn', 'a query was passed over', { component: options.component, error: String(error) });
  const tail = await tailTopic({ kafka, topic: options.topic, onRecord: take, onError });
  return {
    async close() {
      stop.abort();
      clearInterval(sweep);
      for (const forget of forgets) forget?.();
      await tail.close();
      await Promise.all(underWay);
    },
  };
}
