import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { createCodec, createHttpRegistry, SpoolError, type InstanceRow } from '@spool/schemas';
import { openInstances, openRegistry, type RegisteredBundle } from '@spool/sdk';
import { connectKafka, openInstance, platformTopics, topicCatalogue } from '@spool/streams';
import { openSettings } from '../cluster/index.js';
import { openVoice, type Run } from './members.js';

export interface ChaosOptions {
  readonly brokers: readonly string[];
  readonly schemaRegistryUrl: string;
  /** Of topics and groups that nobody else uses, with its dot. */
  readonly namespace: string;
  /** An empty folder. */
  readonly dataDir: string;
  /** The same seed gives the same actions; their timing differs. */
  readonly seed: number;
  /** How long instances come and go, in seconds; what follows from it takes some more. */
  readonly seconds: number;
  /** Also kills the projecting process, which takes the group seconds to find out. */
  readonly kills: boolean;
  readonly log: (line: string) => void;
}

export interface ChaosReport {
  readonly seed: number;
  readonly actions: Readonly<Record<string, number>>;
  /** How long the projection took to equal the model when the last action was done, in milliseconds. */
  readonly settledMs: number;
  /** What should never have been written; empty when all is well. */
  readonly violations: readonly string[];
  /** The model and the projection at the end: equal when all is well. */
  readonly expected: State;
  readonly projected: State;
}
export interface State {
  readonly bundles: Readonly<Record<string, readonly string[]>>;
  readonly instances: Readonly<Record<string, string>>;
}

const indexes = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
const bundles = ['alpha', 'beta', 'gamma'];
const versions = ['1.0.0', '1.1.0'];
const times = { heartbeatMs: 300, suspectAfterMissed: 4, downMs: 3000 };
const settleWithinMs = 30_000;

type Action = readonly [name: string, weight: number, act: () => Promise<boolean>];

/**
 * Ten instances of three bundles start, leave, are killed and speak too late, in random order, while the process that projects them is stopped or
 * killed and started again. At the end the registry and the cluster must be what the model of the same announcements says, and meanwhile nobody
 * who lived may have been declared down.
 */
