import { setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { EmbeddedKafka } from '@spool/embedded';
import { partitionOf } from '@spool/streams';
import kafkajs from 'kafkajs';
import { quietMs } from '../disturbances.js';
import { randomOf } from '../random.js';
import { Account } from './account.js';
import { summaryOf, withAccounts } from './commands.js';

export interface LeaderOptions {
  /** Three brokers. */
  readonly kafka: EmbeddedKafka;
  readonly dataDir: string;
  readonly seed: number;
  /** How long the broker is away, in milliseconds. */
  readonly awayMs: number;
  /** Commands a second, at the most. */
  readonly rate: number;
  readonly clients: number;
  readonly progress: (line: string) => void;
}

export interface LeaderReport {
  /** What is wrong, a sentence each; empty when nothing acknowledged was lost. */
  readonly found: readonly string[];
  /** Milliseconds from the kill until the metadata name another leader. */
  readonly electedMs: number;
  /** Milliseconds from the kill, and from there, to the first command of that partition that was acknowledged after it. */
  readonly resumedMs: number;
  readonly afterElectionMs: number;
}

const sessionTimeoutMs = 6000;
const settleMs = 4000;
const victimPartition = 0;

/** Kills the leader of a partition of the events under load and keeps its broker away; all clients' histories are held against the log. */
export async function chaosLeader(options: LeaderOptions): Promise<LeaderReport> {
  const { kafka: cluster, awayMs, rate, progress } = options;
  const brokers = cluster.bootstrap;
  return withAccounts(
    { ...options, brokers, sessionTimeoutMs, transactions: 'instance' },
    async ({ kafka, topics, children, start, check }) => {
      const events = topics.events(Account.name);
      const found: string[] = [];
      // 1. Topics on three brokers survive one.
      for (const topic of await kafka.admin.describeTopics([
        events.name,
        topics.commands(Account.name).name,
        topics.snapshots(Account.name).name,
      ])) {
        const minIsr = topic.config['min.insync.replicas'];
        if (topic.replicationFactor !== 3 || minIsr !== '2')
          found.push(`${topic.name} has ${topic.replicationFactor} replicas, of which ${minIsr ?? '?'} must have what is acknowledged`);
      }
      const enough = new AbortController();
      const over = AbortSignal.timeout(awayMs + 300_000);
      setMaxListeners(0, over);
      let killedAt = Number.POSITIVE_INFINITY;
      let electedAt = Number.POSITIVE_INFINITY;
      let resumedAt: number | undefined;
      const clients = start({
        clients: options.clients,
        commands: Number.POSITIVE_INFINITY,
        enough: enough.signal,
        aggregates: 60,
        rate,
        random: randomOf(options.seed),
        over,
        onAttempt: ({ aggregateId }, { returnedAt, outcome: { kind } }) => {
          if (returnedAt < electedAt || resumedAt !== undefined || (kind !== 'applied' && kind !== 'duplicate')) return;
          if (partitionOf(aggregateId, events.partitions) === victimPartition) resumedAt = returnedAt;
        },
      });
      while (clients.answered < rate * 2) await sleep(20, undefined, { signal: over });
      // 2. The leader goes, and another is elected.
      const leader = await leaderOf(brokers, events.name, victimPartition);
      const killing = cluster.kill(leader - 1, awayMs);
      killedAt = Date.now();
      await killing;
      const others = brokers.filter((_, index) => index !== leader - 1);
      await untilLeader(others, events.name, victimPartition, (now) => now >= 0 && now !== leader, over);
      electedAt = Date.now();
      progress(`broker ${leader} led ${events.name}-${victimPartition}; another does ${electedAt - killedAt} ms after the kill`);
      // 3. It comes back, and work goes on until all is answered.
      await cluster.untilReady(awayMs + quietMs);
      progress(`broker ${leader} is back after ${Date.now() - killedAt} ms; ${clients.answered} commands are answered`);
      await sleep(settleMs);
      enough.abort();
      await clients.ended;
      await Promise.all(children.map((child) => child.close()));
      progress(summaryOf(clients.history));
      const resumed = resumedAt ?? Number.POSITIVE_INFINITY;
      return {
        found: [...found, ...(await check(clients.history))],
        electedMs: electedAt - killedAt,
        resumedMs: resumed - killedAt,
        afterElectionMs: resumed - electedAt,
      };
    },
  );
}

/** The node id of the leader, by the metadata. */
async function leaderOf(brokers: readonly string[], topic: string, partition: number): Promise<number> {
  let leader = -1;
  await untilLeader(brokers, topic, partition, (now) => (leader = now) >= 0, AbortSignal.timeout(quietMs));
  return leader;
}

async function untilLeader(
  brokers: readonly string[],
  topic: string,
  partition: number,
  is: (leader: number) => boolean,
  signal: AbortSignal,
): Promise<void> {
  const admin = new kafkajs.Kafka({ clientId: 'leader', brokers: [...brokers], logLevel: kafkajs.logLevel.NOTHING }).admin();
  await admin.connect();
  try {
    for (;;) {
      const { topics } = await admin.fetchTopicMetadata({ topics: [topic] }).catch(() => ({ topics: [] }));
      if (is(topics[0]?.partitions.find(({ partitionId }) => partitionId === partition)?.leader ?? -1)) return;
      await sleep(50, undefined, { signal });
    }
  } finally {
    await admin.disconnect();
  }
}
