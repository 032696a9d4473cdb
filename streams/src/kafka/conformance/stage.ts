import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { SpoolError, type ErrorCode } from '@spool/schemas';
import type {
  Assignment,
  ConsumedRecord,
  Kafka,
  Membership,
  MembershipOptions,
  ProducerRecord,
  Reader,
  Slice,
  TopicSpec,
} from '../port.js';

export const DAY_MS = 86_400_000;
/** More than the topics of this suite take. */
export const TOO_LARGE = Buffer.alloc(1_100_000);
const MAX_MESSAGE_BYTES = '1048588';

export async function newTopic(kafka: Kafka, spec: Partial<TopicSpec> = {}): Promise<string> {
  const topic = `conformance-${randomUUID()}`;
  const config = { 'max.message.bytes': MAX_MESSAGE_BYTES, ...spec.config };
  await kafka.admin.ensureTopics([{ name: topic, partitions: 1, cleanup: 'delete', retentionMs: DAY_MS, ...spec, config }]);
  return topic;
}

export async function write(kafka: Kafka, topic: string, ...values: readonly string[]): Promise<void> {
  const producer = await kafka.producer();
  await producer.sendAll(values.map((value) => record(topic, value)));
  await producer.close();
}

/** All that a read-committed reader sees. */
export async function read(kafka: Kafka, topic: string, partitions = 1): Promise<readonly ConsumedRecord[]> {
  const reader = await kafka.reader();
  for (let partition = 0; partition < partitions; partition++) reader.assign({ topic, partition }, 'earliest');
  const slices = await untilCaughtUp(reader, partitions);
  await reader.close();
  return slices.flatMap(({ records }) => records);
}

export const record = (topic: string, value: string): ProducerRecord => ({ topic, key: 'key', value: Buffer.from(value) });
export const text = (value: Buffer | null): string => value?.toString() ?? '';
export const numbers = (partitions: Assignment['partitions'], topic: string): readonly number[] =>
  partitions
    .filter((p) => p.topic === topic)
    .map((p) => p.partition)
    .sort();

export const settled = async (promise: Promise<unknown>): Promise<PromiseSettledResult<unknown>> =>
  (await Promise.allSettled([promise]))[0];
export function codeOf(result: PromiseSettledResult<unknown>): ErrorCode | 'ok' {
  if (result.status === 'fulfilled') return 'ok';
  if (result.reason instanceof SpoolError) return result.reason.code;
  throw result.reason;
}

/** A wait that a test gives up on, so that what fails does not run for ever. */
const PATIENCE_MS = 25_000;

/** Waits for a condition. */
export async function until(condition: () => boolean): Promise<void> {
  const end = performance.now() + PATIENCE_MS;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`waited ${PATIENCE_MS} ms in vain for ${condition.toString()}`);
    await sleep(5);
  }
}

/** Fetches until as many partitions as said are caught up. */
export async function untilCaughtUp(reader: Reader, partitions: number): Promise<readonly Slice[]> {
  const all: Slice[] = [];
  const done = new Set<string>();
  const end = performance.now() + PATIENCE_MS;
  while (done.size < partitions) {
    if (performance.now() > end) throw new Error(`not caught up within ${PATIENCE_MS} ms`);
    for (const slice of await reader.fetch()) {
      all.push(slice);
      if (slice.nextOffset >= slice.lastStableOffset) done.add(`${slice.topic}-${slice.partition}`);
    }
  }
  return all;
}

export interface Joined {
  readonly groupId: string;
  readonly membership: Membership;
  /** `assigned <count>`, `rebalance`, `lost`, in order. */
  readonly events: readonly string[];
  /** The assignment in force, once it has this many partitions. */
  assigned(count: number): Promise<Assignment>;
  lastAssigned(): Promise<Assignment>;
}

export async function join(
  kafka: Kafka,
  options: Pick<MembershipOptions, 'groupId' | 'topics'> & {
    onAssigned?: MembershipOptions['onAssigned'];
    onRebalance?: (membership: Membership) => Promise<unknown>;
  },
): Promise<Joined> {
  const events: string[] = [];
  const membership: Membership = await kafka.membership({
    groupId: options.groupId,
    topics: options.topics,
    onAssigned: async (assignment, signal) => {
      events.push(`assigned ${assignment.partitions.length}`);
      await options.onAssigned?.(assignment, signal);
    },
    onRebalance: async () => {
      events.push('rebalance');
      await options.onRebalance?.(membership);
    },
    onLost: () => events.push('lost'),
  });
  const lastAssigned = async (): Promise<Assignment> => {
    await until(() => membership.assignment !== undefined);
    return membership.assignment!;
  };
  const assigned = async (count: number): Promise<Assignment> => {
    await until(() => membership.assignment?.partitions.length === count);
    return membership.assignment!;
  };
  return { groupId: options.groupId, membership, events, assigned, lastAssigned };
}
