import { setTimeout as sleep } from 'node:timers/promises';
import { superviseChild } from '@spool/embedded';
import { createCodec, createHttpRegistry, toSpoolError } from '@spool/schemas';
import { createGateway, openRegistry, openReplies } from '@spool/sdk';
import { noEvents, openReplayService, replayRequest } from '@spool/services/replay';
import { registryProcessor } from '@spool/services/registry';
import { connectKafka, openInstance, platformTopics, topicCatalogue, type Kafka } from '@spool/streams';
import { join } from 'node:path';
import { nodeCommand, once, usageOf } from '../engine/start.js';
import { Airports, Departures } from './airports.js';
import type { ContenderConfig, Replayed, SpoolContender } from './contenders/contender.js';
import type { Log } from './log.js';
import { nodeContender } from './start.js';

export interface Rewound extends Replayed {
  /** From the request to the first answer that is built anew, in milliseconds. */
  readonly firstMs: number;
  /** Resident when a tenth is handled, and the most from there to the end, in MiB. */
  readonly early: number;
  readonly most: number;
}

const readyMs = 1_800_000;
const stepMs = 25;

/**
 * A bundle in a process of its own builds the read model; then it is asked to build it anew, while it serves. The time runs from the request to
 * the first answer that is whole again, as a user sees it.
 */
export async function replaySpool(name: SpoolContender, config: ContenderConfig, kafka: Kafka, log: Log): Promise<Rewound> {
  const topics = topicCatalogue({ namespace: config.namespace, partitions: config.partitions });
  await kafka.admin.ensureTopics(platformTopics(topics));
  const codec = createCodec({ registry: createHttpRegistry({ url: config.schemaRegistryUrl }) });
  const onError = (): void => undefined;
  await using own = await connectKafka({ brokers: config.brokers, clientId: 'platform' });
  const shared = { kafka: own, codec, topics, log: onError, now: Date.now };
  await using instance = await openInstance({
    ...{ ...shared, bundle: 'spool', version: '1.0.0', instance: `platform-${config.id}` },
    dataDir: join(config.dataDir, 'platform'),
  });
  await instance.run(registryProcessor(instance));
  await using registry = await openRegistry({ kafka: own, codec, topics, onError });
  await using replays = await openReplayService({ instance, registry, ...noEvents });
  await using replies = await openReplies({ kafka: own, codec, topic: topics.replies('bench'), slot: 0, now: Date.now, onError });
  const gateway = createGateway({ codec, topics, producer: instance.producer, replies, registry, source: 'bench', now: Date.now });
  await using bundle = await superviseChild({
    ...nodeCommand([nodeContender, name, JSON.stringify(config)]),
    name: config.id,
    logFile: join(config.dataDir, 'console.log'),
    restart: once,
  });
  const over = AbortSignal.timeout(readyMs);
  /** Zero while the read model is built for the first time, and answers nothing. */
  const flights = async (): Promise<number> => {
    try {
      return (await gateway.ask(Departures, 'Flights', {}, { timeoutMs: 10_000 })).view.flights;
    } catch (thrown) {
      if (toSpoolError(thrown).code !== 'UNAVAILABLE') throw thrown;
      return 0;
    }
  };
  const until = async (reached: (flights: number) => boolean | Promise<boolean>): Promise<void> => {
    while (!(await reached(await flights()))) await sleep(stepMs, undefined, { signal: over });
  };
  await until((count) => count === log.records);

  const began = performance.now();
  const request = replayRequest.parse({ target: Airports.name, mode: 'rewind', reason: 'bench' });
  const { id } = await replays.start(request, { name: 'bench', roles: [] });
  await until((count) => count < log.records);
  const firstMs = performance.now() - began;
  const resident: number[] = [];
  await until(async (count) => {
    if (count > log.records / 10) resident.push((await usageOf(bundle.pid!))?.rssMb ?? Number.NaN);
    return count === log.records;
  });
  const seconds = (performance.now() - began) / 1000;
  while (replays.get(id).state === 'running') await sleep(stepMs, undefined, { signal: over });
  const { view } = await gateway.ask(Departures, 'All', {}, { timeoutMs: 10_000 });
  const wrong = view.rows.filter(({ airport, ...row }) => JSON.stringify(row) !== JSON.stringify(log.expected.get(airport)));
  if (wrong.length > 0 || view.rows.length !== log.expected.size) throw new Error(`${wrong.length} rows are wrong after the replay`);
  return { records: log.records, seconds, firstMs, early: resident[0]!, most: Math.max(...resident) };
}
