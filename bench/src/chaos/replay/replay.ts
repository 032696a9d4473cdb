import { existsSync, readdirSync } from 'node:fs';
import { setMaxListeners } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { freePorts, superviseChild, type SupervisedChild } from '@spool/embedded';
import { createCodec, createHttpRegistry } from '@spool/schemas';
import { startRegistryServer } from '@spool/schemas/testing';
import { createGateway, openRegistry, openReplies } from '@spool/sdk';
import { connectKafka, openLmdbStore, platformTopics, topicCatalogue } from '@spool/streams';
import { nodeCommand } from '../../engine/start.js';
import { again, disturb, instances, quietMs, sessionTimeoutMs } from '../disturbances.js';
import { randomOf } from '../random.js';
import { ReplayClient, type Replay } from './client.js';
import { Counter, type CountRow, type ReplayTampering } from './counting.js';
import { differences, openLoad, type Load } from './load.js';
import type { ReplayProcess } from './processes.js';
import { openReceiver, type Receiver } from './receiver.js';

export interface ReplayChaosOptions {
  readonly brokers: readonly string[];
  /** kill -9; resolves when it serves again. @default the broker is not among the victims */
  readonly killBroker?: () => Promise<void>;
  readonly dataDir: string;
  readonly seed: number;
  /** How many modes and victims are gone through, of all there are. @default all */
  readonly passes?: number;
  /** Hand-overs, one after the other. */
  readonly promotes: number;
  /** Events before it begins. */
  readonly events: number;
  /** A violation on purpose. @default none */
  readonly tampering?: ReplayTampering;
  /** All of it ends by then, in milliseconds, or has failed. */
  readonly deadlineMs: number;
  readonly progress: (line: string) => void;
}

/** At each of these something happens to the victim. */
const steps = {
  rewind: ['ordered', 'running', 'completed'],
  shadow: ['ordered', 'running', 'ready', 'promoting', 'completed', 'rollingBack', 'rolledBack', 'dropping'],
  scratch: ['ordered', 'running', 'completed'],
} as const;
type Mode = keyof typeof steps;
const modes: readonly Mode[] = ['shadow', 'rewind', 'scratch'];
const victims = ['worker', 'service', 'stopped worker', 'broker'] as const;
type Victim = (typeof victims)[number];
/** So slow that something can happen in the middle, in records per second. */
const rate = 1500;
const target = 'Totals';

interface Stage {
  readonly client: ReplayClient;
  readonly load: Load;
  readonly receiver: Receiver;
  readonly lose: (victim: Victim) => Promise<void>;
  readonly random: () => number;
  readonly over: AbortSignal;
}

/**
 * Replays of each mode under load, while at each step a victim is killed or stopped; and hand-overs, whose effects an outside receiver counts.
 * @returns what is wrong, a sentence each; empty when each replay ended right, and every row and every effect is there once
 * @throws Error when it does not end in time
 */
export async function chaosReplay(options: ReplayChaosOptions): Promise<readonly string[]> {
  const { brokers, dataDir, seed, tampering, progress } = options;
  const namespace = `chaos-replay-${seed}-${Date.now().toString(36)}.`;
  const topics = topicCatalogue({ namespace });
  const over = AbortSignal.timeout(options.deadlineMs);
  setMaxListeners(0, over);
  await using schemas = await startRegistryServer();
  await using receiver = await openReceiver();
  await using kafka = await connectKafka({ brokers, clientId: 'chaos' });
  await kafka.admin.ensureTopics(platformTopics(topics));
  const [port] = await freePorts(1);
  const shared = { brokers, schemaRegistryUrl: schemas.url, namespace, dataDir, sessionTimeoutMs, tampering };
  const workers = await Promise.all(instances.map((instance) => startProcess({ ...shared, instance, receiver: receiver.url })));
  const children = [...workers, await startProcess({ ...shared, instance: 'service', port: port! })];
  try {
    const codec = createCodec({ registry: createHttpRegistry({ url: schemas.url }) });
    await using producer = await kafka.producer();
    const onError = (): void => undefined;
    await using replies = await openReplies({ kafka, codec, topic: topics.replies('chaos'), slot: 0, now: Date.now, onError });
    await using registry = await openRegistry({ kafka, codec, topics, onError });
    const gateway = createGateway({ codec, topics, producer, replies, registry, source: 'chaos', now: Date.now });
    while (registry.bundles().find(({ id }) => id === 'counting')?.instances.length !== instances.length)
      await sleep(50, undefined, { signal: over });
    const random = randomOf(seed);
    const load = await openLoad(gateway, kafka, topics.events(Counter.name).name, options.events, over);
    const client = new ReplayClient(`http://127.0.0.1:${port!}`, over);
    const lose = loser({ workers, service: children.at(-1)!, killBroker: options.killBroker, random });
    const stage: Stage = { client, load, receiver, lose, random, over };
    const found = await handOvers(stage, options.promotes);
    progress(`${options.promotes} hand-overs: ${found.length === 0 ? 'each effect once' : `${found.length} differences`}`);

    const passes = shuffled(
      modes.flatMap((mode) =>
        victims.filter((victim) => victim !== 'broker' || options.killBroker !== undefined).map((victim) => ({ mode, victim })),
      ),
      random,
    ).slice(0, options.passes);
    for (const [index, { mode, victim }] of passes.entries()) {
      const wrong = await pass(stage, mode, victim);
      progress(`${mode}, ${victim} lost at ${steps[mode].join(', ')}: ${wrong.length === 0 ? 'right' : `${wrong.length} differences`}`);
      found.push(...wrong.map((each) => `${mode} ${index}, ${victim}: ${each}`));
    }
    await load.pause();
    await Promise.all(children.map((child) => child.untilReady(quietMs)));
    found.push(...(await load.wrong()));
    await Promise.all(children.map((child) => child.close()));
    for (const instance of instances) found.push(...storedDifferences(join(dataDir, instance), load.expected()));
    return found;
  } finally {
    await Promise.all(children.map((child) => child.close()));
  }
}

