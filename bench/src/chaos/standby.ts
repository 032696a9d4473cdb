import { setTimeout as sleep } from 'node:timers/promises';
import type { SupervisedChild } from '@spool/embedded';
import { connectKafka, readToEnd, type Kafka } from '@spool/streams';
import { observe } from '../engine/observe.js';
import { countOf, tableRecord, type Answers } from '../engine/workload.js';
import { startInstance } from './engine.js';
import { counterOf } from './evidence.js';
import { chaosTopics } from './instance/instance.js';

export interface StandbyOptions {
  readonly brokers: readonly string[];
  readonly dataDir: string;
  /** Rows of the store, all in one partition. */
  readonly keys: number;
  readonly standbys: 0 | 1;
  readonly sessionTimeoutMs: number;
  readonly progress: (line: string) => void;
}

const quietMs = 60_000;
const instances = ['one', 'two'] as const;

/**
 * Kills the owner of a large store while records come.
 * @returns milliseconds from the kill to the first visible result of a record that was sent after it
 */
export async function chaosStandby(options: StandbyOptions): Promise<number> {
  const { brokers, dataDir, keys, standbys, sessionTimeoutMs, progress } = options;
  const namespace = `standby-${standbys}-${Date.now().toString(36)}.`;
  const topics = chaosTopics({ namespace });
  await using kafka = await connectKafka({ brokers, clientId: 'chaos' });
  await kafka.admin.ensureTopics(
    [topics.input, topics.output].map((name) => ({ name, partitions: 1, cleanup: 'delete', retentionMs: -1 }) as const),
  );
  const children: SupervisedChild[] = [];
  try {
    for (const instance of instances) {
      const shared = { brokers, namespace, dataDir, sessionTimeoutMs, standbys, transactions: 'instance', tampering: undefined } as const;
      children.push(await startInstance({ ...shared, instance }, 'stays dead'));
    }
    const sentAt: number[] = [];
    const answers = resultsOf(keys, sentAt);
    await using observer = await observe(kafka, topics.output, answers, 1);
    await using producer = await kafka.producer();
    // 1. A row for each key.
    const perCall = 5000;
    for (let from = 0; from < keys; from += perCall) {
      await producer.sendAll(Array.from({ length: Math.min(perCall, keys - from) }, (_, index) => tableRecord(topics.input, from + index)));
      // The input is cached by nobody; wait, so that a slow counter is not far behind.
      while (from - answers.answered > 20 * perCall) await sleep(5);
    }
    answers.expect('all');
    await observer.untilAnswered(quietMs);
    const owner = await ownerOf(kafka, namespace);
    progress(`${keys} rows; ${instances[owner]} owns them`);
    // 2. Records go on coming; the owner is killed.
    let killedAt = Number.POSITIVE_INFINITY;
    const takenOver = new Promise<number>((resolve) => {
      observer.onAnswer = (number, at) => {
        if ((sentAt[number] ?? 0) > killedAt) resolve(at - killedAt);
      };
    });
    const failed = sleep(quietMs, undefined, { ref: false }).then(() => {
      throw new Error(`nobody took over within ${quietMs} ms`);
    });
    failed.catch(() => undefined);
    const over = new AbortController();
    const probing = (async () => {
      for (let probe = 0; !over.signal.aborted; probe = (probe + 1) % keys) {
        sentAt[probe] = performance.now();
        void producer.send(tableRecord(topics.input, probe));
        await sleep(10);
      }
    })();
    await sleep(2000);
    const killing = children[owner]!.kill();
    killedAt = performance.now();
    await killing;
    const ms = await Promise.race([takenOver, failed]);
    over.abort();
    await probing;
    return ms;
  } finally {
    await Promise.all(children.map((child) => child.close()));
  }
}

/** The first result of a key answers its row; the second answers the probe of the same number. */
function resultsOf(keys: number, sentAt: readonly number[]): Answers {
  let rows = 0;
  return {
    expect: () => undefined,
    take({ key, value }) {
      const number = Number(key!.toString().slice(1));
      if (countOf(value!) > 1) return sentAt[number] === undefined ? [] : [number];
      rows += 1;
      return [-1];
    },
    expected: keys,
    get answered() {
      return rows;
    },
  };
}

/** By the last claim in the changelog that was not taken back. */
async function ownerOf(kafka: Kafka, namespace: string): Promise<0 | 1> {
  const claims = new Set<string>();
  await readToEnd({
    kafka,
    partition: { topic: counterOf(namespace).changelog, partition: 0 },
    from: 'earliest',
    apply: (records) => {
      for (const { key, value } of records) {
        const name = key?.toString() ?? '';
        if (!name.startsWith('c/0/')) continue;
        if (value === null) claims.delete(name);
        else claims.add(name);
      }
      return Promise.resolve();
    },
  });
  const owner = [...claims].at(-1) ?? '';
  return owner.includes(`/${instances[0]}.`) ? 0 : 1;
}