export async function chaosRegistry(options: ChaosOptions): Promise<ChaosReport> {
  const { seed, namespace, log } = options;
  const topics = topicCatalogue({ namespace });
  const random = randomFrom(seed);
  await using kafka = await connectKafka({ brokers: options.brokers, clientId: 'chaos' });
  const codec = createCodec({ registry: createHttpRegistry({ url: options.schemaRegistryUrl }) });
  await kafka.admin.ensureTopics(platformTopics(topics));
  const onError = (error: unknown): void => log(`a row cannot be read: ${String(error)}`);
  await using registry = await openRegistry({ kafka, codec, topics, onError });
  await using instances = await openInstances({ kafka, codec, topics, onError });
  await using producer = await kafka.producer();
  const voice = await openVoice(codec, topics, producer);

  // 1. Short times, so that much happens.
  await using teller = await openInstance({
    kafka,
    codec,
    topics,
    bundle: 'chaos',
    version: '1.0.0',
    instance: 'chaos-0',
    dataDir: join(options.dataDir, 'chaos'),
    log: () => undefined,
    now: Date.now,
  });
  await (await openSettings(teller)).change(times, undefined, { name: 'chaos', roles: [] });

  // 2. The model: the last run of each instance, and whether it lives, was killed or has left.
  const latest = new Map<string, { readonly run: Run; state: 'up' | 'down' | 'gone' }>();
  const replaced: Run[] = [];
  const living = (): Run[] => [...latest.values()].filter(({ state }) => state === 'up').map(({ run }) => run);
  const expected = (): State => ({
    bundles: byBundle([...latest.values()].filter(({ state }) => state !== 'gone').map(({ run }) => run)),
    instances: Object.fromEntries([...latest].map(([id, { run, state }]) => [id, `${state} ${run.version} ${run.incarnation}`])),
  });
  const projected = (): State => ({
    bundles: Object.fromEntries(
      registry
        .bundles()
        .filter((row) => row.instances.length > 0)
        .map((row) => [`${row.id}@${row.version}`, row.instances]),
    ),
    instances: Object.fromEntries(
      instances
        .list()
        .filter((row) => bundles.includes(row.bundle))
        .map((row) => [row.instance, `${row.state} ${row.version} ${row.incarnation}`]),
    ),
  });

  // 3. What may never be written.
  const violations: string[] = [];
  const lastRow = new Map<string, InstanceRow>();
  instances.table.onChange((key, row) => {
    const before = lastRow.get(key);
    if (row === undefined) violations.push(`${key} was forgotten`);
    else {
      const same =
        before !== undefined && before.state === row.state && before.incarnation === row.incarnation && before.reason === row.reason;
      if (same) violations.push(`${key} was written again without a transition: ${row.state}`);
      const run = latest.get(row.instance);
      if (row.state === 'down' && run?.state === 'up' && run.run.incarnation === row.incarnation) {
        violations.push(`${key} was declared down while it lived (${row.reason})`);
      }
      lastRow.set(key, row);
    }
  });
  const lastBundle = new Map<string, RegisteredBundle>();
  registry.table.onChange((key, row) => {
    const before = lastBundle.get(key);
    if (row === undefined) violations.push(`${key} was removed`);
    else {
      if (before !== undefined && row.generation <= before.generation) violations.push(`${key} went back to generation ${row.generation}`);
      lastBundle.set(key, row);
    }
  });

  // 4. What happens.
  const counts: Record<string, number> = {};
  let runs = 0;
  let projecting = await startProjecting(options, 0);
  const pick = <T>(from: readonly T[]): T | undefined => from[Math.floor(random() * from.length)];
  const startAt = async (index: number, version: string): Promise<void> => {
    const instance = instanceOf(index);
    const before = latest.get(instance);
    if (before?.state === 'down') replaced.push(before.run);
    const run = { instance, bundle: bundles[index % bundles.length]!, version, incarnation: `run-${++runs}`, startedAt: Date.now() };
    latest.set(instance, { run, state: 'up' });
    await voice.announce(run);
    await voice.beat([run], 'starting');
    await voice.beat([run], 'up');
  };
  const start = async (): Promise<boolean> => {
    const lives = new Set(living().map(({ instance }) => instance));
    const index = pick(indexes.filter((each) => !lives.has(instanceOf(each))));
    if (index !== undefined) await startAt(index, pick(versions)!);
    return index !== undefined;
  };
  const end = async (state: 'down' | 'gone', lastWords: (run: Run) => Promise<void>): Promise<boolean> => {
    const run = pick(living());
    if (run === undefined) return false;
    latest.get(run.instance)!.state = state;
    await lastWords(run);
    return true;
  };
  const words = [
    (run: Run) => voice.announce(run),
    (run: Run) => voice.leave(run),
    (run: Run) => voice.beat([run], 'up'),
    (run: Run) => voice.beat([run], 'stopping'),
  ];
  const speakLate = async (): Promise<boolean> => {
    const run = pick(replaced);
    if (run !== undefined) await pick(words)!(run);
    return run !== undefined;
  };
  const restart = async (kill: boolean, awayMs = 0): Promise<boolean> => {
    const ended = once(projecting, 'exit');
    if (kill) projecting.kill('SIGKILL');
    else projecting.disconnect();
    await ended;
    await sleep(awayMs);
    projecting = await startProjecting(options, kill ? runs : 0);
    return true;
  };
  const takeLeave = async (run: Run): Promise<void> => {
    await voice.leave(run);
    await voice.beat([run], 'stopping');
  };
  const actions: readonly Action[] = [
    ['leave', 10, () => end('gone', takeLeave)],
    ['kill', 10, () => end('down', () => Promise.resolve())],
    ['speak late', 12, speakLate],
    [
      'announce again',
      8,
      async () => {
        const run = pick(living());
        if (run !== undefined) await voice.announce(run);
        return run !== undefined;
      },
    ],
    ['start', 30, start],
    ['stop the projecting process', 1, () => restart(false)],
    ...(options.kills ? [['kill the projecting process', 0.5, () => restart(true)] as const] : []),
  ];
  const perform = async ([name, , act]: Action): Promise<void> => {
    if (await act()) counts[name] = (counts[name] ?? 0) + 1;
  };
  const total = actions.reduce((sum, [, weight]) => sum + weight, 0);
  // A heartbeat must not overtake the last word of its run, nor follow it.
  let beating: Promise<void> = Promise.resolve();
  const beats = setInterval(() => {
    beating = beating.then(() => voice.beat(living(), 'up')).catch((error: unknown) => log(String(error)));
  }, times.heartbeatMs);
  try {
    // What must have happened however the dice fall: all start; three are killed, start again and speak of the run before; and the projecting
    // process is away for longer than anybody may be silent.
    for (const index of indexes) await startAt(index, versions[0]!);
    for (const index of indexes.slice(0, 3)) {
      const { run } = latest.get(instanceOf(index))!;
      latest.get(run.instance)!.state = 'down';
      await startAt(index, run.version);
      for (const speak of words) await speak(run);
    }
    await restart(false, times.downMs + 500);
    for (const action of actions.slice(0, 5)) await perform(action);
    const until = Date.now() + options.seconds * 1000;
    while (Date.now() < until) {
      let at = random() * total;
      await perform(actions.find(([, weight]) => (at -= weight) < 0) ?? actions[0]!);
      await sleep(20 + random() * 180);
    }
    // 5. What has become of it.
    const began = Date.now();
    const equal = (): boolean => JSON.stringify(sorted(projected())) === JSON.stringify(sorted(expected()));
    while (!equal() && Date.now() - began < settleWithinMs) await sleep(50);
    return {
      seed,
      actions: counts,
      settledMs: Date.now() - began,
      violations,
      expected: sorted(expected()),
      projected: sorted(projected()),
    };
  } finally {
    clearInterval(beats);
    await beating;
    const ended = projecting.exitCode === null ? once(projecting, 'exit') : undefined;
    if (projecting.connected) projecting.disconnect();
    await ended;
  }
}

