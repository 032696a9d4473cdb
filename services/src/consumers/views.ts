import type { OrderAnswer } from '@spool/schemas';
import type { Offset } from '@spool/streams';
import { z } from 'zod';
import type { Copy } from './beats.js';

export const consumerView = z.object({
  id: z.string(),
  state: z.string().describe('The state that most asks for attention, over all instances'),
  paused: z.boolean().describe('On every instance'),
  recordsPerSecond: z.number().nullable().describe('The limit of its rate over all partitions; null for none'),
  epoch: z.string().describe('The last control order that every instance has dealt with; -1 for none'),
  error: z.string().nullable(),
  lag: z.object({
    records: z
      .int()
      .describe('Offsets behind the last stable offset, over all partitions; of the slowest where several instances read one'),
    seconds: z.number().describe('Age of the oldest record that waits'),
  }),
  partitions: z.array(
    z.object({
      topic: z.string(),
      partition: z.int(),
      instance: z.string(),
      position: z.string().describe('Offset of the next record to handle'),
      end: z.string().describe('The last stable offset'),
      lag: z.int(),
      lagSeconds: z.number(),
    }),
  ),
  instances: z.array(
    z.object({
      instance: z.string(),
      bundle: z.string(),
      version: z.string(),
      state: z.string(),
      paused: z.boolean(),
      stepsLeft: z.int(),
      epoch: z.string(),
      error: z.string().nullable(),
      seenAt: z.iso.datetime(),
    }),
  ),
});
export type ConsumerView = z.infer<typeof consumerView>;

const urgency = ['failed', 'restoring', 'starting', 'replaying', 'paused', 'running', 'stopped', 'unknown'];

/** @param ends `topic-partition` -> the last stable offset now; the heartbeat's is taken where there is none */
export function viewOf(id: string, copies: readonly Copy[], ends: ReadonlyMap<string, Offset>): ConsumerView {
  const partitions = copies.flatMap(({ beat, status }) =>
    status.partitions.map(({ topic, partition, position, end: last, lagSeconds }) => {
      const end = Math.max(position, Number(ends.get(`${topic}-${partition}`) ?? last));
      const lag = end - position;
      const seconds = lag === 0 ? 0 : lagSeconds;
      return { topic, partition, instance: beat.instance, position: String(position), end: String(end), lag, lagSeconds: seconds };
    }),
  );
  const slowest = new Map<string, number>();
  for (const { topic, partition, lag } of partitions) {
    const key = `${topic}-${partition}`;
    slowest.set(key, Math.max(lag, slowest.get(key) ?? 0));
  }
  const states = copies.map(({ status }) => status.state);
  return {
    id,
    state: urgency.find((state) => (states as string[]).includes(state)) ?? 'unknown',
    paused: copies.every(({ status }) => status.paused),
    recordsPerSecond: copies.find(({ status }) => status.recordsPerSecond !== null)?.status.recordsPerSecond ?? null,
    epoch: String(Math.min(...copies.map(({ status }) => status.epoch))),
    error: copies.find(({ status }) => status.error !== null)?.status.error ?? null,
    lag: {
      records: [...slowest.values()].reduce((sum, lag) => sum + lag, 0),
      seconds: Math.max(0, ...partitions.map(({ lagSeconds }) => lagSeconds)),
    },
    partitions: partitions.sort((a, b) => (a.topic < b.topic ? -1 : a.topic > b.topic ? 1 : a.partition - b.partition)),
    instances: copies.map(({ beat, status }) => ({
      instance: beat.instance,
      bundle: beat.bundle,
      version: beat.version,
      state: status.state,
      paused: status.paused,
      stepsLeft: status.stepsLeft,
      epoch: String(status.epoch),
      error: status.error,
      seenAt: new Date(beat.at).toISOString(),
    })),
  };
}

export const orderResult = z.object({
  order: z.string().describe('Offset of the order on the control topic'),
  acknowledged: z.boolean().describe('false: not every instance has said so in time; the order stands, and they will'),
  records: z.int().describe('Dead letters that it resolved'),
  failed: z.string().nullable().describe('Why the record at which a retry stopped failed again'),
  consumer: consumerView,
});
export type OrderResult = z.infer<typeof orderResult>;

/** What all instances say of one order. */
export function answersOf(order: number, copies: readonly Copy[]): Omit<OrderAnswer, 'order'> {
  const answers = copies.flatMap(({ status }) => status.answers.filter((answer) => answer.order === order));
  return {
    refused: answers.find(({ refused }) => refused !== null)?.refused ?? null,
    records: answers.reduce((sum, { records }) => sum + records, 0),
    failed: answers.find(({ failed }) => failed !== null)?.failed ?? null,
  };
}
