import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { BundleRowSchema, createCodec, createMemoryRegistry, type Codec } from '@spool/schemas';
import { createMemoryCluster, topicCatalogue, type Kafka, type Log, readTopic } from '@spool/streams';
import { eventReader } from '../event/reader.js';
import type { Bundle } from '../bundle/bundle.js';
import { describe } from '../bundle/describe.js';
import type { Gateway } from '../gateway/messages.js';
import { startBundle, type RunningBundle } from '../host/start-bundle.js';
import { fromToken, reached, type PositionToken } from '../position/token.js';
import type { PostgresDatabase } from '../postgres/database.js';

export interface InMemoryOptions {
  /** Where its clock starts, in milliseconds since the epoch. It stands still until it is advanced. @default the time of the call */
  readonly now?: number;
  /** For read models that are kept there. */
  readonly postgres?: PostgresDatabase;
  /** @default nothing is logged */
  readonly log?: Log;
}

/** An event as it stands in the log. */
export interface LoggedEvent {
  /** The aggregate or service that it is of. */
  readonly source: string;
  readonly type: string;
  readonly data: unknown;
  readonly aggregateId: string;
  readonly version: number;
  /** When it was decided, in milliseconds. */
  readonly at: number;
}

export interface BundleInMemory extends AsyncDisposable {
  /** Sends commands and asks queries, typed or as JSON. */
  readonly gateway: Gateway;
  readonly running: RunningBundle;
  /** All events in the log, in order for each aggregate; between aggregates of different kinds by the time of their decision. */
  events(): Promise<readonly LoggedEvent[]>;
  /**
   * Waits until everything in the bundle that reads it has reached a position, or until a condition holds.
   * @param withinMs in real time. @default 10000
   * @throws Error when it does not come to it in time
   */
  until(wanted: PositionToken | (() => boolean | Promise<boolean>), withinMs?: number): Promise<void>;
  /** Moves the clock on: timers that come due by it fire soon after, and commands that are still under way may expire by it. */
  advance(ms: number): void;
  close(): Promise<void>;
}

const lookMs = 5;

/** Runs a whole bundle in this process as `startBundle` does, on a Kafka and a schema registry in memory. Its stores are in a folder that goes with it. */
export async function startInMemory(
  bundle: Bundle,
  { now: start = Date.now(), log = () => undefined, postgres }: InMemoryOptions = {},
): Promise<BundleInMemory> {
  let clock = start;
  const now = (): number => clock;
  const kafka = createMemoryCluster({ clock: now }).connect();
  const codec = createCodec({ registry: createMemoryRegistry() });
  const topics = topicCatalogue({ partitions: 1 });
  const dataDir = mkdtempSync(join(tmpdir(), 'spool-in-memory-'));
  const stop = async (): Promise<void> => {
    await kafka.close();
    rmSync(dataDir, { recursive: true, force: true });
  };
  let running: RunningBundle;
  try {
    await register(bundle, kafka, codec, topics, clock);
    const config = { kafka, codec, topics, instance: `${bundle.id}-0`, dataDir, log, now };
    running = await startBundle(bundle, postgres === undefined ? config : { ...config, postgres });
  } catch (error) {
    await stop();
    throw error;
  }
  const sources = bundle.components.filter((component) => component.kind === 'aggregate' || component.kind === 'service');
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => (closing ??= running.close().finally(stop));
  return {
    gateway: running.gateway,
    running,
    async events() {
      const found: LoggedEvent[] = [];
      for (const source of sources) {
        if (Object.keys(source.events).length === 0) continue;
        const read = eventReader(source, codec, topics);
        for (const record of await readTopic(kafka, topics.events(source.name).name)) {
          const event = await read(record);
          if (event === undefined) continue;
          const { type, data, aggregateId, version, at } = event;
          found.push({ source: source.name, type, data, aggregateId, version, at });
        }
      }
      return found.sort((a, b) => a.at - b.at);
    },
    async until(wanted, withinMs = 10_000) {
      const there = typeof wanted === 'string' ? (): boolean => hasReached(running, wanted) : wanted;
      const deadline = performance.now() + withinMs;
      while (!(await there())) {
        if (performance.now() > deadline) {
          throw new Error(
            `${bundle.id} did not come to ${typeof wanted === 'string' ? 'the position' : 'the condition'} within ${withinMs} ms`,
          );
        }
        await sleep(lookMs);
      }
    },
    advance: (ms) => void (clock += ms),
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** What the platform's registry does elsewhere: JSON finds its schemas there. */
export async function register(
  bundle: Bundle,
  kafka: Kafka,
  codec: Codec,
  topics: ReturnType<typeof topicCatalogue>,
  at: number,
): Promise<void> {
  const { id, version } = bundle;
  const descriptor = JSON.stringify(describe(bundle, topics));
  await kafka.admin.ensureTopics([topics.bundles]);
  const encoder = await codec.encoder(topics.bundles.name, BundleRowSchema);
  const member = { instance: `${id}-0`, incarnation: '' };
  const value = encoder.encode({ bundle: id, version, generation: 1, descriptor, members: [member], updatedAt: at, former: [] });
  await using producer = await kafka.producer();
  await producer.send({ topic: topics.bundles.name, key: `b/${id}@${version}`, value });
}

const hasReached = ({ instance }: RunningBundle, position: PositionToken): boolean =>
  instance
    .status()
    .every(({ partitions }) =>
      reached(new Map(partitions.map(({ topic, partition, position: at }) => [`${topic}-${partition}`, at])), fromToken(position)),
    );
