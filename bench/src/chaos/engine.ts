import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import { superviseChild, type SupervisedChild } from '@spool/embedded';
import { connectKafka } from '@spool/streams';
import { observe } from '../engine/observe.js';
import { nodeCommand, once } from '../engine/start.js';
import { countOf, inputRecord, keyOf, partitions, type Answers } from '../engine/workload.js';
import { differences } from './check.js';
import { again, disturbAll, instances, msPerKill, plan, quietMs, sessionTimeoutMs } from './disturbances.js';
import { collect } from './evidence.js';
import { chaosTopics, type ChaosInstanceConfig } from './instance/instance.js';
import type { Tampering } from './instance/tampering.js';

export interface ChaosOptions {
  readonly brokers: readonly string[];
  readonly dataDir: string;
  /** Of the points at which, and the instances to which, something happens. */
  readonly seed: number;
  /** How often an instance is killed; a fifth as often, and once at least, one is stopped past its session and goes on. */
  readonly kills: number;
  readonly records: number;
  readonly keys: number;
  /** Instances that keep a task's counts warm beside its owner. */
  readonly standbys: 0 | 1;
  /** How ownership is fenced. */
  readonly transactions: ChaosInstanceConfig['transactions'];
  /** A violation on purpose. @default none */
  readonly tampering?: Tampering;
  /** All of it ends by then, in milliseconds, or has failed. */
  readonly deadlineMs: number;
  readonly progress: (line: string) => void;
}

/**
 * Two instances count records by key, exactly-once, while records come and instances are killed and stopped.
 * @returns what is wrong in the end; empty when each record was counted once
 * @throws Error when it does not end in time
 */
export async function chaosEngine(options: ChaosOptions): Promise<readonly string[]> {
  const { records, keys, progress, dataDir } = options;
  const namespace = `chaos-${options.seed}-${Date.now().toString(36)}.`;
  const topics = chaosTopics({ namespace });
  await using kafka = await connectKafka({ brokers: options.brokers, clientId: 'chaos' });
  await kafka.admin.ensureTopics(
    [topics.input, topics.output].map((name) => ({ name, partitions, cleanup: 'delete', retentionMs: -1 }) as const),
  );
  const over = AbortSignal.timeout(options.deadlineMs);
  const children = await Promise.all(
    instances.map((instance) =>
      startInstance(
        {
          instance,
          brokers: options.brokers,
          namespace,
          dataDir,
          sessionTimeoutMs,
          standbys: options.standbys,
          transactions: options.transactions,
          tampering: options.tampering,
        },
        'again',
      ),
    ),
  );
  try {
    const answers = distinctAnswers();
    await using observer = await observe(kafka, topics.output, answers);
    // 1. Records come, and instances go.
    const producer = await kafka.producer();
    const sent = new Map<string, number>();
    const producing = (async () => {
      const began = performance.now();
      const rate = records / Math.max(1, options.kills * msPerKill);
      for (let index = 0; index < records;) {
        over.throwIfAborted();
        const due = Math.min(records, Math.ceil((performance.now() - began) * rate));
        const group = Array.from({ length: due - index }, (_, at) => index + at);
        for (const at of group) {
          const key = keyOf(at, keys);
          sent.set(key, (sent.get(key) ?? 0) + 1);
          answers.expect(key);
        }
        await producer.sendAll(group.map((at) => inputRecord(topics.input, at, keys)));
        index = due;
        await sleep(5);
      }
    })();
    producing.catch(() => undefined);
    await disturbAll({
      children,
      plan: plan(options.seed, options.kills, records),
      answered: () => answers.answered,
      over,
      progress,
    });
    await producing;
    // 2. What is left is counted, or nothing moves any more: then the check says what is missing.
    await observer.untilAnswered(quietMs).catch((thrown: unknown) => progress((thrown as Error).message));
    await Promise.all(children.map((child) => child.untilReady(quietMs)));
    await Promise.all(children.map((child) => child.close()));
    // 3. What have they left behind?
    const evidence = await collect({ kafka, namespace, partitions, instances, dataDir });
    return differences({ sent, ...evidence });
  } finally {
    await Promise.all(children.map((child) => child.close()));
  }
}

const instanceMain = fileURLToPath(new URL('instance/main.js', import.meta.url));

/** @param whenItDies `again`: it is started again, as often as it takes */
export function startInstance(config: ChaosInstanceConfig, whenItDies: 'again' | 'stays dead'): Promise<SupervisedChild> {
  return superviseChild({
    ...nodeCommand([instanceMain, JSON.stringify(config)]),
    name: config.instance,
    logFile: join(config.dataDir, `${config.instance}.log`),
    restart: whenItDies === 'again' ? again : once,
  });
}

/** Counts results that were not seen before; what is wrong with them is found at the end. */
function distinctAnswers(): Answers {
  const seen = new Set<string>();
  let expected = 0;
  return {
    expect: () => void (expected += 1),
    take({ key, value }) {
      const result = `${key!.toString()}/${countOf(value!)}`;
      if (seen.has(result)) return [];
      return [seen.add(result).size - 1];
    },
    get expected() {
      return expected;
    },
    get answered() {
      return seen.size;
    },
  };
}