const instanceOf = (index: number): string => `${bundles[index % bundles.length]!}-${index}`;

async function startProjecting({ brokers, schemaRegistryUrl, namespace, dataDir }: ChaosOptions, number: number): Promise<ChildProcess> {
  const file = fileURLToPath(new URL('./projecting-process.js', import.meta.url));
  const child = fork(file, [brokers.join(','), schemaRegistryUrl, namespace, `platform-${number}`, join(dataDir, 'platform')], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const failed = once(child, 'exit').then(() => {
    throw new SpoolError('CHILD_FAILED', `the projecting process ended with ${child.exitCode ?? child.signalCode ?? 'nothing'}`);
  });
  failed.catch(() => undefined);
  await Promise.race([once(child, 'message'), failed]);
  return child;
}

function byBundle(runs: readonly Run[]): Record<string, string[]> {
  const found: Record<string, string[]> = {};
  for (const { bundle, version, instance } of runs) (found[`${bundle}@${version}`] ??= []).push(instance);
  return found;
}

const sorted = ({ bundles: of, instances }: State): State => ({
  bundles: Object.fromEntries(
    Object.entries(of)
      .sort(byKey)
      .map(([key, ids]) => [key, ids.toSorted()]),
  ),
  instances: Object.fromEntries(Object.entries(instances).sort(byKey)),
});
const byKey = ([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number => (a < b ? -1 : 1);

/** Mulberry32: numbers from 0 to 1, the same for the same seed. */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