interface Victims {
  readonly workers: readonly SupervisedChild[];
  readonly service: SupervisedChild;
  readonly killBroker: (() => Promise<void>) | undefined;
  readonly random: () => number;
}
function loser({ workers, service, killBroker, random }: Victims): Stage['lose'] {
  return async (victim) => {
    await sleep(300 * random());
    const worker = workers[Math.floor(random() * workers.length)]!;
    const stoppedMs = sessionTimeoutMs * (1.2 + random());
    if (victim === 'worker') await disturb(worker, { kind: 'kill', stoppedMs });
    else if (victim === 'stopped worker') await disturb(worker, { kind: 'stop', stoppedMs });
    else if (victim === 'service') await disturb(service, { kind: 'kill', stoppedMs });
    else await killBroker?.();
  };
}

/** One replay from its order to its last step; what it leaves is looked at wherever it has come to an end. */
async function pass({ client, load, lose, random }: Stage, mode: Mode, victim: Victim): Promise<readonly string[]> {
  const found: string[] = [];
  const look = async (when: string): Promise<void> => {
    await load.pause();
    found.push(...(await load.wrong()).map((each) => `${when}: ${each}`));
    load.resume();
  };
  load.resume();
  const [{ id }] = await Promise.all([client.start(`${mode}-${random()}`, { mode, target, rate }), lose(victim)]);
  const over = ({ state }: Replay): boolean => state === 'ready' || state === 'completed';
  await client.reached(id, 'running', (replay) => over(replay) || replay.progress > 0.1);
  await lose(victim);
  await client.order(id, 'throttle', { recordsPerSecond: null });
  await client.reached(id, mode === 'shadow' ? 'ready' : 'completed');
  await lose(victim);
  if (mode === 'scratch') {
    const { equal } = await client.report(id);
    if (!equal) found.push('the report says that the copy differs');
  }
  if (mode === 'shadow') {
    for (const [order, wanted] of [
      ['promote', 'completed'],
      ['rollback', 'rolledBack'],
    ] as const) {
      await Promise.all([client.order(id, order), lose(victim)]);
      await client.reached(id, wanted);
      await lose(victim);
      await look(wanted);
    }
    await Promise.all([client.order(id, 'drop'), lose(victim)]);
  }
  await look('in the end');
  await load.pause();
  return found;
}

/** From copy to copy and back, and nothing is killed: an effect in the middle of being made would be made again. */
async function handOvers({ client, load, receiver, random, over }: Stage, times: number): Promise<string[]> {
  await settled(receiver, over);
  receiver.clear();
  const before = load.events;
  load.resume();
  const { id } = await client.start(`hand-overs-${random()}`, { mode: 'shadow', target, rate: 1_000_000 });
  await client.reached(id, 'ready');
  for (let time = 0; time < times; time++) {
    const back = time % 2 === 1;
    await client.order(id, back ? 'rollback' : 'promote');
    await client.reached(id, back ? 'rolledBack' : 'completed');
    await sleep(100 * random());
  }
  await load.pause();
  const found = [...(await load.wrong())];
  await settled(receiver, over);
  found.push(...receiver.wrong(load.events - before, instances.length));
  await client.order(id, 'drop');
  return found;
}

/** Nothing has come for a while. */
async function settled(receiver: Receiver, over: AbortSignal): Promise<void> {
  for (let last = -1; receiver.count !== last;) {
    last = receiver.count;
    await sleep(1000, undefined, { signal: over });
  }
}

function shuffled<T>(all: readonly T[], random: () => number): T[] {
  return all
    .map((each) => [random(), each] as const)
    .sort(([a], [b]) => a - b)
    .map(([, each]) => each);
}

/** Row by row, what each instance has left on its disk; of dropped copies nothing. */
function storedDifferences(folder: string, expected: ReadonlyMap<string, number>): string[] {
  const stores = readdirSync(folder).filter((name) => name.includes(`.${target}-`));
  if (stores.length !== 1) return [`${folder} holds ${stores.join(', ')}, and has to hold one copy`];
  const path = join(folder, stores[0]!, 'all');
  if (!existsSync(path)) return [`${path} is not there`];
  const store = openLmdbStore({ path });
  try {
    return differences(expected, new Map([...store.range('totals')] as [string, CountRow][])).map((each) => `store of ${folder}: ${each}`);
  } finally {
    void store.close();
  }
}

const program = fileURLToPath(new URL('main.js', import.meta.url));
const startProcess = (config: ReplayProcess): Promise<SupervisedChild> =>
  superviseChild({
    ...nodeCommand([program, JSON.stringify(config)]),
    name: config.instance,
    logFile: join(config.dataDir, `${config.instance}.log`),
    restart: again,
  });
