import { setMaxListeners } from 'node:events';
import { fileURLToPath } from 'node:url';
import { superviseChild, type SupervisedChild } from '@spool/embedded';
import { createCodec, createHttpRegistry } from '@spool/schemas';
import { startRegistryServer } from '@spool/schemas/testing';
import { createGateway, openRegistry, openReplies } from '@spool/sdk';
import { connectKafka, platformTopics, topicCatalogue, type Kafka, type TopicCatalogue } from '@spool/streams';
import { join } from 'node:path';
import { nodeCommand } from '../../engine/start.js';
import { again, disturbAll, instances, plan, quietMs, sessionTimeoutMs } from '../disturbances.js';
import type { CommandTampering } from '../instance/tampering.js';
import { randomOf } from '../random.js';
import { Account } from './account.js';
import { startClients, type Clients, type ClientsOptions } from './clients.js';
import { violations, type Call } from './history.js';
import type { AccountsConfig } from './instance.js';
import { readLog } from './log.js';

export interface CommandsChaosOptions {
  readonly brokers: readonly string[];
  readonly dataDir: string;
  readonly seed: number;
  /** How often an instance is killed; a fifth as often, and once at least, one is stopped past its session, and one is restarted in order. */
  readonly kills: number;
  readonly commands: number;
  readonly clients: number;
  readonly aggregates: number;
  /** How ownership is fenced. */
  readonly transactions: 'instance' | 'partition';
  /** A violation on purpose. @default none */
  readonly tampering?: CommandTampering;
  /** All of it ends by then, in milliseconds, or has failed. */
  readonly deadlineMs: number;
  readonly progress: (line: string) => void;
}

/** A killed one is away for a session and a start, on two cores. */
const msPerDisturbance = 4000;

/**
 * Clients send commands while two instances are killed, stopped and restarted.
 * @returns what is wrong in the end; empty when what the clients were told and the log agree
 */
export async function chaosCommands(options: CommandsChaosOptions): Promise<readonly string[]> {
  const { seed, kills, commands, progress } = options;
  const disturbances = plan(seed, kills, commands, Math.floor(kills / 5));
  return withAccounts({ ...options, sessionTimeoutMs }, async ({ start, children, check }) => {
    const over = AbortSignal.timeout(options.deadlineMs);
    setMaxListeners(0, over);
    const rate = commands / Math.max(1, (disturbances.length * msPerDisturbance) / 1000);
    const clients = start({ clients: options.clients, commands, aggregates: options.aggregates, rate, random: randomOf(seed + 1), over });
    const failed: string[] = [];
    try {
      await disturbAll({ children, plan: disturbances, answered: () => clients.answered, over, progress });
      await clients.ended;
    } catch (thrown) {
      // Where nothing moves any more the check says more than the time that ran out.
      if (!over.aborted) throw thrown;
      failed.push(`it did not end within ${options.deadlineMs} ms`);
    }
    // What stands open is decided before the log is read.
    await Promise.all(children.map((child) => child.untilReady(quietMs)));
    await Promise.all(children.map((child) => child.close()));
    progress(summaryOf(clients.history));
    return [...failed, ...(await check(clients.history))];
  });
}

export interface AccountsStage {
  readonly kafka: Kafka;
  readonly topics: TopicCatalogue;
  readonly children: readonly SupervisedChild[];
  start(options: Omit<ClientsOptions, 'gateway'>): Clients;
  /** Holds it against the log. */
  check(history: readonly Call[]): Promise<readonly string[]>;
}

type StageOptions = Pick<CommandsChaosOptions, 'brokers' | 'dataDir' | 'seed' | 'transactions' | 'tampering'> & {
  readonly sessionTimeoutMs: number;
};

/** Two instances of the accounts in processes of their own, and a gateway here, which is not disturbed. */
export async function withAccounts<T>(options: StageOptions, work: (stage: AccountsStage) => Promise<T>): Promise<T> {
  const { brokers, dataDir, transactions } = options;
  const namespace = `chaos-${options.seed}-${Date.now().toString(36)}.`;
  const topics = topicCatalogue({ namespace });
  await using schemas = await startRegistryServer();
  await using kafka = await connectKafka({ brokers, clientId: 'chaos' });
  await kafka.admin.ensureTopics(platformTopics(topics));
  const codec = createCodec({ registry: createHttpRegistry({ url: schemas.url }) });
  const children = await Promise.all(
    instances.map((instance) => {
      const { sessionTimeoutMs, tampering } = options;
      const config = { instance, brokers, schemaRegistryUrl: schemas.url, namespace, dataDir, sessionTimeoutMs, transactions, tampering };
      return startAccountsProcess(config);
    }),
  );
  try {
    const onError = (thrown: unknown): void => {
      throw thrown;
    };
    await using producer = await kafka.producer();
    await using replies = await openReplies({
      kafka,
      codec,
      topic: topics.replies('chaos'),
      slot: 0,
      now: Date.now,
      onError: () => undefined,
    });
    await using registry = await openRegistry({ kafka, codec, topics, onError });
    const gateway = createGateway({ codec, topics, producer, replies, registry, source: 'chaos', now: Date.now });
    return await work({
      kafka,
      topics,
      children,
      start: (of) => startClients({ gateway, ...of }),
      check: async (history) => [...unanswered(history), ...violations(history, await readLog(kafka, topics.events(Account.name).name))],
    });
  } finally {
    await Promise.all(children.map((child) => child.close()));
  }
}

const accountsMain = fileURLToPath(new URL('main.js', import.meta.url));

/** One instance in a process of its own, started again whenever it dies. */
export const startAccountsProcess = (config: AccountsConfig): Promise<SupervisedChild> =>
  superviseChild({
    ...nodeCommand([accountsMain, JSON.stringify(config)]),
    name: config.instance,
    logFile: join(config.dataDir, `${config.instance}.log`),
    restart: again,
  });

const unanswered = (history: readonly Call[]): readonly string[] =>
  history.flatMap(({ commandId, attempts }) =>
    attempts.at(-1)?.outcome.kind === 'unknown' ? [`${commandId}: never got an answer, in ${attempts.length} attempts`] : [],
  );

/** How often what was told: a run without conflicts and repetitions shows little. */
export function summaryOf(history: readonly Call[]): string {
  const counts = new Map<string, number>();
  for (const { attempts } of history) {
    for (const { outcome } of attempts) {
      const what = 'code' in outcome ? outcome.code : outcome.kind;
      counts.set(what, (counts.get(what) ?? 0) + 1);
    }
  }
  return `${history.length} commands: ${[...counts].map(([what, count]) => `${count} ${what}`).join(', ')}`;
}
